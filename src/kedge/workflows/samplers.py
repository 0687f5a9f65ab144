"""A loaded model under another sampler: other steps, noise, guidance or size of the same networks and adapter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kedge.registry import suggest

if TYPE_CHECKING:
    from kedge.config import ModelConfig
    from kedge.workflows.targets import LoadedModel

KEYS = ("steps", "guidance", "renoise", "eta", "timesteps", "size")
FINE, COARSE = 8, 64  # pixels by which sizes are usually chosen, for small pictures and from 256 pixels on


def changed(model: ModelConfig, texts: Sequence[str], option: str) -> ModelConfig:
    """``model`` with other values of :data:`KEYS`, given as ``key=value``; times go with the number of steps.

    Args:
        option: where the texts were written, for messages.

    Raises:
        ConfigError: for a value that cannot be.
        ValueError: for another key.
    """
    from kedge.config.loading import parse_model, plain

    keys = [text.partition("=")[0].strip() for text in texts]
    for key, text in zip(keys, texts, strict=True):
        if key not in KEYS or "=" not in text:
            raise ValueError(f"{option} {text}: write KEY=VALUE with one of {', '.join(KEYS)}.{suggest(key, KEYS)}")
    family = model.family
    if family is not None:
        for key in ("renoise", "eta"):
            if key in keys and key not in family.keys:
                other = f": there it is {family.noise_key}" if family.noise_key else ", whose noise is as it is"
                raise ValueError(f"{option} {key}: it means nothing to {family.name}{other}")
    block = {}
    for key, value in plain(model).items():
        if value is not None:
            block[key] = value
    if "steps" in keys and "timesteps" not in keys:
        block.pop("timesteps", None)
    return parse_model(block, texts)


def separated(text: str) -> list[str]:
    """``steps=4,size=[512,768]`` → ``["steps=4", "size=[512,768]"]``."""
    return [part.strip() for part in re.split(r",(?=\s*\w+\s*=)", text)]


def resampled(loaded: LoadedModel, model: ModelConfig) -> LoadedModel:
    """The same networks and adapter sampled as ``model`` says; nothing is loaded again.

    Raises:
        ValueError: for a policy of the user's own, or a sampler that the family cannot have.
    """
    from kedge.policies import make_policy
    from kedge.policies.latent import LatentPolicy

    policy = loaded.policy
    if not isinstance(policy, LatentPolicy) or model.family is None:
        raise ValueError(
            f"{loaded.name} is drawn by a policy of your own ({type(policy).__name__}): only models in diffusers' "
            "format can be sampled otherwise"
        )
    try:
        other = make_policy(
            model.kind,
            policy.pipeline,
            steps=model.steps,
            guidance=model.omega,
            size=model.sizes[0],
            eta=model.eta,
            renoise=model.renoise,
            timesteps=model.timesteps,
        )
    finally:  # a refused one has frozen the networks, too
        policy.share_with(policy)
    policy.share_with(other)
    return replace(loaded, policy=other, model=model)


def usual_changes(model: ModelConfig, pixels: tuple[int, int]) -> Iterator[str]:
    """Samplers under which others will draw with a LoRA: without noise, in fewer and more steps, …, one change each.

    Args:
        pixels: height and width of the model's own pictures.
    """
    key = model.family.noise_key if model.family else None
    if key:
        yield f"{key}={0 if getattr(model, key) else 1}"
    if model.steps > 1:
        yield f"steps={model.steps // 2}"
    yield f"steps={2 * model.steps}"
    if model.omega:
        yield f"guidance={model.omega / 2:g}"
        yield f"guidance={1.5 * model.omega:g}"
    sizes = []
    for size in model.sizes[1:]:
        if size is not None:
            sizes.append(size)
    for height, width in sizes or [_three_quarters(pixels)]:
        yield f"size=[{height},{width}]"


def _three_quarters(pixels: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture three quarters as wide and high, in the multiples that people choose."""
    unit = FINE if min(pixels) < 256 else COARSE
    height, width = (max(unit, round(0.75 * side / unit) * unit) for side in pixels)
    return height, width
