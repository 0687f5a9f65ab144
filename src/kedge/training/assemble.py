"""From a config to the pieces of a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from kedge.algorithms.base import Algorithm, Context
from kedge.algorithms.floors import Floored, FlooredReward
from kedge.algorithms.prompt_cache import PromptCache
from kedge.algorithms.strength import Priced, verdict_at_load
from kedge.config import ModelConfig, RunConfig
from kedge.config.compatibility import experience_warning
from kedge.config.workload import backprop_of
from kedge.policies import load_policy
from kedge.policies.base import Policy
from kedge.policies.fingerprint import Fingerprint, fingerprint
from kedge.policies.known_prompts import drop_text_encoders
from kedge.policies.latent import LatentPolicy
from kedge.policies.memory import apply_memory_settings
from kedge.prompts import PromptStream
from kedge.prompts.sets import PromptSets
from kedge.rewards.base import Reward
from kedge.rewards.composition import Weighted
from kedge.runs.checkpoint import CheckpointStore, seed_everything
from kedge.runs.folder import RunFolder
from kedge.runs.history import History
from kedge.training.callbacks import Callback, HeldOut
from kedge.training.loggers import JsonlLogger, Logger, TensorBoardLogger
from kedge.training.lost_output import Lasting
from kedge.training.meter import CountedReward, Meter
from kedge.training.optimizer import Optimizer
from kedge.training.parent import Parent
from kedge.training.processes import Processes
from kedge.training.progress import Silent, display
from kedge.training.sample_grid import SampleGrid
from kedge.training.several_sizes import draw_sizes
from kedge.training.trackers import flat_settings, make_trackers, wants_tensorboard
from kedge.training.trainer import Trainer
from kedge.units import MB

log = logging.getLogger(__name__)
USUAL_TOKENS = 77  # that CLIP reads, start and end included


def build_policy(model: ModelConfig, device: torch.device, *, lora: bool = True, texts_on_host: bool = False) -> Policy:
    """Load the generator, with a fresh adapter unless ``lora`` is False."""
    return load_policy(
        model.kind,
        model.name,
        steps=model.steps,
        guidance=model.guidance,
        lora=model.lora if lora else None,
        device=device,
        dtype=model.dtype,
        eta=model.eta,
        renoise=model.renoise,
        timesteps=model.timesteps,
        prediction_type=model.prediction_type,
        size=model.size,
        parts=model.parts,
        quantize=model.quantize,
        texts_on_host=texts_on_host,
    )


def base_of(model: ModelConfig) -> Fingerprint | None:
    """Which weights a model is made of, once they are on this machine; None for a policy of the user's own."""
    return None if model.family is None else fingerprint(model.name, model.parts)


def assemble(
    config: RunConfig,
    folder: RunFolder,
    processes: Processes,
    *,
    sets: PromptSets | None = None,
    resume: bool = False,
    parent: Parent | None = None,
    history: History | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Load everything and put it together; with ``resume``, at the newest checkpoint (or the start, without one).

    Args:
        sets: the prompts of ``config``, if they are loaded already.
        parent: the adapter to start from; a fresh one by default.
        history: how the run was trained so far, with the stretch that begins now.

    Raises:
        ConfigError: if ``parent`` does not fit.
    """
    from kedge.rewards import load_reward

    sets = sets or PromptSets(config)
    prompts = sets.train
    if processes.main and (warning := experience_warning(config, prompts, processes.count)):
        log.warning(warning)
    seed_everything(config.training.seed)  # the same fresh adapter on every process
    policy, base = _started(config, processes, parent)
    if processes.main:
        _warn(config, policy, prompts)
    seed_everything(_own_seed(config, processes))
    _set_up(policy, config, sets)
    reward = load_reward(config.reward, processes.device, getattr(torch, config.memory.reward_dtype))
    state: dict[str, Any] = {}
    floored = FlooredReward(reward, state) if isinstance(reward, Weighted) and reward.floors else None
    algorithm: Algorithm = config.algorithm.instance
    counted = CountedReward(floored or reward)  # counts training only: watching scores by `reward` itself
    context = replace(_context(config, processes, policy=policy, reward=counted, prompts=prompts), state=state)
    if isinstance(policy, LatentPolicy) and policy.other_sizes:
        sizes = (policy, *policy.other_sizes)
        draw_sizes(context, sizes, seed=config.training.seed, cache_mb=prompt_cache_mb(config))
    watching: Sequence[Callback] = ()
    if processes.main:
        adapted = bool(history and history.parent)
        watching = _callbacks(config, sets, folder, reward=reward, device=processes.device, adapted=adapted)
    trainer = Trainer(
        algorithm=Floored(algorithm, floored) if floored else algorithm,
        context=context,
        optimizer=Optimizer(policy.trainable(), config.optimizer, config.training.steps, processes),
        meter=Meter(counted, processes),
        processes=processes,
        store=CheckpointStore(folder.checkpoints, config.checkpoint.keep),
        display=Lasting(display()) if processes.main else Silent(),
        steps=config.training.steps,
        patience=config.training.patience,
        checkpoint_every=config.checkpoint.every,
        callbacks=(*watching, *callbacks) if processes.main else (),
        loggers=_loggers(config, folder) if processes.main else (),
        base=base,
        history=history or History(),
        save_first=parent is not None,
    )
    if resume:
        trainer.resume()
        if config.watch.guard != "best":
            trainer.chosen = None
    return trainer


def cut_prompts(policy: Policy, prompts: Sequence[str]) -> str | None:
    """A warning about prompts that this model's tokenizer truncates; None if there are none.

    Only for tokenizers that read fewer tokens than CLIP's usual 77, which the check of the prompts themselves covers.
    """
    tokenizer = getattr(getattr(policy, "pipeline", None), "tokenizer", None)
    limit = getattr(tokenizer, "model_max_length", USUAL_TOKENS)
    if tokenizer is None or limit >= USUAL_TOKENS:
        return None
    different = list(dict.fromkeys(prompts))
    over_long = []
    for text in different:
        if len(tokenizer(text).input_ids) > limit:
            over_long.append(text)
    if not over_long:
        return None
    return (
        f"{len(over_long)} of {len(different)} prompts are longer than the {limit - 2} tokens that this model reads: "
        f"their ends are ignored (for example {over_long[0][:60]!r})"
    )


def _warn(config: RunConfig, policy: Policy, prompts: Sequence[str]) -> None:
    """What a recipe and its model show before anything is drawn."""
    for sentence in filter(None, (cut_prompts(policy, prompts), _anchor(config, policy))):
        log.warning(sentence)


def _anchor(config: RunConfig, policy: Policy) -> str | None:
    """The warning for β that needs no pictures; None if there is none."""
    algorithm = config.algorithm.instance
    if not isinstance(algorithm, Priced):
        return None
    if algorithm.idle(config.model.steps):
        return (
            "model.steps=1: the only step draws no noise and has no divergence to the base, so nothing anchors this "
            "run. algorithm.last_step_std above 0 holds that step"
        )
    if not isinstance(policy, LatentPolicy):
        return None
    price = algorithm.price(policy.noise_stds, math.prod(policy.latent_shape))
    return None if price is None else verdict_at_load(algorithm, price)


def _started(config: RunConfig, processes: Processes, parent: Parent | None) -> tuple[Policy, Fingerprint | None]:
    """The policy with a fresh adapter or its parent's, and what it is made of."""
    policy = build_policy(config.model, processes.device, texts_on_host=config.memory.texts_wait)
    base = base_of(config.model)
    if parent is not None:
        parent.check(config, base)
        parent.load_into(policy)
    return policy, base


def _set_up(policy: Policy, config: RunConfig, sets: PromptSets) -> None:
    """Apply the settings of memory and speed, before rewards are loaded."""
    apply_memory_settings(policy, config.memory, config.speed)
    if config.memory.drop_text_encoders and isinstance(policy, LatentPolicy):
        # While there are no rewards yet, the device has room for the largest text encoder.
        drop_text_encoders(policy, sets.of_training, config.memory.prompt_cache_mb * MB)
    if config.speed.tf32:
        torch.set_float32_matmul_precision("high")


def _context(
    config: RunConfig, processes: Processes, policy: Policy, reward: CountedReward, prompts: Sequence[str]
) -> Context:
    """What the trainer lends to the algorithm on this process."""
    return Context(
        policy=policy,
        reward=reward,
        prompts=PromptStream(
            prompts, config.training.seed, config.prompts.shuffle, rank=processes.index, world_size=processes.count
        ),
        generator=torch.Generator().manual_seed(_own_seed(config, processes)),
        backprop=backprop_of(config),
        batch_size=config.training.batch_size,
        accumulation=config.training.accumulation,
        processes=processes.count,
        process=processes.index,
        gather=processes.gather,
        cache=PromptCache(prompt_cache_mb(config) * MB),
    )


def prompt_cache_mb(config: RunConfig) -> int:
    """Megabytes of the cache of encoded prompts; 0 where text encoders are dropped, as all encodings are kept then."""
    return 0 if config.memory.drop_text_encoders else config.memory.prompt_cache_mb


def _own_seed(config: RunConfig, processes: Processes) -> int:
    own: int = config.training.seed + 1_000_003 * processes.index
    return own


def _callbacks(
    config: RunConfig, sets: PromptSets, folder: RunFolder, *, reward: Reward, device: torch.device, adapted: bool
) -> Sequence[Callback]:
    """What watches a run; ``adapted``: whether it started from another run's adapter."""
    from kedge.evaluation.encoders import choose_encoder, load_encoder
    from kedge.rewards import load_reward

    watch, batch_size = config.watch, config.watch.batch_size
    shown = list(watch.samples) or list(dict.fromkeys(sets.tuning.prompts))[: watch.samples_count]
    callbacks: list[Callback] = [
        SampleGrid(folder.samples, shown, seed=watch.seed, every=watch.samples_every, batch_size=batch_size)
    ]
    if watch.evaluate_every:
        others = []
        for name in watch.metrics:
            if name != config.reward:
                others.append(name)
        dtype = getattr(torch, config.memory.reward_dtype)
        rewards = {config.reward: reward} | {name: load_reward(name, device, dtype) for name in others}
        encoder = choose_encoder(watch.encoder, config.model.name)
        callbacks.append(
            HeldOut(
                rewards,
                sets.tuning.prompts,
                role=sets.tuning.role,
                seed=watch.seed,
                every=watch.evaluate_every,
                batch_size=batch_size,
                guard=watch.guard,
                looks=config.training.steps // watch.evaluate_every,
                folder=folder.watched,
                pictures=watch.pictures,
                encoder=load_encoder(encoder, device, dtype) if encoder else None,
                adapted=adapted,
            )
        )
    return callbacks


def _loggers(config: RunConfig, folder: RunFolder) -> Sequence[Logger]:
    loggers: list[Logger] = [JsonlLogger(folder.metrics)]
    if wants_tensorboard(config):
        loggers.append(TensorBoardLogger(folder.tensorboard, flat_settings(config)))
    return [*loggers, *make_trackers(config, folder.path)]
