"""Floors: a named reward stays at its level, at the smallest price, and a resumed run goes on with the same weights."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from helpers.training_world import recipe
from kedge.algorithms.dual_ascent import DualAscent, Multiplier
from kedge.algorithms.floors import SHARE, STATE, FlooredReward
from kedge.config import ConfigError, load_config, parse_config
from kedge.evaluation.run_log import read_log
from kedge.policies.base import draw_noise, rollout
from kedge.rewards import load_reward, parse
from kedge.rewards.composition import Custom, Summand, Weighted
from kedge.rewards.scale import Scale
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.processes import Processes


def weighted():
    def first(images, prompts):
        return -(images.flatten(1).mean(1) - 1).square()

    def second(images, prompts):
        return -images.flatten(1).mean(1).square()

    first.differentiable = second.differentiable = True
    parts = Summand("a", 1.0, Custom("a", first), Scale()), Summand("b", 1.0, Custom("b", second), Scale(), "-0.09")
    return Weighted("a + floor(b)", parts)


def test_the_fixed_point_is_the_constrained_optimum():
    """max −(θ−1)² subject to −θ² ≥ −0.09: θ* = 0.3, and λ*/σ = (1 − θ*)/θ* (Karush, Kuhn and Tucker)."""
    spread, state = 0.5, {}
    reward = FlooredReward(weighted(), state)
    multiplier = Multiplier(0.2, 0.2)
    state[STATE] = {"b": {"level": -0.09, "spread": spread, "multiplier": asdict(multiplier)}}
    theta, ascent = torch.zeros(1, 3, 2, 2), DualAscent()
    for _ in range(3000):
        theta.requires_grad_()
        (gradient,) = torch.autograd.grad(reward(theta, ["x"]).sum(), theta)
        theta = (theta + gradient * 0.2).detach()
        total, count = reward.take_sums()["b"]
        floor = state[STATE]["b"]
        violation = (floor["level"] - total / count) / spread
        floor["multiplier"] = asdict(ascent.step(Multiplier(**floor["multiplier"]), violation))
    assert theta.mean().item() == pytest.approx(0.3, abs=1e-3)
    assert state[STATE]["b"]["multiplier"]["value"] / spread == pytest.approx(0.7 / 0.3, rel=5e-3)


def test_a_summand_that_is_held_above_a_floor_has_both_weights():
    def level(images, prompts):
        return images.flatten(1).mean(1)

    level.differentiable = True
    parts = Summand("a", 0.5, Custom("a", level), Scale()), Summand("a", 1.0, Custom("a", level), Scale(), "0")
    floor = {"level": 0.0, "spread": 1.0, "multiplier": asdict(Multiplier(0.2, 0.2))}
    reward = FlooredReward(Weighted("0.5*a + floor(a)", parts), {STATE: {"a": floor}})
    assert reward.summands == {"a": pytest.approx(0.7)}


@pytest.mark.parametrize("main", ["{0}:redness", "100*{0}:redness", "0.01*{0}:redness"])
def test_a_floor_is_the_same_share_of_standardised_rewards_as_of_their_sum(main, tmp_path):
    """A tenth at first. Its weight in the sum has the sum's numbers, beside which standardised ones would be lost."""
    folder = RunFolder(tmp_path / "run")
    config = parse_config(recipe(reward=f"{main} + floor({{0}}:lightness)".format(WORLD), training__steps=1))
    folder.open(config, 1, "cpu")
    trainer = assemble(config, folder, Processes("cpu"))
    trainer.algorithm.ascent = DualAscent(rate=0.0, damping=0.0)
    trainer.fit()
    context = trainer.context
    floor, weights = context.state[STATE][f"{WORLD}:lightness"], dict(context.reward.summands)
    share = weights.pop(f"{WORLD}:lightness")
    with context.policy.reference(), torch.no_grad():
        noise = draw_noise(context.policy, torch.Generator().manual_seed(0), 512)
        prompts = context.prompts.take(512)
        images = context.policy.decode(rollout(context.policy, context.encode(prompts), noise).x0)
    scores = {name: load_reward(name)(images, prompts).double() for name in weights}
    total = sum(weight * scores[name] for name, weight in weights.items())
    standardised = sum(weight * scores[name] / scores[name].std() for name, weight in weights.items())
    assert floor["multiplier"]["value"] == pytest.approx(SHARE * total.std().item(), rel=0.25)
    assert share == pytest.approx(SHARE * standardised.std().item(), rel=0.25)


def test_a_floor_adds_nothing_outside_of_training():
    reward, images = weighted(), torch.rand(2, 3, 4, 4)
    total, parts = reward.in_parts(images, ["x"] * 2)
    assert torch.equal(total, parts["a"])
    assert (reward.summands, reward.floors) == ({"a": 1.0}, {"b": "-0.09"})


def test_reads_floors():
    terms = parse("0.5*hpsv2 + floor(clipscore@emoji, -2.5e-1) + floor( hpsv3(pessimism=1) )")
    assert [term.floor for term in terms] == ["", "-2.5e-1", "base"]
    assert [term.source for term in terms] == [None, "emoji", None]
    for term in terms[1:]:
        assert parse(f"hpsv2 + {term.text}")[1] == term
    for text, message in [
        ("floor(clipscore)", "floors only"),
        ("hpsv2 + 2*floor(clipscore)", "weight of a floor is found"),
        ("hpsv2 - floor(clipscore)", "weight of a floor is found"),
        (
            "hpsv2 + floor(vqa@emoji, 0.2) + floor(vqa) + floor( vqa@emoji )",
            r"two floors for vqa@emoji, floor\(vqa@emoji, 0\.2\) and floor\(vqa@emoji\): keep one",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            parse(text)


def config_with(tmp_path, reward):
    file = tmp_path / "run.yaml"
    file.write_text(f"algorithm: {{name: rocm}}\nreward: {json.dumps(reward)}\n")
    return load_config(str(file))


WORLD = "helpers.training_world"
CAREFUL = f"{WORLD}:redness + floor({WORLD}:lightness)"


def trained(folder, steps, resume=False):
    run_folder, config = RunFolder(folder), parse_config(recipe(reward=CAREFUL, training__steps=steps))
    run_folder.open(config, 1, "cpu")
    trainer = assemble(config, run_folder, Processes("cpu"), resume=resume)
    trainer.fit()
    return trainer


def test_a_resumed_run_goes_on_with_the_same_weights(tmp_path):
    whole = trained(tmp_path / "whole", 6)
    trained(tmp_path / "parts", 3)
    parts = trained(tmp_path / "parts", 6, resume=True)
    assert parts.context.state[STATE] == whole.context.state[STATE]
    for one, other in zip(whole.optimizer.parameters, parts.optimizer.parameters, strict=True):
        assert torch.equal(one, other)
    floor = whole.context.state[STATE][f"{WORLD}:lightness"]
    assert floor["multiplier"]["value"] != floor["multiplier"]["start"]
    line = read_log(tmp_path / "whole" / "metrics.jsonl")[-1]
    assert {
        f"reward/{WORLD}:lightness",
        f"reward/weight of {WORLD}:lightness",
        f"reward/{WORLD}:redness",
    } <= line.keys()


def test_the_recipe_takes_a_block(tmp_path):
    floors = {"clipscore@emoji": "base", "aesthetic@emoji": 5}
    config = config_with(tmp_path, {"terms": "pickscore@emoji", "floors": floors})
    assert config.reward == "pickscore@emoji + floor(clipscore@emoji, base) + floor(aesthetic@emoji, 5)"
    with pytest.raises(ConfigError, match="must be base or a number, not 'low'"):
        config_with(tmp_path, {"terms": "pickscore@emoji", "floors": {"clipscore@emoji": "low"}})
    with pytest.raises(ConfigError, match="terms: TEXT"):
        config_with(tmp_path, {"floors": {"clipscore@emoji": "base"}})
