"""A reward of one's own, all of it in this file: registered, it is read by config, plan, tables and training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kedge.config import RunConfig, parse_config
from kedge.evaluation.run_log import read_log
from kedge.evaluation.tables import display
from kedge.planning.plan import plan
from kedge.planning.step import StepCost, count_step
from kedge.rewards import REWARDS, Part, RewardSpec, register
from kedge.rewards.skeleton import Paths, Skeleton, on_meta
from kedge.training.run import train

# The record.

CRITIC = RewardSpec(
    "critic",
    "test_own_reward:Critic",
    differentiable=True,
    needs_prompt=False,
    measures="what a small network of somebody's own thinks of a picture",
    units="none",
    display=10.0,
    skeleton="test_own_reward:skeleton",
    title="The Critic",
    parts=(Part("checkpoint", "https://nowhere.example/critic.pt", ("critic.pt",), 2_400_000, "CC0", folder=False),),
    source="weights",
)


# The scorer, and its network without weights.


def network() -> nn.Sequential:
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(96), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.SiLU(), *pooled, nn.Linear(16 * 96 * 96, 4))


class Critic:
    """What ``CRITIC.factory`` names."""

    differentiable = True

    def __init__(self, checkpoint: Path, name: str, device: torch.device | str, dtype: torch.dtype):
        self.name, self.network = name, network().requires_grad_(False)
        self.network.load_state_dict(torch.load(checkpoint))
        self.network.to(device, dtype)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.network(images.to(self.network[0].weight.dtype)).float().mean(1)


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """What ``CRITIC.skeleton`` names."""
    critic = on_meta(network, dtype)
    return Skeleton(critic, lambda images: critic(images.to(dtype)).float().mean(1))


PARAMETERS = 3 * 16 * 25 + 16 + 16 * 9216 * 4 + 4


# What everybody makes of it.


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The only thing that a package with a reward of its own does."""
    register(CRITIC)
    yield
    del REWARDS["critic"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "mine.pt"
    torch.manual_seed(0)
    torch.save(network().state_dict(), file)
    return file


def config_for(model: Path, reward: str, **changes) -> RunConfig:
    data = {
        "model": {"name": str(model), "kind": "lcm", "steps": 2, "lora": {"rank": 2}},
        "reward": reward,
        "prompts": "animals-45",
        "training": {"batch_size": 8, "steps": 2, "device": "cpu"},
        "watch": {"samples_every": 0, "tensorboard": False},
    }
    return parse_config(data | changes)


def cost_of(config: RunConfig) -> StepCost:
    cost = count_step(config)
    assert cost is not None
    return cost


def test_a_run_is_planned_by_the_skeleton_before_the_weights_are_here(micro_lcm):
    config = config_for(micro_lcm, "critic")
    halved = config_for(micro_lcm, "critic", memory={"reward_dtype": "bfloat16"})
    cost = cost_of(config)
    assert cost.unknown == ()
    assert cost.networks.sizes["reward critic"] == (PARAMETERS, 4 * PARAMETERS)
    assert cost_of(halved).networks.sizes["reward critic"] == (PARAMETERS, 2 * PARAMETERS)
    lines = "\n".join(plan(config))
    assert "reward critic: not here yet" in lines
    assert "downloads for rewards: 2 MB (https://nowhere.example/critic.pt)" in lines
    assert "reward critic 0.59" in lines
    assert "left out" not in lines


def test_its_memory_and_arithmetic_are_counted(micro_lcm, monkeypatch):
    """Against the same run with the skeleton left out: its products come on top, and what its gradient stores."""
    with_critic = cost_of(config_for(micro_lcm, "critic"))
    monkeypatch.setitem(REWARDS, "critic", replace(CRITIC, skeleton=None))
    without = cost_of(config_for(micro_lcm, "critic"))
    assert without.unknown == ("critic",)
    assert "reward critic" not in without.networks.sizes
    assert "nothing is known about it: critic" in "\n".join(plan(config_for(micro_lcm, "critic")))

    batch, pixels = 8, 64 * 64
    convolution, linear = 2 * batch * pixels * 3 * 16 * 25, 2 * batch * 16 * 9216 * 4
    assert with_critic.step.flops - without.step.flops == 2 * (convolution + linear)  # forward, and back to the image
    stored = 4 * batch * 16 * pixels  # the convolution's output, for SiLU's gradient
    assert with_critic.step.peak - without.step.peak >= stored


def test_its_title_and_factor_are_shown():
    for text, header in {"critic": "The Critic ×10", "critic@/my/file.pt": "The Critic (/my/file.pt) ×10"}.items():
        assert display(text).header == header


def test_it_is_trained_on(micro_lcm, checkpoint, tmp_path):
    config = config_for(micro_lcm, f"critic@{checkpoint}")
    assert train(config, tmp_path / "run").step == 2
    log = read_log(tmp_path / "run" / "metrics.jsonl")
    assert [line["queries"] for line in log[-2:]] == [8, 8]
    assert (tmp_path / "run" / "lora" / "pytorch_lora_weights.safetensors").is_file()
