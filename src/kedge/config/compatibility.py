"""Combinations that cannot work, refused before anything loads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from kedge.config.schema import ModelConfig, RunConfig
from kedge.config.text import ConfigError
from kedge.config.workload import workload_of
from kedge.models import LORA_KEYS
from kedge.policies.families import FAMILIES
from kedge.policies.families.detect import without_unet
from kedge.policies.families.spec import Family
from kedge.registry import listed


def check(config: RunConfig) -> None:
    """Refuse an algorithm that needs a gradient beside a reward that has none, and names that do not exist.

    Raises:
        ConfigError: naming what to use instead.
    """
    from kedge.rewards import describe

    check_finite(config)
    for key, texts in (("reward", [config.reward]), ("watch.metrics", config.watch.metrics)):
        for text in texts:
            try:
                info = describe(text)
            except ValueError as error:
                raise ConfigError(f"{key}: {error}") from error
            if key == "reward" and not info.differentiable:
                _check_gradient(config)
    _check_model(config.model)
    if len(config.model.sizes) > 1 and config.algorithm.name == "dpok":
        raise ConfigError(
            "model.size: the value network of dpok reads latents of one size: name one, or take another algorithm"
        )
    _check_noise(config)
    _check_distance(config)
    _check_quantized(config)
    _check_depth(config)


def _check_depth(config: RunConfig) -> None:
    """Refuse to say how far back a gradient goes that goes through one step alone, or to pair that with a reference."""
    if not config.algorithm.instance.needs.one_step:
        return
    depth_settings = {
        "backprop.last_steps": config.backprop.last_steps,
        "backprop.random_depth": config.backprop.random_depth,
        "speed.paired_reference": config.speed.paired_reference or None,
    }
    for key, value in depth_settings.items():
        if value is not None:
            raise ConfigError(
                f"{key} means nothing to {config.algorithm.name}: its gradient goes through one step at a time. Leave "
                "it out"
            )


def _check_quantized(config: RunConfig) -> None:
    """Refuse weights that would be kept unpacked for the backward pass."""
    if config.model.quantize == "int8" and not config.memory.unet_checkpoint:
        raise ConfigError(
            "model.quantize=int8 needs memory.unet_checkpoint=true: torchao keeps unpacked weights for the backward "
            "pass, the whole network's where it is not recomputed block by block (nf4 does not need it)"
        )


def _check_model(model: ModelConfig) -> None:
    """Refuse keys that mean nothing to the family, times that cannot be, and what nobody has said yet."""
    family = model.family
    if family is None:
        return
    if model.lcm_lora and model.few_step_lora:
        raise ConfigError("model.lcm_lora and model.few_step_lora: a model is distilled one way; leave one of them out")
    _check_foreign(model, family)
    for key in ("timesteps", "prediction_type"):
        if getattr(model, key) is not None and key not in family.keys:
            takers = []
            for other in FAMILIES.values():
                if key in other.keys:
                    takers.append(other.name)
            raise ConfigError(
                f"model.{key} means nothing to {family.name}: leave it out (it is for {listed(takers, 'and')})"
            )
    try:
        family.timesteps_for(model.steps, model.timesteps)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    question = family.asks(vars(model)) if family.asks else None
    if question:
        raise ConfigError(f"model.kind={family.name}: {question}")


def _check_foreign(model: ModelConfig, family: Family) -> None:
    """Refuse parts, guidance and η where the family has no use for them."""
    for key in ("unet", *LORA_KEYS):
        if getattr(model, key) and (problem := without_unet(family, key)):
            raise ConfigError(problem)
    if model.guidance and not family.takes_guidance:
        raise ConfigError(
            f"model.guidance={model.guidance:g}: {family.title} was distilled to draw without guidance, and takes none "
            "as an input: leave it out"
        )
    if model.eta != 1 and "eta" not in family.keys:
        other = f"; there model.{family.noise_key} says how much noise a step draws" if family.noise_key else ""
        raise ConfigError(f"model.eta={model.eta:g} means nothing to {family.name}: leave it out{other}")


def _check_distance(config: RunConfig) -> None:
    """Refuse to hold a distance where no step has one."""
    if config.model.steps == 1 and getattr(config.algorithm.instance, "goal", None) is not None:
        raise ConfigError(
            "with model.steps=1 the only step draws no noise: algorithm.target and algorithm.anchor have nothing to "
            "hold. Set model.steps to 2 or more, or hold that step by algorithm.last_step_std"
        )


def _check_gradient(config: RunConfig) -> None:
    """Refuse what backpropagates through a reward that has no gradient."""
    name, settings = config.algorithm.name, config.algorithm.instance
    if settings.needs.differentiable_reward:
        raise ConfigError(_no_gradient(name, config.reward))
    if getattr(settings, "needs_gradient", False):
        raise ConfigError(
            f"algorithm.last_step=pathwise backpropagates through the reward, but {config.reward!r} has no gradient: "
            "leave out algorithm.last_step"
        )


def _check_noise(config: RunConfig) -> None:
    """Refuse r where another rule decides, and an algorithm that needs noise beside a sampler that draws none."""
    model, settings = config.model, config.algorithm.instance
    family = model.family
    if family is None:
        return
    if model.renoise != 1 and not family.renoise:
        takers = []
        for other in FAMILIES.values():
            if other.renoise:
                takers.append(other.name)
        raise ConfigError(
            f"model.renoise={model.renoise:g} means nothing to {family.name}, which has a rule of its own for how much "
            f"noise a step draws: leave it out (it is for {listed(takers, 'and')})"
        )
    if model.steps == 1 and settings.needs.noise and not settings.needs.single_step:
        raise ConfigError(
            f"algorithm {config.algorithm.name!r} learns from the log-probabilities of noisy steps, and with "
            "model.steps=1 the only step draws no noise: set model.steps to 2 or more, or algorithm=rocm, which learns "
            "without noise too"
        )
    for key in ("eta", "renoise"):
        if key not in family.keys or getattr(model, key) > 0 or model.steps == 1:
            continue
        if not getattr(settings, "needs_noise", settings.needs.noise):
            continue
        name = config.algorithm.name
        if settings.needs.noise:
            raise ConfigError(
                f"algorithm {name!r} learns from the log-probabilities of noisy steps, and with model.{key}=0 none "
                f"draws noise: set model.{key} above 0, or algorithm=rocm, which learns without noise too"
            )
        raise ConfigError(
            f"with model.{key}=0 no step draws noise, so none has a divergence to the base: set model.{key} above 0; "
            "or hold the last step alone, with algorithm.reference_steps=0 and algorithm.last_step_std above 0; or "
            "algorithm.divergence=none"
        )


def check_finite(config: RunConfig) -> None:
    """Refuse infinite settings and those that are no number: they end as gradients that are none, after loading.

    Raises:
        ConfigError: naming the key and its value.
    """
    for key, value in _numbers("", config):
        if not math.isfinite(value):
            raise ConfigError(f"{key} must be a finite number, not {value}")


def _numbers(prefix: str, value: Any) -> Iterator[tuple[str, float]]:
    """Dotted key and value of every number in a config."""
    if isinstance(value, float):
        yield prefix, value
    elif isinstance(value, tuple):
        for item in value:
            yield from _numbers(prefix, item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            name = "" if field.name == "instance" else f".{field.name}"  # an algorithm's own stand beside its name
            yield from _numbers(f"{prefix}{name}".lstrip("."), inner)


def check_experience(config: RunConfig, processes: int = 1) -> None:
    """Refuse a training in which every advantage would be exactly 0, or that cannot form a batch of experience.

    Apart from :func:`check`, because it holds for training only: a finished run may be read on fewer processes.

    Raises:
        ConfigError: saying what to set instead.
    """
    algorithm, training = config.algorithm.instance, config.training
    try:
        work = workload_of(config)
        if advantages := getattr(algorithm, "advantages", None):
            advantages.check_experience(work.samples * processes, work.batches(training.steps))
    except ValueError as error:
        raise ConfigError(f"algorithm {config.algorithm.name}: {error}") from error


def experience_warning(config: RunConfig, prompts: Sequence[str], processes: int = 1) -> str | None:
    """What to tell the user of a training that compares rewards of different prompts without meaning to, or None."""
    algorithm, training = config.algorithm.instance, config.training
    advantages = getattr(algorithm, "advantages", None)
    if advantages is None:
        return None
    work = workload_of(config)
    warning: str | None = advantages.warning(work.samples * processes, work.batches(training.steps), len(set(prompts)))
    return warning


def need_no_gradient() -> list[str]:
    """The algorithms that learn from a reward without a gradient."""
    from kedge.algorithms import ALGORITHMS

    algorithms = []
    for name in ALGORITHMS:
        if not ALGORITHMS.get(name).needs.differentiable_reward:
            algorithms.append(name)
    return algorithms


def _no_gradient(name: str, reward: str) -> str:
    from kedge.rewards import REWARDS

    algorithms = need_no_gradient()
    rewards = list(filter(_differentiable, REWARDS))
    return (
        f"algorithm {name!r} backpropagates through the reward, but {reward!r} has no gradient: train it with "
        f"{listed(algorithms)} (algorithm={algorithms[0]}), or choose a reward with a gradient "
        f"({', '.join(rewards)})"
    )


def _differentiable(reward: str) -> bool:
    from kedge.rewards import describe

    return describe(reward).differentiable
