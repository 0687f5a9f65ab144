"""Path KL and the RMS change of x̂_0: closed forms, every family, and where they are told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from helpers.toys import PROMPTS, ToyPolicy
from helpers.training_world import recipe
from kedge.evaluation import Evaluation, compare, evaluate
from kedge.evaluation.run_log import read_log
from kedge.evaluation.tables import comparison_table, evaluation_table
from kedge.export.card import model_card
from kedge.policies.base import NO_GRADIENT, PredictingPolicy, ReferenceSteps, draw_noise, rollout
from kedge.policies.distance import distances
from kedge.training.run import train


def drifted(kind: str = "lcm", steps: int = 4, **settings) -> tuple[ToyPolicy, dict[str, torch.Tensor], object]:
    policy = ToyPolicy(kind, steps, **settings)
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 3)
    reference_steps = ReferenceSteps(range(steps, 0, -1), exact=False)
    with torch.no_grad():
        trajectory = rollout(policy, policy.encode(PROMPTS), noise, NO_GRADIENT, reference_steps)
    return policy, distances(policy, trajectory), trajectory


def test_path_kl_is_the_divergence_of_whole_trajectories():
    _, distances, trajectory = drifted()
    total = torch.zeros(3, dtype=torch.float64)
    for k in (4, 3, 2):
        p, q = trajectory.step(k)[2], trajectory.references[k]
        total += kl_divergence(Independent(Normal(p.mean, p.std), 3), Independent(Normal(q.mean, q.std), 3))
    torch.testing.assert_close(distances["path_kl"], total)


@pytest.mark.parametrize("kind", ["lcm", "diffusion"])
def test_the_change_of_x0_is_that_of_the_predicted_pictures(kind):
    """By the family's own arithmetic, from the network's output and not from the means."""

    class Predicting(ToyPolicy):
        def x0_weight(self, k):
            return float(self.schedule[k].x0_weight)

    policy = Predicting(kind, 4)
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 3)
    cond = policy.encode(PROMPTS)
    with torch.no_grad():
        trajectory = rollout(policy, cond, noise, NO_GRADIENT, ReferenceSteps(range(4, 0, -1), exact=False))
        squares = []
        for k in (4, 3, 2, 1):
            x, step = trajectory.step(k)[0], policy.schedule[k]
            # ∂mean/∂x̂_0 by finite differences of the step in its output, ε̂ = (x − α x̂_0) / σ for both kinds here
            epsilon = torch.zeros_like(x)
            moved = (step.gaussian(x, epsilon + 1).mean - step.gaussian(x, epsilon).mean).mean()
            x0_moved = -step.sigma / step.alpha * (step.c_out if kind == "lcm" else 1)
            weight = moved / x0_moved
            difference = (trajectory.step(k)[2].mean - trajectory.references[k].mean) / weight
            squares.append(difference.flatten(1).square().mean(1))
    expected = torch.stack(squares).mean(0).sqrt()
    torch.testing.assert_close(distances(policy, trajectory)["rms_x0"], expected)
    assert isinstance(policy, PredictingPolicy)


def test_every_family_says_what_its_steps_make_of_the_prediction(micro_lcm, micro_diffusion):
    from kedge.policies import load_policy

    lcm = load_policy("lcm", str(micro_lcm), steps=4, guidance=0.0, lora=None, device="cpu")
    assert lcm.x0_weight(1) == 1  # x_0 is x̂_0: there the change of the mean is the change of the prediction
    for path, kind in ((micro_lcm, "lcm"), (micro_diffusion, "diffusion"), (micro_diffusion, "turbo")):
        policy = load_policy(kind, str(path), steps=4, guidance=0.0, lora=None, device="cpu")
        assert isinstance(policy, PredictingPolicy)
        assert all(0 < policy.x0_weight(k) <= 1 for k in (4, 3, 2, 1))


def test_a_model_that_did_not_move_is_at_no_distance():
    _, distances, _ = drifted(drift=0.0)
    assert distances["path_kl"].abs().max() == 0


def test_deterministic_steps_have_no_kl():
    assert "path_kl" not in drifted("diffusion", eta=0.0)[1]
    assert "path_kl" not in drifted("lcm", steps=1)[1]


def test_measuring_the_distance_leaves_the_pictures_alone():
    policy = ToyPolicy("lcm", 4, dtype=torch.float32)
    rewards = {"bright": lambda images, prompts: images.flatten(1).mean(1)}
    tuned = evaluate(policy, rewards, PROMPTS, seed=0, batch_size=2, samples_per_prompt=2)
    base = evaluate(policy, rewards, PROMPTS, seed=0, batch_size=2, samples_per_prompt=2, reference=True)
    noise = draw_noise(policy, [torch.Generator().manual_seed(s) for s in _seeds()], 6)
    with torch.no_grad():
        plain = policy.decode(rollout(policy, policy.encode([p for p in PROMPTS for _ in range(2)]), noise).x0)
    rounded = (plain * 255).round() / 255
    assert tuned.scores["bright"] == pytest.approx(rounded.flatten(1).mean(1).numpy(), abs=1e-6)
    assert tuned.distances["path_kl"].shape == (6,)
    assert base.distances == {}


def _seeds() -> list[int]:
    from kedge.evaluation.evaluator import sample_seed

    return [sample_seed(0, prompt, sample) for prompt in range(3) for sample in range(2)]


def test_it_is_kept_in_records_and_told_in_tables(tmp_path: Path):
    prompts = tuple(f"p{i}" for i in range(5))
    scores = {"oracle": np.arange(5.0)}
    apart = {"path_kl": np.linspace(20, 30, 5), "rms_x0": np.full(5, 0.2)}
    tuned = Evaluation("tuned", prompts, 0, {"oracle": scores["oracle"] + 1}, distances=apart)
    base = Evaluation("base", prompts, 0, scores)
    loaded = Evaluation.load(tuned.save(tmp_path / "tuned.json"))
    assert loaded.distances["path_kl"].tolist() == apart["path_kl"].tolist()
    old = json.loads((tmp_path / "tuned.json").read_text(encoding="utf-8"))
    del old["distances"]
    assert Evaluation.from_dict(old).distances == {}  # a record from before it was measured
    comparison = compare(loaded, base)
    note = comparison_table(comparison).note
    assert "Distance of tuned from its base: path KL, nats 25.0 ± 4.9; RMS change of x̂₀, σ 0.200 ± 0.000" in note
    assert comparison.to_dict()["distances"]["path_kl"]["value"] == 25
    table = evaluation_table([base, loaded])
    assert table.headers[1:] == ("path KL, nats", "RMS change of x̂₀, σ")
    assert [row[1][1] is None for row in table.rows] == [True, False]


def test_a_policy_gradients_log_and_card_tell_it(tmp_path: Path):
    changes = {"algorithm": {"name": "rlcm", "normalise": "batch"}, "training__batch_size": 4, "training__steps": 4}
    config = {**changes, "watch__evaluate_every": 2, "optimizer__lr": 0.05}
    from kedge.config import parse_config

    train(parse_config(recipe(**config)), tmp_path / "run")
    log = read_log(tmp_path / "run" / "metrics.jsonl")
    moved = [line["path_kl"] for line in log if "path_kl" in line]
    assert len(moved) == 3
    assert moved[0] == 0
    assert math.isfinite(moved[2])
    assert moved[2] > moved[1] > 0
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert f"At step 4 it had moved from the base by a path KL of {moved[2]:.3g} nats." in card
    assert "Distance from the base: path KL" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert model_card(parse_config(recipe()), 1, [], "x", "no time").count("path KL") == 0
