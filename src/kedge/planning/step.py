"""One optimizer step counted on the meta device: the real code on the real architecture, and nothing computed.

An algorithm that can be rehearsed (:class:`kedge.algorithms.workload.Rehearses`) is executed. For any other, single
sampling steps are counted, and multiplied by the passes that it states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kedge.algorithms.base import Context
from kedge.algorithms.strength import Priced
from kedge.algorithms.workload import Passes, Workload
from kedge.config import RunConfig
from kedge.config.workload import workload_of
from kedge.planning.meta_run import MetaRun, assemble_meta
from kedge.planning.meta_step import rehearsed_step, rehearses, saved_tensors, steps_to_go_through
from kedge.planning.networks import Networks, networks_of
from kedge.planning.operations import OperationCost, count_operations, counted
from kedge.planning.skeletons import MetaReward
from kedge.planning.watching import PROMPT, LookCost, count_look
from kedge.policies.latent import LatentPolicy


@dataclass(frozen=True)
class StepCost:
    """What a run takes, on each process.

    Attributes:
        step: one optimizer step, with its share of gathering experience.
        look: a batch of pictures that are drawn to watch it.
        prompt: bytes of one encoded prompt.
        price: the penalty of ten nats of drift, in the unit of β; None without a β, and for a schedule that is too long
            to be executed.
        unknown: what is not counted, in words: rewards without a skeleton, and what the algorithm does not state.
    """

    networks: Networks
    step: OperationCost
    look: LookCost
    prompt: int
    price: float | None
    unknown: tuple[str, ...]


def count_step(config: RunConfig, prompt: str = PROMPT) -> StepCost | None:
    """Count one step of the run that ``config`` describes; None if the model's architecture is not known.

    Args:
        prompt: the longest, for networks that read no more than there is.
    """
    run = assemble_meta(config, steps_to_go_through(config), prompt)
    if run is None:
        return None
    scored, others = [], []  # rewards that score training pictures; rewards that only watch
    if run.reward.name != config.reward:
        scored.append(MetaReward(config.reward, run.reward.dtype))
    for text in _watched(config):
        others.append(MetaReward(text, run.reward.dtype))
    rewards = [run.reward, *scored, *others]
    unknown: list[str] = []
    for reward in rewards:
        unknown += reward.unknown
    return StepCost(
        networks=networks_of(run.policy, rewards, config),
        step=_step(config, run, scored),
        look=count_look(
            run.policy, [*(scored or [run.reward]), *others] if config.watch.evaluate_every else [], run.prompt, config
        ),
        prompt=run.prompt.bytes,
        price=_price(config, run.policy),
        unknown=(*dict.fromkeys(unknown), *_unstated(config)),
    )


def _price(config: RunConfig, policy: LatentPolicy) -> float | None:
    algorithm = config.algorithm.instance
    if policy.steps < config.model.steps or not isinstance(algorithm, Priced):
        return None
    return algorithm.price(policy.noise_stds, math.prod(policy.latent_shape))


def _step(config: RunConfig, run: MetaRun, scored: Sequence[MetaReward]) -> OperationCost:
    """One optimizer step; ``scored`` by rewards that its gradient does not go through."""
    if not rehearses(config):
        return _stated_step(config, run.context)
    cost, batch = rehearsed_step(config, run), config.training.batch_size
    if not scored:
        return cost
    with torch.no_grad():
        images = run.policy.decode(torch.empty(batch, *run.policy.latent_shape, device="meta"))
    for reward in scored:
        with torch.no_grad(), count_operations() as counter:
            reward(images, [PROMPT] * batch)
        cost += counter.cost * config.training.accumulation
    return cost


def _unstated(config: RunConfig) -> list[str]:
    """What the algorithm does not say about itself, in words."""
    name, learns = config.algorithm.name, config.algorithm.instance.needs.differentiable_reward
    if workload_of(config).passes is None and not rehearses(config):
        return [f"what {name} does with its samples (it has no workload)"]
    if learns and not rehearses(config):
        return [f"what {name} stores for the backward pass through the trajectory (it has no rehearse)"]
    return []


def _stated_step(config: RunConfig, context: Context) -> OperationCost:
    """Single sampling steps, without gradient and with, as often as stated; without the algorithm's own arithmetic."""
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
        with saved_tensors(config):
            policy.transition(x, k, cond).mean.sum().backward()

    def learn_from_picture() -> None:  # last_step=pathwise
        with saved_tensors(config):
            context.reward(policy.decode(policy.transition(x, 1, cond).mean), [PROMPT] * batch).sum().backward()

    pathwise = work.queries - work.samples if getattr(config.algorithm.instance, "needs_gradient", False) else 0
    batch_cost = OperationCost()
    for part, times in (
        (sample, passes.forward - passes.backward),
        (learn, passes.backward - pathwise),
        (learn_from_picture, pathwise),
        (compare, passes.reference),
        (score, work.queries - pathwise),
    ):
        if times > 0:
            batch_cost += counted(part) * (times / batch)
    return batch_cost * (1 / work.updates)


def _sampling_alone(work: Workload, steps: int) -> Passes:
    """The passes that an algorithm makes at least, if it states none."""
    return Passes(forward=work.samples * steps, backward=0)


def _watched(config: RunConfig) -> list[str]:
    """Rewards that are loaded to watch the run with, beside the one trained on."""
    if not config.watch.evaluate_every:
        return []
    others = []
    for name in config.watch.metrics:
        if name != config.reward:
            others.append(name)
    return others
