"""How noisy gradients are: unbiased, with the right ratio; and the arms of an ablation of equal strength."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kedge.divergences import make_divergence
from kedge.evaluation.statistics import mean_interval
from kedge.evaluation.t_distribution import two_sided_quantile
from kedge.gaussian import Gaussian
from kedge_papers import TARGETS
from kedge_papers.records.gradient_noise import gradient_noise, variance_ratio
from kedge_papers.records.result import Result
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets import estimators
from kedge_papers.targets.ablations import equal_strength

RNG = np.random.default_rng(0)
EMOJI = load_experiment_set("emoji")


def test_the_trace_of_the_variance_is_unbiased():
    """Of gradients with a mean of length 3 and a variance of trace 50."""
    estimates = []
    for _ in range(400):
        gradients = RNG.standard_normal((8, 50)) + 3 / math.sqrt(50)
        estimates.append(np.mean(gradient_noise(gradients).variance))
    assert np.mean(estimates) == pytest.approx(50, abs=4 * np.std(estimates) / 20)


def test_batches_that_agree_have_a_cosine_of_one_and_no_variance():
    noise = gradient_noise(np.tile([3.0, 4.0], (5, 1)))
    assert noise.cosine == pytest.approx([1.0] * 5)
    assert noise.norm == pytest.approx([5.0] * 5)
    assert noise.variance == pytest.approx([0.0] * 5, abs=1e-9)
    clipped = gradient_noise(np.tile([3.0, 4.0], (5, 1)), clip=1.0)
    assert clipped.norm == pytest.approx([1.0] * 5)


def test_clipping_takes_the_heavy_tail_and_keeps_the_direction():
    gradients = RNG.standard_normal((12, 30)) + 1
    gradients[0] *= 1000
    plain, clipped = gradient_noise(gradients), gradient_noise(gradients, clip=1.0)
    assert np.mean(plain.variance) > 1e4 * np.mean(clipped.variance)
    assert clipped.cosine == pytest.approx(plain.cosine)


def test_a_ratio_of_variances_is_paired_and_can_be_scaled():
    shared = RNG.standard_normal((48, 200))
    ours = gradient_noise(shared)
    theirs = gradient_noise(1.1 * shared + 0.3 * RNG.standard_normal((48, 200)))
    ratio = variance_ratio(ours, theirs)
    assert ratio.low < math.log(1.1**2 + 0.3**2) < ratio.high
    assert ratio.half_width < 0.05
    assert variance_ratio(ours, ours, scale=2.0).value == pytest.approx(math.log(4))


def test_both_js_arms_have_equal_strength_at_the_named_drift():
    """With one β the sampled arm was hundreds of times weaker: that compared JS with no regularisation."""
    dimensions, steps, drift = 512, 7, 10.0
    factor = equal_strength(dimensions, steps, drift)
    assert 200 < factor < 400
    std = torch.tensor(1.0, dtype=torch.float64)
    mean = torch.full((20_000, dimensions), (2 * drift / steps / dimensions) ** 0.5, dtype=torch.float64)
    p, q = Gaussian(mean, std), Gaussian(torch.zeros_like(mean), std)
    torch.manual_seed(0)
    sampled = make_divergence("js_sampled", "mean")(p, q)
    exact = float(make_divergence("js", "mean")(p, q)[0])
    assert factor * float(sampled.mean()) == pytest.approx(exact, rel=4 * float(sampled.std() / sampled.mean()) / 141)


def test_the_arms_of_the_js_ablation_differ_in_the_estimate_alone():
    exact, sampled = (
        run.config().algorithm.instance for run in TARGETS.get("js").runs(MatrixOptions(EMOJI)) if run.train
    )
    assert (exact.divergence, sampled.divergence) == ("js", "js_sampled")
    assert sampled.weight / exact.weight == pytest.approx(equal_strength(1024, 3), rel=0.01)


def test_the_last_step_is_judged_by_prompts_of_no_training():
    for run in TARGETS.get("last-step").runs(MatrixOptions(EMOJI)):
        assert {measure.prompts for measure in run.measures.values()} == {EMOJI.unseen}


@pytest.mark.slow
def test_estimators_are_measured_on_the_bundled_model(tmp_path, monkeypatch):
    """Two batches of two pictures, one horizon: every arm, its ratio, and not measured again."""
    monkeypatch.setattr(estimators, "SAMPLES", 2)
    monkeypatch.setattr(estimators, "HORIZONS", (1, 2))
    options = MatrixOptions(replace(EMOJI), budget=2)
    extra = estimators.measure(options, None, tmp_path)  # type: ignore[arg-type]
    assert set(extra["settings"]) == {"K = 1", "K = 2", "divergences"}
    assert set(extra["settings"]["K = 1"]) == {estimators.PATHWISE}  # a policy gradient has no step to score there
    at_two = extra["settings"]["K = 2"]
    assert set(at_two) == {estimators.PATHWISE, estimators.SCORE, estimators.LAST}
    assert (at_two[estimators.SCORE]["scored_steps"], at_two[estimators.LAST]["scored_steps"]) == (1, 2)
    arms = extra["settings"]["divergences"]
    assert arms[estimators.EXACT]["penalty"] > 50 * arms[estimators.SAMPLED]["penalty"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert estimators.measure(options, None, tmp_path) == extra  # type: ignore[arg-type]
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    tables = TARGETS.get("estimators").show(Result("estimators", {}, (), extra)).tables
    assert [len(table.rows) for table in tables] == [6, 2]


def test_agreement_counts_that_a_batch_is_in_many_pairs():
    """Its interval is that of the jackknife over batches: about twice as wide as that of their own mean cosines."""
    rng = np.random.default_rng(3)
    gradients = rng.standard_normal((40, 64))
    gradients[:, 0] += 8
    noise = gradient_noise(gradients)
    left_out = [np.mean(gradient_noise(np.delete(gradients, i, axis=0)).cosine) for i in range(40)]
    error = np.sqrt(39 / 40 * ((left_out - np.mean(left_out)) ** 2).sum())
    agreement = noise.agreement()
    assert agreement.value == pytest.approx(np.mean(noise.cosine))
    assert agreement.half_width == pytest.approx(two_sided_quantile(0.95, 39) * error, rel=1e-6)
    assert agreement.half_width > 1.7 * mean_interval(noise.cosine).half_width
    assert np.isinf(gradient_noise(gradients[:2]).agreement().half_width)


@pytest.mark.parametrize("steps", [2, 8])
def test_scoring_one_step_more_is_compared_as_a_sum(steps):
    """A loss is a mean over its steps: at K = 2 the noisier gradient looked four times less noisy than it is."""
    rng = np.random.default_rng(4)
    plain = rng.standard_normal((48, 64))
    noisy = (plain + 0.5 * rng.standard_normal((48, 64))) * (steps - 1) / steps
    arms = {
        name: {"plain": gradient_noise(gradients).to_dict(), "penalty": 0.0, "scored_steps": scored}
        for name, gradients, scored in ((estimators.SCORE, plain, steps - 1), (estimators.LAST, noisy, steps))
    }
    ratio = estimators.arm_ratio({"K": arms}, "K", estimators.SCORE, estimators.LAST)
    assert ratio.low < math.log(1.25) < ratio.high
    assert ratio.excludes(0)
