"""An optimizer step gone through on the meta device: the real code on the real architecture, and nothing computed.

An algorithm that rehearses its step is gone through; of any other, single sampling steps are counted, and multiplied by
the passes that it states. What a long rollout takes grows by the same amount with every further sampling step, so that
two shorter ones tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from kedge.algorithms.base import Algorithm, Context
from kedge.algorithms.workload import Passes, Rehearses
from kedge.config import RunConfig
from kedge.config.workload import backprop_of, workload_of
from kedge.planning.meta_reward import MetaReward
from kedge.planning.operations import Cost, counting
from kedge.planning.skeletons import draw_policy
from kedge.policies.activation_offload import SMALL
from kedge.policies.base import Conditioning
from kedge.policies.latent import LatentPolicy
from kedge.policies.loading import UNUSED
from kedge.policies.memory import apply_memory_settings
from kedge.prompts import PromptStream

PROMPT = "a photo of a fox"
WHOLE = 8  # sampling steps that are gone through one by one; each further one costs as much as the last of them


@dataclass(frozen=True)
class Networks:
    """What is loaded.

    Attributes:
        sizes: name → (parameters, bytes), frozen ones.
        trained: parameters that training changes.
        unknown: rewards of which nothing is known beforehand.
    """

    sizes: dict[str, tuple[int, int]]
    trained: int
    unknown: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of all weights, the trained ones in float32."""
        return sum(size for _, size in self.sizes.values()) + 4 * self.trained

    @property
    def largest_file(self) -> int:
        """Bytes of the largest reward's weights as they are published, in half precision: read whole while loading."""
        return max((2 * count for name, (count, _) in self.sizes.items() if name.startswith("reward")), default=0)


@dataclass(frozen=True)
class Rehearsal:
    """What a run would take, on each process.

    Attributes:
        step: one optimizer step, with its share of gathering experience.
        watching: one sampling step of a batch of samples, and decoding it.
        prompt: bytes of one encoded prompt.
    """

    networks: Networks
    step: Cost
    watching: Cost
    prompt: int


def rehearse(config: RunConfig) -> Rehearsal | None:
    """Go through one step of the run that ``config`` describes; None if the architecture is not known."""
    model, last = config.model, config.backprop.last_steps
    if not isinstance(config.algorithm.settings, Rehearses):
        return _rehearse(config, model.steps)  # single sampling steps are counted, and the passes stated
    short = min(model.steps, max(WHOLE, (last or 0) + 1))
    found = _rehearse(config, short)
    if found is None or short == model.steps:
        return found
    longer = _rehearse(config, short + 1)
    assert longer is not None
    return replace(found, step=_extend(found.step, longer.step, model.steps - short))


def _extend(short: Cost, longer: Cost, steps: int) -> Cost:
    """``steps`` more of what one more step cost."""
    return short.plus(longer.plus(short, -1), steps)


def _rehearse(config: RunConfig, steps: int) -> Rehearsal | None:
    policy = draw_policy(config.model, steps)
    if policy is None:
        return None
    # Where text encoders wait is for the list of networks; nothing is there to be moved or compiled.
    memory, speed = replace(config.memory, offload_text_encoders=False), replace(config.speed, compile=False)
    apply_memory_settings(policy, memory, speed)
    reward = MetaReward(config.reward, getattr(torch, config.memory.reward_dtype))
    others = [MetaReward(text, getattr(torch, config.memory.reward_dtype)) for text in _metrics(config)]
    cond = policy.encode([PROMPT])
    context = Context(
        policy=policy,
        reward=reward,
        prompts=PromptStream([PROMPT], seed=0, shuffle=False),
        generator=torch.Generator(),
        backprop=replace(backprop_of(config), offload=False),
        batch_size=config.training.batch_size,
        accumulation=1,
        cache=OnePrompt(cond),
    )
    offloaded = config.memory.offload_activations and config.training.device != "cpu"
    with _Elsewhere() if offloaded else nullcontext():
        step = _step(config, context)
    return Rehearsal(
        networks=_networks(policy, [reward, *others], config.memory.offload_text_encoders),
        step=step,
        watching=_watching(policy, cond, config.watch.batch_size),
        prompt=sum(tensor.numel() * tensor.element_size() for tensor in cond.tensors.values()),
    )


def _step(config: RunConfig, context: Context) -> Cost:
    """One optimizer step on this process, as the algorithm rehearses it, or else by the passes that it states."""
    algorithm: Algorithm = config.algorithm.settings
    if isinstance(algorithm, Rehearses):
        return _rehearsed(algorithm, context) * config.training.accumulation
    return _by_passes(config, context)


def _rehearsed(algorithm: Rehearses, context: Context) -> Cost:
    """One micro-batch of one optimizer step."""
    updates = 0

    def learn() -> None:
        nonlocal updates
        for losses in algorithm.rehearse(context):
            updates += 1
            for loss in losses:
                loss.value.backward()

    return _count(learn) * (1 / max(1, updates))


def _by_passes(config: RunConfig, context: Context) -> Cost:
    """Single sampling steps, without gradient and with, as often as stated; arithmetic of the algorithm is left out."""
    policy, batch, steps = context.policy, context.batch_size, context.policy.steps
    work = workload_of(config)
    passes = work.passes or Passes(forward=work.samples * config.model.steps, backward=0)
    cond, noise = context.encode([PROMPT] * batch), context.noise(batch)

    def sample() -> None:
        with torch.no_grad():
            policy.transition(noise[0], steps, cond)

    def learn() -> None:
        policy.transition(noise[0], steps, cond).mean.sum().backward()

    def compare() -> None:
        with torch.no_grad(), policy.reference():
            policy.transition(noise[0], steps, cond)

    def score() -> None:
        with torch.no_grad():
            context.reward(policy.decode(noise[0]), [PROMPT] * batch)

    times = (passes.forward - passes.backward, passes.backward, passes.reference, work.queries)
    total = Cost()
    for part, count in zip((sample, learn, compare, score), times, strict=True):
        if count > 0:
            total += _count(part) * (count / batch)
    return total * (1 / work.updates)


def _watching(policy: LatentPolicy, cond: Conditioning, batch: int) -> Cost:
    x = torch.empty(batch, *policy.latent_shape, device="meta")

    def draw() -> Tensor:  # one step takes as much memory as all of them
        with torch.no_grad():
            return policy.decode(policy.transition(x, 1, _repeat(cond, batch)).mean)

    return _count(draw)


def _count(work: Callable[[], Any]) -> Cost:
    with counting() as counter:
        _ = work()
    return counter.cost


def _metrics(config: RunConfig) -> Iterator[str]:
    if config.watch.evaluate_every:
        yield from (name for name in config.watch.metrics if name != config.reward)


def _networks(policy: LatentPolicy, rewards: Sequence[MetaReward], texts_elsewhere: bool) -> Networks:
    components = policy.pipeline.components.items()
    parts = {name: part for name, part in components if isinstance(part, nn.Module) and name not in UNUSED}
    if texts_elsewhere:
        waiting = policy.backbone.text_encoders
        parts = {name: part for name, part in parts.items() if name not in waiting}
    for reward in rewards:
        parts |= reward.networks
    sizes = {}
    for name, part in parts.items():
        weights = [weight for weight in part.parameters() if not weight.requires_grad]
        sizes[name] = sum(w.numel() for w in weights), sum(w.numel() * w.element_size() for w in weights)
    unknown = tuple(name for reward in rewards for name in reward.unknown)
    return Networks(sizes, sum(weight.numel() for weight in policy.trainable()), unknown)


def _repeat(cond: Conditioning, batch: int) -> Conditioning:
    return Conditioning({name: torch.cat([tensor] * batch) for name, tensor in cond.tensors.items()})


@dataclass(frozen=True)
class OnePrompt:
    """Encodes every prompt as the same one, whose encoding is known already."""

    cond: Conditioning

    def __call__(self, prompts: Sequence[str], encode: Callable[..., object], device: torch.device) -> Conditioning:
        """``cond``, as often as there are prompts."""
        return _repeat(self.cond, len(prompts))


class _Elsewhere(torch.autograd.graph.saved_tensors_hooks):
    """What would wait in the host's memory takes none of the device's."""

    def __init__(self) -> None:
        super().__init__(self._pack, self._unpack)

    @staticmethod
    def _pack(tensor: Tensor) -> Any:
        weight = isinstance(tensor, Parameter) or isinstance(tensor._base, Parameter)
        if weight or tensor.numel() * tensor.element_size() < SMALL:
            return tensor
        return tensor.shape, tensor.dtype

    @staticmethod
    def _unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        return torch.empty(packed[0], dtype=packed[1], device="meta")
