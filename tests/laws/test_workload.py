"""What an algorithm says that a batch of experience takes; here the network and the reward count, and agree."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

from helpers.training_world import Paint, lightness
from kedge.algorithms import ALGORITHMS
from kedge.algorithms.base import Context, Needs
from kedge.algorithms.importance import ImportanceRatios, expected_old_passes
from kedge.algorithms.schedule import schedule
from kedge.algorithms.soft_q import draw_step
from kedge.algorithms.workload import Passes, workload
from kedge.config import RunConfig, parse_config
from kedge.config.workload import backprop_of, workload_of
from kedge.policies.base import Backprop, Policy
from kedge.training.assemble import build_policy

ROCM = {"name": "rocm", "divergence": "kl", "beta": 0.1}
CASES = {
    "rocm without a divergence": ("lcm", {**ROCM, "divergence": "none"}, {}),
    "rocm": ("lcm", ROCM, {}),
    "rocm, measured only": ("lcm", {**ROCM, "beta": 0}, {}),
    "rocm, detached": ("lcm", {**ROCM, "reference_gradient": "detached"}, {}),
    "rocm, detached, two terms": ("lcm", {**ROCM, "reference_gradient": "detached", "reference_steps": 2}, {}),
    "rocm, truncated": ("lcm", ROCM, {"backprop": {"last_steps": 3}}),
    "rocm, truncated to one": ("lcm", ROCM, {"backprop": {"last_steps": 1}}),
    "rocm, recomputed": ("lcm", ROCM, {"backprop": {"checkpoint": True}}),
    "rocm, truncated and recomputed": ("lcm", ROCM, {"backprop": {"last_steps": 3, "checkpoint": True}}),
    "rocm, paired": ("lcm", ROCM, {"speed": {"paired_reference": True}}),
    "rocm, paired and truncated": ("lcm", ROCM, {"speed": {"paired_reference": True}, "backprop": {"last_steps": 3}}),
    "rocm, the last step too": ("lcm", {**ROCM, "last_step_std": 0.1}, {}),
    "rocm, the last step alone": ("lcm", {**ROCM, "last_step_std": 0.1, "reference_steps": 0}, {}),
    "rocm, the last step alone, truncated to it": (
        "lcm",
        {**ROCM, "last_step_std": 0.1, "reference_steps": 0},
        {"backprop": {"last_steps": 1}},
    ),
    "rocm, the last step alone, paired": (
        "lcm",
        {**ROCM, "last_step_std": 0.1, "reference_steps": 0},
        {"speed": {"paired_reference": True}, "backprop": {"last_steps": 1}},
    ),
    "rocm, held by a change of pictures": ("lcm", {**ROCM, "target": {"rms": 0.1}}, {}),
    "grpo": ("lcm", {"name": "grpo", "group_size": 2}, {}),
    "draft": ("lcm", {"name": "draft", "through": 2}, {}),
    "draft, low variance": ("lcm", {"name": "draft", "draws": 2}, {}),
    "hybrid": ("lcm", {**ROCM, "name": "hybrid", "surrogate": "helpers.training_world:lightness"}, {}),
    "rlcm": ("lcm", {"name": "rlcm"}, {}),
    "rlcm, held": ("lcm", {"name": "rlcm", "target": {"rms": 0.1}, "kl_weight": 0.1}, {}),
    "rlcm, the last step too": ("lcm", {"name": "rlcm", "score_last_step": True}, {}),
    "ppo, minibatches": ("lcm", {"name": "ppo", "minibatches": 2}, {}),
    "ppo, epochs": ("lcm", {"name": "ppo", "epochs": 2}, {}),
    "ddpo": ("diffusion", {"name": "ddpo"}, {}),
    "d3po": ("diffusion", {"name": "d3po"}, {}),
    "d3po, epochs": ("lcm", {"name": "d3po", "epochs": 2, "step_fraction": 0.5}, {}),
    "dpok": ("lcm", {"name": "dpok", "policy_steps": 1, "step_fraction": 0.5}, {}),
}


@dataclass
class Counts:
    """Passes of the network for single samples, as its hooks see them, and images that the reward was shown."""

    forward: int = 0
    backward: int = 0
    reference: int = 0
    images: int = 0
    updates: int = 0


class CountedLightness:
    """A reward that tells images apart and counts them."""

    name, differentiable = "lightness", True

    def __init__(self, counts: Counts):
        self.counts = counts

    def __call__(self, images, prompts):
        self.counts.images += len(images)
        return lightness(images, prompts) + 0.01 * torch.arange(len(images))


class Prompts:
    def take(self, n):
        return [f"a cat {i}" for i in range(n)]


def config_for(folder, kind: str, algorithm, **changes) -> RunConfig:
    return parse_config(
        {
            "model": {"name": str(folder), "kind": kind, "steps": 4, "guidance": 0.0, "lora": {"rank": 2}},
            "reward": "helpers.training_world:lightness",
            "algorithm": algorithm,
            "training": {"batch_size": 2, "accumulation": 2, "steps": 4},
            **changes,
        }
    )


def counted_batch(config: RunConfig) -> Counts:
    """One batch of experience, learnt from, while everything is counted."""
    policy, counts = build_policy(config.model, torch.device("cpu")), Counts()

    def called(module, arguments, keywords, output):
        sample, mode = output[0] if isinstance(output, tuple) else output.sample, policy.adapter.mode
        rows = len(sample) if not mode.off else 0 if mode.half is None else len(sample) // 2
        counts.forward += rows
        counts.reference += len(sample) - rows
        if sample.requires_grad:
            sample.register_hook(went_back)

    def went_back(gradient):
        counts.backward += len(gradient)

    handle = policy.network.register_forward_hook(called, with_kwargs=True)
    learn(config, context_for(config, policy, counts, seed=0), counts)
    handle.remove()
    return counts


def context_for(config: RunConfig, policy: Policy, counts: Counts, seed: int) -> Context:
    return Context(
        policy,
        CountedLightness(counts),
        Prompts(),
        torch.Generator().manual_seed(seed),
        backprop_of(config),
        config.training.batch_size,
        config.training.accumulation,
    )


def learn(config: RunConfig, context: Context, counts: Counts) -> None:
    """The backward pass of every optimizer step."""
    for losses in config.algorithm.instance.updates(context):
        counts.updates += 1
        for loss in losses:
            loss.value.backward()


@pytest.fixture
def folders(micro_lcm, micro_diffusion):
    return {"lcm": micro_lcm, "diffusion": micro_diffusion}


@pytest.mark.parametrize("case", CASES)
def test_what_is_stated_is_what_the_network_and_the_reward_see(case, folders):
    kind, algorithm, changes = CASES[case]
    config = config_for(folders[kind], kind, algorithm, **changes)
    stated, counts = workload_of(config), counted_batch(config)
    assert stated.passes == Passes(counts.forward, counts.backward, counts.reference)
    assert (stated.queries, stated.updates) == (counts.images, counts.updates)


def test_votes_ask_no_reward_and_their_pictures_are_the_references(folders, tmp_path):
    votes = tmp_path / "votes.jsonl"
    votes.write_text("\n".join(json.dumps({"prompt": "a cat", "seed": seed, "preferred": 1}) for seed in range(4)))
    config = config_for(folders["lcm"], "lcm", {"name": "d3po", "votes": str(votes)})
    stated, counts = workload_of(config), counted_batch(config)
    assert stated.passes == Passes(counts.forward, counts.backward, counts.reference)
    assert stated.queries == counts.images == 0


DRAWN = {
    "refl": ({"name": "refl"}, "kedge.algorithms.soft_q.draw_step", 2),
    "refl, from the first step": ({"name": "refl", "earliest": 9}, "kedge.algorithms.soft_q.draw_step", 4),
    "soft_q": ({"name": "soft_q"}, "kedge.algorithms.soft_q.draw_step", 4),
    "alignprop": ({"name": "alignprop"}, "kedge.algorithms.draft.AlignProp._depth", 4),
    "alignprop, held": (
        {"name": "alignprop", "divergence": "kl", "beta": 0.1, "draws": 2},
        "kedge.algorithms.draft.AlignProp._depth",
        4,
    ),
}


@pytest.mark.parametrize("case", DRAWN)
def test_where_one_number_is_drawn_each_of_its_values_once_is_what_is_stated(case, folders, monkeypatch):
    """k, or the depth, goes through all of its values in one optimizer step: the mean, exactly."""
    algorithm, place, values = DRAWN[case]
    draws = iter(range(1, values + 1))
    monkeypatch.setattr(place, lambda *_: next(draws))
    config = config_for(folders["lcm"], "lcm", algorithm, training={"batch_size": 2, "accumulation": values})
    stated, counts = workload_of(config), counted_batch(config)
    passes = torch.tensor([stated.passes.forward, stated.passes.backward, stated.passes.reference])
    torch.testing.assert_close(passes, torch.tensor([counts.forward, counts.backward, counts.reference]).float())
    assert (stated.queries, stated.updates) == (counts.images, counts.updates)
    assert next(draws, None) is None


def test_each_step_is_as_likely():
    context = Context(None, None, None, torch.Generator().manual_seed(0))
    drawn = torch.tensor([draw_step(context, 4) for _ in range(4000)])
    assert set(drawn.tolist()) == {1, 2, 3, 4}
    assert (drawn.bincount()[1:] - 1000).abs().max() < 3 * 750**0.5


CHANCE = {
    "dpok, epochs": {"name": "dpok", "policy_steps": 3, "step_fraction": 0.34},
    "ppo, epochs of minibatches": {"name": "ppo", "epochs": 3, "minibatches": 2, "step_fraction": 0.34},
    "rocm, some terms": {**ROCM, "reference_steps": 1},
    "rocm, random depth": ROCM,
}
RANDOM_DEPTH = {"rocm, random depth": {"backprop": {"random_depth": 0.6}}}


class CountedPaint(Paint):
    """The painter of test runs, fast enough to be asked a hundred times; it counts its own calls."""

    counts = Counts()

    def transition(self, x, k, cond):
        p = super().transition(x, k, cond)
        self.counts.forward += len(x) * self._adapted
        self.counts.reference += len(x) * (not self._adapted)
        if p.mean.requires_grad:
            p.mean.register_hook(self._went_back)
        return p

    def _went_back(self, gradient):
        self.counts.backward += len(gradient)


@pytest.mark.parametrize("algorithm", CHANCE)
def test_where_chance_decides_the_mean_is_stated(algorithm):
    config = config_for("paint", "helpers.training_world:load", CHANCE[algorithm], **RANDOM_DEPTH.get(algorithm, {}))
    policy, runs = CountedPaint(config.model.steps, torch.device("cpu"), rank=2), 100
    totals = torch.zeros(runs, 3, dtype=torch.float64)
    for seed in range(runs):
        policy.counts = counts = Counts()
        learn(config, context_for(config, policy, counts, seed), counts)
        totals[seed] = torch.tensor([counts.forward, counts.backward, counts.reference])
    error, passes = totals.std(0) / runs**0.5, workload_of(config).passes
    stated = torch.tensor([passes.forward, passes.backward, passes.reference], dtype=torch.float64)
    assert ((totals.mean(0) - stated).abs() <= 3.5 * error + 1e-9).all(), (totals.mean(0), stated, error)
    assert error.max() > 0  # chance does decide


@pytest.mark.parametrize("size", [(32, 7, 8), (16, 19, 16), (6, 3, 4)])
def test_old_log_probabilities_take_the_passes_that_a_plan_needs(size):
    """The closed form against the plans themselves, which need no network."""
    samples, steps, batch_size = size
    settings = {"epochs": 4, "minibatches": 2, "step_fraction": 0.3}
    totals = torch.tensor([float(passes_of_a_plan(size, settings, seed)) for seed in range(100)])
    stated = expected_old_passes(samples, steps, batch_size, **settings)
    assert abs(totals.mean() - stated) < 4 * totals.std() / 100**0.5
    every = {**settings, "step_fraction": 1.0}
    assert expected_old_passes(samples, steps, batch_size, **every) == passes_of_a_plan(size, every, 0)


def passes_of_a_plan(size, settings, seed: int) -> int:
    samples, steps, batch_size = size
    count = 0

    def log_prob(visit):
        nonlocal count
        count += len(visit.rows)
        return torch.zeros(len(visit.rows))

    generator = torch.Generator().manual_seed(seed)
    plan = schedule(samples, range(steps + 1, 1, -1), batch_size, generator, **settings)
    ImportanceRatios(plan, samples, steps + 1, log_prob)
    return count


def test_every_algorithm_that_ships_says_what_it_takes():
    for name in ALGORITHMS:
        stated = workload(ALGORITHMS.get(name)(), batch_size=4, accumulation=2, steps=8, backprop=Backprop())
        assert stated.passes is not None
        assert stated.passes.forward + stated.passes.reference >= stated.passes.backward > 0


@dataclass(frozen=True)
class Silent:
    """An algorithm that says nothing about itself."""

    needs = Needs()

    def updates(self, context):
        yield []


def test_one_that_says_nothing_is_taken_to_score_fresh_samples_and_its_passes_are_unknown():
    stated = workload(Silent(), batch_size=4, accumulation=2, steps=8, backprop=Backprop())
    assert (stated.samples, stated.queries, stated.updates, stated.passes) == (8, 8, 1, None)
