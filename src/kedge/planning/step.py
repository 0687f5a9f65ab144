"""One optimizer step counted on the meta device: the real code on the real architecture, and nothing computed.

An algorithm that can be rehearsed (:class:`kedge.algorithms.workload.Rehearses`) is gone through. Of any other, single
sampling steps are counted, and multiplied by the passes that it states.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from kedge.algorithms.base import Context
from kedge.algorithms.workload import Passes, Rehearses, Workload
from kedge.config import RunConfig
from kedge.config.workload import backprop_of, workload_of
from kedge.planning.operations import OperationCost, count_operations, counted
from kedge.planning.skeletons import MetaReward, OnePrompt, meta_policy
from kedge.planning.watching import PROMPT, LookCost, count_look
from kedge.policies.activation_offload import SMALL
from kedge.policies.latent import LatentPolicy
from kedge.policies.loading import UNUSED
from kedge.policies.memory import apply_memory_settings
from kedge.prompts import PromptStream

WHOLE = 8  # sampling steps that are gone through one by one; each further one costs as much as the last of them


@dataclass(frozen=True)
class Networks:
    """What is loaded.

    Attributes:
        sizes: name → (parameters, bytes), frozen ones.
        trained: parameters that training changes.
    """

    sizes: dict[str, tuple[int, int]]
    trained: int

    @property
    def bytes(self) -> int:
        """Of all weights, the trained ones in float32."""
        return sum(size for _, size in self.sizes.values()) + 4 * self.trained

    @property
    def largest_file(self) -> int:
        """Bytes of the largest reward's weights as they are published, in half precision: read whole while loading."""
        return max((2 * count for name, (count, _) in self.sizes.items() if name.startswith("reward")), default=0)


@dataclass(frozen=True)
class StepCost:
    """What a run takes, on each process.

    Attributes:
        step: one optimizer step, with its share of gathering experience.
        look: a batch of pictures to look at while it trains.
        prompt: bytes of one encoded prompt.
        unknown: what is left out, in words: rewards without a skeleton, and what the algorithm does not state.
    """

    networks: Networks
    step: OperationCost
    look: LookCost
    prompt: int
    unknown: tuple[str, ...]


def count_step(config: RunConfig) -> StepCost | None:
    """Count one step of the run that ``config`` describes; None if the model's architecture is not known."""
    run = _assemble(config, _steps_to_go_through(config))
    if run is None:
        return None
    rewards = [run.reward]
    for text in _watched(config):
        rewards.append(MetaReward(text, run.reward.dtype))
    unknown: list[str] = []
    for reward in rewards:
        unknown += reward.unknown
    return StepCost(
        networks=_networks(run.policy, rewards, config.memory.offload_text_encoders),
        step=_rehearsed_step(config, run) if _rehearses(config) else _stated_step(config, run.context),
        look=count_look(run.policy, rewards if config.watch.evaluate_every else [], run.prompt, config),
        prompt=run.prompt.bytes,
        unknown=(*dict.fromkeys(unknown), *_unstated(config)),
    )


@dataclass(frozen=True)
class _MetaRun:
    """The pieces of a run on the meta device."""

    policy: LatentPolicy
    reward: MetaReward
    prompt: OnePrompt
    context: Context


def _assemble(config: RunConfig, steps: int) -> _MetaRun | None:
    policy = meta_policy(config.model, steps)
    if policy is None:
        return None
    # Where text encoders wait is for the list of networks; nothing is there to be moved or compiled.
    memory, speed = replace(config.memory, offload_text_encoders=False), replace(config.speed, compile=False)
    apply_memory_settings(policy, memory, speed)
    reward = MetaReward(config.reward, getattr(torch, config.memory.reward_dtype))
    prompt = OnePrompt(policy.encode([PROMPT]))
    context = Context(
        policy=policy,
        reward=reward,
        prompts=PromptStream([PROMPT], seed=0, shuffle=False),
        generator=torch.Generator(),
        backprop=replace(backprop_of(config), offload=False),
        batch_size=config.training.batch_size,
        accumulation=1,
        cache=prompt,
    )
    return _MetaRun(policy, reward, prompt, context)


def _rehearses(config: RunConfig) -> bool:
    return isinstance(config.algorithm.instance, Rehearses)


def _unstated(config: RunConfig) -> list[str]:
    """What the algorithm does not say about itself, in words."""
    name, learns = config.algorithm.name, config.algorithm.instance.needs.differentiable_reward
    if workload_of(config).passes is None and not _rehearses(config):
        return [f"what {name} does with its samples (it has no workload)"]
    if learns and not _rehearses(config):
        return [f"what {name} stores for its way back through the trajectory (it has no rehearse)"]
    return []


def _steps_to_go_through(config: RunConfig) -> int:
    if not _rehearses(config):
        return config.model.steps
    return min(config.model.steps, max(WHOLE, (config.backprop.last_steps or 0) + 1))


def _rehearsed_step(config: RunConfig, run: _MetaRun) -> OperationCost:
    """An optimizer step as the algorithm rehearses it; of random depth, what is expected, and the deepest's peak."""
    cost = OperationCost()
    for fixed, weight in _depths(config):
        at_depth = _rehearsed_depth(fixed, run)
        cost = replace(cost.plus(at_depth, weight), peak=max(cost.peak, at_depth.peak))
    return cost


def _depths(config: RunConfig) -> list[tuple[RunConfig, float]]:
    """Recipes of certain depths, and weights with which their costs add up to what ``config`` costs on average.

    From the second on, each further step costs the same: three depths say what all of them cost.
    """
    depths = backprop_of(config).depths(config.model.steps)
    if len(depths) == 1:
        return [(_to_depth(config, depths[0][1].last_steps), 1.0)]
    deepest = len(depths)
    beyond_two = sum(probability * max(0, depth - 2) for depth, (probability, _) in enumerate(depths, start=1))
    weights = {1: depths[0][0], deepest: beyond_two / max(1, deepest - 2)}
    weights[2] = 1 - weights[1] if deepest == 2 else 1 - sum(weights.values())
    return [(_to_depth(config, depth), weight) for depth, weight in weights.items()]


def _to_depth(config: RunConfig, depth: int | None) -> RunConfig:
    return replace(config, backprop=replace(config.backprop, last_steps=depth, random_depth=None))


def _rehearsed_depth(config: RunConfig, run: _MetaRun) -> OperationCost:
    """An optimizer step of a certain depth; a long rollout is told from two shorter ones."""
    lent = replace(run.context, backprop=replace(backprop_of(config), offload=False))
    run = replace(run, context=lent)
    cost = _rehearse(config, run.context)
    left = config.model.steps - run.policy.steps
    if left:
        longer = _assemble(config, run.policy.steps + 1)
        assert longer is not None  # as the shorter one was not
        another = _rehearse(config, longer.context).plus(cost, -1)
        cost = cost.plus(another, left)
    return cost * config.training.accumulation


def _rehearse(config: RunConfig, context: Context) -> OperationCost:
    """One micro-batch of one optimizer step."""
    updates = 0
    with _saved_tensors(config), count_operations() as counter:
        for losses in config.algorithm.instance.rehearse(context):
            updates += 1
            for loss in losses:
                loss.value.backward()
    return counter.cost * (1 / max(1, updates))


def _stated_step(config: RunConfig, context: Context) -> OperationCost:
    """Single sampling steps, without gradient and with, as often as stated; arithmetic of the algorithm is left out."""
    policy, batch, k = context.policy, context.batch_size, context.policy.steps
    work = workload_of(config)
    passes = work.passes or _sampling_alone(work, k)
    cond, x = context.encode([PROMPT] * batch), torch.empty(batch, *policy.latent_shape, device="meta")

    @torch.no_grad()
    def sample() -> None:
        policy.transition(x, k, cond)

    @torch.no_grad()
    def compare() -> None:
        with policy.reference():
            policy.transition(x, k, cond)

    @torch.no_grad()
    def score() -> None:
        context.reward(policy.decode(x), [PROMPT] * batch)

    def learn() -> None:
        with _saved_tensors(config):
            policy.transition(x, k, cond).mean.sum().backward()

    batch_cost = OperationCost()
    for part, times in (
        (sample, passes.forward - passes.backward),
        (learn, passes.backward),
        (compare, passes.reference),
        (score, work.queries),
    ):
        if times > 0:
            batch_cost += counted(part) * (times / batch)
    return batch_cost * (1 / work.updates)


def _sampling_alone(work: Workload, steps: int) -> Passes:
    """The passes that are certain of an algorithm that states none."""
    return Passes(forward=work.samples * steps, backward=0)


def _watched(config: RunConfig) -> list[str]:
    """Rewards that are loaded to watch the run with, beside the one trained on."""
    if not config.watch.evaluate_every:
        return []
    return [name for name in config.watch.metrics if name != config.reward]


def _networks(policy: LatentPolicy, rewards: Sequence[MetaReward], texts_elsewhere: bool) -> Networks:
    parts: dict[str, nn.Module] = {}
    for name, part in policy.pipeline.components.items():
        elsewhere = texts_elsewhere and name in policy.backbone.text_encoders
        if isinstance(part, nn.Module) and name not in UNUSED and not elsewhere:
            parts[name] = part
    for reward in rewards:
        parts |= reward.networks
    sizes = {}
    for name, part in parts.items():
        count = size = 0
        for weight in part.parameters():
            if not weight.requires_grad:
                count += weight.numel()
                size += weight.numel() * weight.element_size()
        sizes[name] = count, size
    return Networks(sizes, sum(weight.numel() for weight in policy.trainable()))


def _saved_tensors(config: RunConfig) -> AbstractContextManager[Any]:
    """Inside, what autograd stores takes memory of the device, unless it waits in the host's."""
    offloaded = config.memory.offload_activations and config.training.device != "cpu"
    return _OnHost() if offloaded else nullcontext()


class _OnHost(torch.autograd.graph.saved_tensors_hooks):
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
