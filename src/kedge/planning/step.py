"""An optimizer step gone through on the meta device: the real code on the real architecture, and nothing computed.

What it takes grows by the same amount with every further sampling step, so that two short rollouts tell the long one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from kedge.algorithms.base import Algorithm, Context, workload
from kedge.algorithms.rocm import ROCM
from kedge.config import RunConfig
from kedge.planning.operations import Cost, counting
from kedge.planning.reward_skeletons import Planned
from kedge.planning.skeletons import draw_policy
from kedge.policies.activation_offload import SMALL
from kedge.policies.base import Conditioning, rollout
from kedge.policies.latent import LatentPolicy
from kedge.policies.loading import UNUSED
from kedge.policies.memory import apply_memory_settings
from kedge.prompts import PromptStream
from kedge.training.assemble import backprop

PROMPT = "a photo of a fox"


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
    short = min(model.steps, max(2, (last or 0) + 1))
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
    reward = Planned(config.reward, getattr(torch, config.memory.reward_dtype))
    others = [Planned(text, getattr(torch, config.memory.reward_dtype)) for text in _metrics(config)]
    cond = policy.encode([PROMPT])
    context = Context(
        policy=policy,
        reward=reward,
        prompts=PromptStream([PROMPT], seed=0, shuffle=False),
        generator=torch.Generator(),
        backprop=replace(backprop(config), offload=False),
        batch_size=config.training.batch_size,
        accumulation=1,
        cache=lambda prompts, encode, device: _repeat(cond, len(prompts)),
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
    """One optimizer step on this process."""
    algorithm: Algorithm = config.algorithm.settings
    if isinstance(algorithm, ROCM):
        micro = _count(lambda: [loss.value.backward() for update in algorithm.updates(context) for loss in update])
        return micro * config.training.accumulation
    return _policy_gradient(config, context)


def _policy_gradient(config: RunConfig, context: Context) -> Cost:
    """Sampling without gradient, then single transitions with it: PPO, DPOK, D3PO. Their own arithmetic is left out."""
    policy, batch, steps = context.policy, context.batch_size, context.policy.steps
    work = workload(config.algorithm.settings, batch, config.training.accumulation)
    cond, noise = context.encode([PROMPT] * batch), context.noise(batch)

    def sample() -> Tensor:
        with torch.no_grad():
            return context.reward(policy.decode(rollout(policy, cond, noise).x0), [PROMPT] * batch)

    def learn() -> None:
        policy.transition(noise[0], steps, cond).mean.sum().backward()

    def compare() -> None:
        with torch.no_grad(), policy.reference():
            policy.transition(noise[0], steps, cond)

    sampled = _count(sample) * (work.samples / batch)
    visits = config.training.accumulation * (steps - 1) * getattr(config.algorithm.settings, "step_fraction", 1.0)
    learnt = _count(learn) + (_count(compare) if config.algorithm.settings.needs.reference else Cost())
    return sampled * (1 / work.updates) + learnt * visits


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


def _networks(policy: LatentPolicy, rewards: Sequence[Planned], texts_elsewhere: bool) -> Networks:
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
