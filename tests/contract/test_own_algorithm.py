"""An algorithm of one's own, all of it in this file: it says what it takes; config, plan and training go by that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.workload import Passes, Workload
from kedge.config import RunConfig, parse_config
from kedge.config.workload import workload_of
from kedge.evaluation.run_log import read_log
from kedge.planning.plan import plan
from kedge.planning.step import StepCost, count_step
from kedge.policies.base import Backprop, rollout
from kedge.training.run import train
from kedge.workflows.runner.cost import step_cost


@dataclass(frozen=True)
class Silent:
    """Climbs the reward through the whole trajectory, and says nothing about itself.

    Attributes:
        scale: of the loss.
    """

    needs: ClassVar[Needs] = Needs(differentiable_reward=True)

    scale: float = 1.0

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        yield (self._loss(context) for _ in range(context.accumulation))

    def _loss(self, context: Context) -> Loss:
        prompts = context.prompts.take(context.batch_size)
        noise = context.noise(len(prompts))
        x0 = rollout(context.policy, context.encode(prompts), noise, context.backprop).x0
        reward = context.reward(context.policy.decode(x0), prompts)
        return Loss(-self.scale * reward.mean() / context.accumulation, {"reward": reward.detach()})


@dataclass(frozen=True)
class Stating(Silent):
    """The same, which says its passes."""

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        samples = batch_size * accumulation
        last_steps = steps if backprop.last_steps is None else min(steps, backprop.last_steps)
        passes = Passes(forward=samples * steps, backward=samples * last_steps)
        return Workload(samples, queries=samples, updates=1, passes=passes)


@dataclass(frozen=True)
class Climb(Stating):
    """The same, which can be rehearsed too: one line."""

    def rehearse(self, context: Context) -> Iterator[Iterable[Loss]]:
        return self.updates(context)


def config_for(folder, algorithm: str, steps: int = 3, **changes) -> RunConfig:
    settings = {"divergence": "none"} if algorithm == "rocm" else {"scale": 2.0}
    data = {
        "model": {"name": str(folder), "kind": "lcm", "steps": steps, "lora": {"rank": 2}},
        "reward": "compressibility_proxy",
        "prompts": "animals-45",
        "algorithm": {"name": algorithm, **settings},
        "training": {"batch_size": 2, "accumulation": 2, "steps": 2, "device": "cpu"},
        "watch": {"samples_every": 0, "tensorboard": False},
    }
    return parse_config(data | changes)


def cost_of(config: RunConfig) -> StepCost:
    cost = count_step(config)
    assert cost is not None
    return cost


def passes_line(config: RunConfig) -> str:
    (line,) = (line for line in plan(config) if line.startswith("network passes: "))
    return line


WAYS = {
    "whole": {},
    "truncated": {"backprop": {"last_steps": 1}},
    "recomputed": {"backprop": {"checkpoint": True}},
    "longer than what is executed": {"steps": 10},
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_planned_exactly_as_rocm_without_a_divergence_is(way, micro_lcm):
    """Which does the same: the same arithmetic, and the same memory at the worst moment."""
    own = cost_of(config_for(micro_lcm, f"{__name__}:Climb", **WAYS[way]))
    rocm = cost_of(config_for(micro_lcm, "rocm", **WAYS[way]))
    assert (own.step.flops, own.step.peak) == (rocm.step.flops, pytest.approx(rocm.step.peak, rel=1e-3))
    assert own.unknown == ()


def test_its_passes_are_planned(micro_lcm):
    config = config_for(micro_lcm, f"{__name__}:Climb")
    assert workload_of(config).passes == Passes(forward=12, backward=12)
    assert passes_line(config).startswith("network passes: 12 forward, 12 backward for each optimizer step")
    cost = step_cost(config)
    assert (cost.passes, cost.queries, cost.stated) == (24, 4, True)


@pytest.mark.slow
def test_what_it_does_not_say_is_said_to_be_unknown(micro_lcm):
    stating, silent = (config_for(micro_lcm, f"{__name__}:{name}") for name in ("Stating", "Silent"))
    lines = "\n".join(plan(stating))
    assert "12 forward, 12 backward" in lines
    assert f"not counted below, because nothing is known about it: what {__name__}:Stating stores" in lines
    lines = "\n".join(plan(silent))
    assert f"network passes: unknown, for {__name__}:Silent does not state them" in lines
    assert f"nothing is known about it: what {__name__}:Silent does with its samples" in lines
    assert not step_cost(silent).stated

    # What is known is counted all the same: the sampling, and the scores.
    sampling = cost_of(silent).step.flops
    assert 0 < sampling < cost_of(stating).step.flops
    assert cost_of(replace(silent, training=replace(silent.training, accumulation=4))).step.flops == 2 * sampling


def test_it_trains(micro_lcm, tmp_path):
    assert train(config_for(micro_lcm, f"{__name__}:Climb"), tmp_path / "run").step == 2
    log = read_log(tmp_path / "run" / "metrics.jsonl")
    assert [line["queries"] for line in log[-2:]] == [4, 4]
    assert all(torch.isfinite(torch.tensor(line["reward"])) for line in log[-2:])
