"""The law in D on the toy chain: what is measured is what a pencil gives, and grows with the exponent that it has."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kedge_papers.records.gradient_noise import noise_to_signal
from kedge_papers.records.result import Result
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets import dimension
from kedge_papers.targets.dimension import AVERAGE, DIRECTION, EVERYWHERE, Chain, exponent, noise_of
from kedge_papers.targets.estimators import PATHWISE, SCORE

SLOPE, SLOPES = math.exp(-1), (1 + math.exp(-2)) / 2  # (E cos u)² and E cos² u of u ~ N(0, 1)
SPREAD = (1 - math.exp(-2)) / 2  # Var sin u


def held(logs: list[float], expected: float, slack: float = 0.0) -> bool:
    """Whether a value lies within the interval, a third wider; ``slack`` on the logarithm."""
    value, low, high = logs
    return abs(value - math.log(expected)) < 1.33 * (high - low) / 2 + slack


@pytest.mark.parametrize("reward", [DIRECTION, EVERYWHERE])
def test_pathwise_noise_does_not_know_the_dimension(reward):
    """J is a constant: per sample Var g' / (E g')² of both rewards, at any D."""
    for size in (8, 64):
        assert held(noise_of(reward, size, 4, 48)[PATHWISE], SLOPES / SLOPE - 1)


def test_the_score_functions_noise_is_that_of_every_latent():
    """D Var(R) Σ (α/σ)² / (E g' Σ_k Π α)², to first order in 1/D and in one over the batch."""
    size, steps = 64, 4
    chain, reach, signal, noise = Chain(size, steps), 1.0, 0.0, 0.0
    for k in range(2, steps + 1):  # x_0 knows θ at step k through α_{k-1} and all later ones
        step = chain.schedule[k]
        reach *= float(step.next_alpha)
        signal += reach
        noise += float(step.next_alpha / step.std) ** 2
    expected = size * SPREAD * noise / (SLOPE * signal**2)
    assert held(noise_of(DIRECTION, size, steps, 96)[SCORE], expected, slack=0.15)


def test_the_chain_stays_where_its_data_are():
    """Standard normal at every step: rewards have one spread at any D, and the last step draws nothing."""
    chain = Chain(4, 4)
    for k, step in chain.schedule.items():
        assert float(step.next_alpha**2 + step.std**2) == pytest.approx(1, abs=1e-6), k
    assert float(chain.schedule[1].std) == 0


def test_where_the_reward_becomes_linear_pathwise_noise_vanishes():
    small, large = noise_of(AVERAGE, 16, 2, 32)[PATHWISE], noise_of(AVERAGE, 256, 2, 32)[PATHWISE]
    assert small[0] - large[0] == pytest.approx(math.log(16), abs=0.5)


@pytest.mark.parametrize(("dimensions", "signal"), [(40, 2.0), (200, 5.0)])
def test_noise_to_signal_of_gradients_that_are_known(dimensions, signal):
    """A mean of a known length and a variance of a known trace, in 93 to 97.5 of 100 intervals of 95 %."""
    rng, inside, studies = np.random.default_rng(0), 0, 800
    for _ in range(studies):
        gradients = rng.standard_normal((48, dimensions))
        gradients[:, 0] += signal
        interval = noise_to_signal(gradients)
        inside += interval.low < math.log(dimensions / signal**2) < interval.high
    assert 0.93 <= inside / studies <= 0.98
    assert math.isinf(noise_to_signal(rng.standard_normal((2, 5))).high)


def test_the_exponent_holds_the_truth():
    rng, inside, studies = np.random.default_rng(0), 0, 300
    for _ in range(studies):
        logs = []
        for size in (16, 64, 256):
            gradients = rng.standard_normal((48, size))
            gradients[:, 0] += 3
            interval = noise_to_signal(gradients)
            logs.append([interval.value, interval.low, interval.high])
        slope = exponent((16, 64, 256), logs)
        inside += slope is not None and slope.low < 1 < slope.high
    assert 0.925 <= inside / studies <= 0.985  # the error of the share is 1.3 %


def test_a_slope_has_the_errors_of_its_points():
    sizes = (10, 100, 1000)
    logs = [[2 * math.log(size), 2 * math.log(size) - 0.1, 2 * math.log(size) + 0.1] for size in sizes]
    slope = exponent(sizes, logs)
    assert slope.value == pytest.approx(2)
    assert slope.half_width == pytest.approx(0.1 / math.sqrt(2) / math.log(10))


def test_every_setting_is_measured_once_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(dimension, "SIZES", (4, 8))
    monkeypatch.setattr(dimension, "HORIZONS", (2, 4))
    monkeypatch.setattr(dimension, "AT", 4)
    options = MatrixOptions(load_experiment_set("emoji"), budget=12)
    extra = dimension.measure(options, None, tmp_path)  # type: ignore[arg-type]
    assert len(extra["settings"]) == 3 * 2 + 2
    monkeypatch.setattr(dimension, "noise_of", lambda *_: pytest.fail("measured twice"))
    assert dimension.measure(options, None, tmp_path) == extra  # type: ignore[arg-type]
    exhibit = dimension.show(Result("dimension", {}, (), extra))
    assert [len(table.rows) for table in exhibit.tables] == [6, 2]
    assert exhibit.tables[0].rows[0][1][0].texts()[1].startswith("(")  # lopsided: ± would be another interval
    assert exhibit.figure is not None
    extra["settings"]["K = 2"][SCORE] = extra["settings"][f"{DIRECTION}, D = 4"][SCORE] = [0.0, None, None]
    by_size, by_steps = dimension.show(Result("dimension", {}, (), extra)).tables  # noise that hides the signal
    assert dict(by_steps.rows)[SCORE][0] is None
    assert [cell is None for cell in dict(by_size.rows)[f"{SCORE}: {DIRECTION}"]] == [True, False, True]
