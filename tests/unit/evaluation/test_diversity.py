"""How much pictures vary: the definition, its intervals, and what it notices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kedge.evaluation.diversity import BETWEEN, WITHIN, diversities, remaining_share
from kedge.evaluation.statistics import mean_interval


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def pictures(rng: np.random.Generator, prompts: int, noises: int, within: float, between: float = 1.0) -> np.ndarray:
    """Features ``[prompts · noises, 6]`` around a common picture, a prompt's own, and a noise's own."""
    common = np.array([2.0, 0, 0, 0, 0, 0])
    own = between * rng.normal(size=(prompts, 1, 6))
    return unit((common + own + within * rng.normal(size=(prompts, noises, 6))).reshape(-1, 6))


def names(prompts: int, noises: int) -> list[str]:
    return [f"prompt {i}" for i in range(prompts) for _ in range(noises)]


def test_both_are_means_of_distances_over_pairs():
    x, labels = pictures(np.random.default_rng(0), 5, 3, 0.5), names(5, 3)
    pairs = [(i, j, 1 - x[i] @ x[j]) for i, j in itertools.combinations(range(15), 2)]
    actual = diversities(x, labels)
    assert actual[WITHIN].mean() == pytest.approx(np.mean([d for i, j, d in pairs if labels[i] == labels[j]]))
    assert actual[BETWEEN].mean() == pytest.approx(np.mean([d for i, j, d in pairs if labels[i] != labels[j]]))


def test_the_values_of_between_are_the_jackknifes():
    x, labels = pictures(np.random.default_rng(1), 6, 2, 0.5), names(6, 2)
    values = diversities(x, labels)[BETWEEN]
    whole = values.mean()
    for i in range(6):
        left = [j for j in range(12) if j // 2 != i]
        without = diversities(x[left], [labels[j] for j in left])[BETWEEN].mean()
        assert values[2 * i] == pytest.approx(6 * whole - 5 * without)


def test_one_picture_for_all_has_no_diversity():
    x = np.repeat(pictures(np.random.default_rng(2), 1, 1, 1.0), 8, 0)
    actual = diversities(x, names(4, 2))
    assert all(abs(values).max() < 1e-12 for values in actual.values())


def test_the_order_of_pictures_does_not_matter():
    rng = np.random.default_rng(3)
    x, labels = pictures(rng, 4, 3, 0.5), names(4, 3)
    order = rng.permutation(12)
    straight, shuffled = diversities(x, labels), diversities(x[order], [labels[i] for i in order])
    for key in (WITHIN, BETWEEN):
        np.testing.assert_allclose(straight[key][order], shuffled[key])


def test_what_there_are_too_few_pictures_for_is_left_out():
    x = pictures(np.random.default_rng(4), 4, 1, 0.5)
    assert set(diversities(x, names(4, 1))) == {BETWEEN}
    assert set(diversities(x[:2], ["a", "a"])) == {WITHIN}
    assert set(diversities(x[:3], ["a", "a", "b"])) == set()


def test_collapse_within_prompts_and_between_them_are_told_apart():
    def both(within: float, between: float) -> tuple[float, float]:
        actual = diversities(pictures(np.random.default_rng(5), 20, 4, within, between), names(20, 4))
        return actual[WITHIN].mean(), actual[BETWEEN].mean()

    whole, one_noise, one_prompt = both(0.5, 1.0), both(0.05, 1.0), both(0.5, 0.05)
    assert one_noise[0] < 0.05 * whole[0] < 0.8 * whole[0] < one_prompt[0] * 2
    assert one_prompt[1] < 0.5 * whole[1] < 0.8 * whole[1] < one_noise[1]


@pytest.mark.parametrize("prompts", [12, 24])
@pytest.mark.parametrize("key", [WITHIN, BETWEEN])
def test_intervals_hold_the_truth(key: str, prompts: int):
    truth = diversities(pictures(np.random.default_rng(6), 1500, 2, 0.5), names(1500, 2))[key].mean()
    rng, labels, hits = np.random.default_rng(7), names(prompts, 2), 0
    for _ in range(400):
        values = diversities(pictures(rng, prompts, 2, 0.5), labels)[key]
        hits += not mean_interval(values, labels).excludes(truth)
    assert 0.91 <= hits / 400 <= 0.98  # standard error 1.1 points; distances are skewed, which shows at 12 prompts


def test_counting_pairs_as_independent_would_not():
    """The naive interval of B, from each prompt's mean distance to the others, is half as wide as it should be."""
    labels = names(24, 2)
    values = diversities(pictures(np.random.default_rng(8), 24, 2, 0.5), labels)[BETWEEN]
    naive = (values + values.mean()) / 2  # pseudo-value = B + 2 (B_c − B), up to 1 / P
    ratio = mean_interval(values, labels).half_width / mean_interval(naive, labels).half_width
    assert ratio == pytest.approx(2)


def tuned_and_base(seed: int, prompts: int) -> tuple[dict, dict, list[str]]:
    """Diversities of a model that varies less within prompts; its pictures resemble the base's by half."""
    rng, labels = np.random.default_rng(seed), names(prompts, 2)
    common, own, noise = np.eye(6)[0] * 2, rng.normal(size=(prompts, 1, 6)), rng.normal(size=(prompts, 2, 6))
    other_own, other_noise = (0.5 * x + 0.75**0.5 * rng.normal(size=x.shape) for x in (own, noise))
    base = diversities(unit(common + own + 0.5 * noise).reshape(-1, 6), labels)
    return diversities(unit(common + other_own + 0.3 * other_noise).reshape(-1, 6), labels), base, labels


@pytest.mark.parametrize("key", [WITHIN, BETWEEN])
def test_the_share_that_is_kept_holds_the_truth(key: str):
    tuned, base, _ = tuned_and_base(0, 3000)
    truth, hits = tuned[key].mean() / base[key].mean(), 0
    for seed in range(1, 401):
        tuned, base, labels = tuned_and_base(seed, 24)
        hits += not remaining_share(tuned[key], base[key], labels).excludes(truth)
    assert 0.92 <= hits / 400 <= 0.98
    assert truth < 0.96


def test_nothing_can_be_lost_where_there_was_nothing():
    same = np.zeros(4)
    assert remaining_share(same, same, ["a", "a", "b", "b"]).value == 1.0
