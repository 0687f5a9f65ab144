"""What a step costs is counted beforehand; here the network itself counts, and agrees."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kedge.algorithms.base import Context
from kedge.config import parse_config
from kedge.policies.base import Backprop
from kedge.training.assemble import build_policy
from kedge.workflows.runner.cost import step_cost, steps_for
from training_world import lightness

BLACK_BOX = ({"name": "rlcm"}, {"name": "ppo", "minibatches": 2}, {"name": "ppo", "epochs": 2})
CASES = [
    ("lcm", {"name": "rocm", "divergence": "none"}),
    ("lcm", {"name": "rocm", "divergence": "kl", "beta": 0.1}),
    ("lcm", {"name": "rocm", "divergence": "kl", "beta": 0}),
    ("lcm", {"name": "rocm", "divergence": "kl", "beta": 0.1, "reference_gradient": "detached"}),
    *(("lcm", each) for each in BLACK_BOX),
    ("diffusion", {"name": "ddpo"}),
    ("diffusion", {"name": "d3po"}),
    ("lcm", {"name": "dpok", "policy_steps": 1, "step_fraction": 0.5}),
]


class Asked:
    """A reward that counts its queries."""

    name, differentiable, images = "lightness", True, 0

    def __call__(self, images, prompts):
        self.images += len(images)
        return lightness(images, prompts) + 0.01 * torch.arange(len(images))


@pytest.mark.parametrize(("kind", "algorithm"), CASES, ids=lambda case: str(case) if isinstance(case, dict) else case)
def test_passes_and_queries_are_those_that_the_network_and_the_reward_see(kind, algorithm, micro_lcm, micro_diffusion):
    folder = {"lcm": micro_lcm, "diffusion": micro_diffusion}[kind]
    config = parse_config(
        {
            "model": {"name": str(folder), "kind": kind, "steps": 4, "guidance": 1.0, "lora": {"rank": 2}},
            "reward": "training_world:lightness",
            "algorithm": algorithm,
            "training": {"batch_size": 2, "accumulation": 2, "steps": 4},
        }
    )
    policy, reward = build_policy(config.model, torch.device("cpu")), Asked()
    seen = {"passes": 0}

    def count(module, arguments, keywords, output):
        sample = output[0] if isinstance(output, tuple) else output.sample
        seen["passes"] += len(sample) * (2 if sample.requires_grad else 1)

    handle = policy.network.register_forward_hook(count, with_kwargs=True)
    updates = 0
    for losses in config.algorithm.settings.updates(_context(policy, reward)):
        for loss in losses:
            loss.value.backward()
        updates += 1
    handle.remove()
    cost = step_cost(config)
    assert (cost.passes * updates, cost.queries * updates) == (seen["passes"], reward.images)


def _context(policy, reward) -> Context:
    class Prompts:
        def take(self, n):
            return [f"a cat {i}" for i in range(n)]

    return Context(policy, reward, Prompts(), torch.Generator().manual_seed(0), Backprop(), 2, 2)


def test_a_budget_buys_as_many_steps_as_fit():
    config = parse_config({"reward": "training_world:lightness", "model": {"name": "emoji-lcm"}})
    cost = step_cost(config).passes
    assert steps_for(config, 10 * cost) == 10
    assert steps_for(config, 10.9 * cost) == 10
    assert steps_for(config, 0.1 * cost) == 1
    doubled = replace(config, training=replace(config.training, accumulation=2))
    assert step_cost(doubled).passes == 2 * cost
