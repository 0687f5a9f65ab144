"""An algorithm's optimizer step executed on the meta device, with its backward pass."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from kedge.algorithms.base import Context
from kedge.algorithms.workload import Rehearses
from kedge.config import RunConfig
from kedge.config.workload import backprop_of, workload_of
from kedge.planning.meta_run import MetaRun, assemble_meta
from kedge.planning.operations import OperationCost, count_operations
from kedge.policies.activation_offload import SMALL

WHOLE = 8  # sampling steps that are executed one by one; each further one costs as much as the last of them


def rehearses(config: RunConfig) -> bool:
    """Whether the algorithm can be executed on tensors without values."""
    return isinstance(config.algorithm.instance, Rehearses)


def steps_to_go_through(config: RunConfig) -> int:
    """K of the rollout that is executed, at most that of the run."""
    if not rehearses(config):
        return config.model.steps
    passes, deepest = workload_of(config).passes, config.backprop.last_steps or 0
    samples, certain = config.training.batch_size * config.training.accumulation, config.backprop.random_depth is None
    if certain and passes is not None and passes.backward < samples * config.model.steps:  # the algorithm cuts it short
        deepest = max(deepest, math.ceil(passes.backward / samples))
    return min(config.model.steps, max(WHOLE, deepest + 1))


def rehearsed_step(config: RunConfig, run: MetaRun) -> OperationCost:
    """An optimizer step as the algorithm rehearses it; of a random depth the expected cost, and the deepest's peak."""
    cost = OperationCost()
    for fixed, weight in _depths(config):
        at_depth = _rehearsed_depth(fixed, run)
        cost = replace(cost.plus(at_depth, weight), peak=max(cost.peak, at_depth.peak))
    return cost


def _depths(config: RunConfig) -> list[tuple[RunConfig, float]]:
    """Recipes with fixed depths, and the weights with which their costs add up to the expected cost of ``config``.

    From the second on, each further step costs the same, so that three depths determine all of them.
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


def _rehearsed_depth(config: RunConfig, run: MetaRun) -> OperationCost:
    """An optimizer step at a fixed depth; that of a long rollout is extrapolated from two shorter ones."""
    lent = replace(run.context, backprop=replace(backprop_of(config), offload=False))
    run = replace(run, context=lent)
    cost = _rehearse(config, run.context)
    left = config.model.steps - run.policy.steps
    if left:
        longer = assemble_meta(config, run.policy.steps + 1, run.text)
        assert longer is not None  # as the shorter one was not
        another = _rehearse(config, longer.context).plus(cost, -1)
        cost = cost.plus(another, left)
    return cost * config.training.accumulation


def _rehearse(config: RunConfig, context: Context) -> OperationCost:
    """One micro-batch of one optimizer step."""
    updates = 0
    with saved_tensors(config), count_operations() as counter:
        for losses in config.algorithm.instance.rehearse(context):
            updates += 1
            for loss in losses:
                loss.value.backward()
    return counter.cost * (1 / max(1, updates))


def saved_tensors(config: RunConfig) -> AbstractContextManager[Any]:
    """Inside, tensors that autograd stores count as memory of the device, unless they are offloaded to the host."""
    offloaded = config.memory.offload_activations and config.training.device != "cpu"
    return _OnHost() if offloaded else nullcontext()


class _OnHost(torch.autograd.graph.saved_tensors_hooks):
    """Stored tensors that are offloaded take no memory of the device."""

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
