"""A β that holds nothing is said, in the reward's standard deviations; one that holds is not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from helpers.toys import ToyPolicy, toy_context
from kedge.algorithms.base import Context
from kedge.algorithms.rocm import PAPER_BETA, ROCM
from kedge.algorithms.strength import LEAST, MOST, NATS, SCORES, STATE, divergence_at, verdict, verdict_at_load
from kedge.algorithms.target import Target

EMOJI, SD15 = (512, 1.6), (4 * 64 * 64, 0.03)  # latent dimensions, and how much PickScore and HPSv2 vary there


def price(algorithm: ROCM, dimensions: int, steps: int = 8) -> float:
    value = algorithm.price([0.8] * (steps - 1), dimensions)
    assert value is not None
    return value


@pytest.mark.parametrize("divergence", sorted(PAPER_BETA.keys() - {"none", "js"}))
def test_the_papers_betas_hold_on_the_papers_model(divergence: str) -> None:
    dimensions, spread = SD15
    assert verdict(price(ROCM(divergence=divergence), dimensions), 1.0, spread) is None


def test_the_exact_js_under_the_papers_beta_holds_too_much() -> None:
    """Table 2's 2000 is for one sample's estimate; before the first picture, beside KL by Table 2."""
    dimensions, spread = SD15
    exact, sampled = (ROCM(divergence=name) for name in ("js", "js_sampled"))
    sentence = verdict(price(exact, dimensions), 1.0, spread, SCORES)
    assert sentence is not None
    assert "holds so much that little can be learnt: 10 nats away from the base cost 1e+01 standard" in sentence
    sentence = verdict_at_load(exact, price(exact, dimensions))
    assert sentence is not None
    times = float(re.search(r"cost ([\d.e+]+) times what they do with kl", sentence)[1])
    assert ROCM(divergence="js", beta=2000 / times).price([0.8] * 7, dimensions) == pytest.approx(
        PAPER_BETA["kl"] * NATS, rel=0.05
    )
    assert verdict_at_load(sampled, price(sampled, dimensions)) is None


def test_before_the_first_picture_a_beta_is_judged_by_its_unit_or_not_at_all() -> None:
    def said(**settings: float) -> str:
        algorithm = ROCM(divergence="hellinger", **settings)
        return verdict_at_load(algorithm, price(algorithm, 512)) or ""

    assert "next to nothing" in said(beta=0.01, beta_unit=1.6)
    assert "times as small" in said(beta=1e4, beta_unit=1.6)
    assert not said(beta=40.0, beta_unit=1.6)
    assert not said(beta=1e4)  # somebody's choice, for a reward whose numbers are not known yet


@pytest.mark.parametrize("world", [EMOJI, SD15])
@pytest.mark.parametrize("divergence", ["hellinger", "js", "js_sampled"])
def test_kls_beta_holds_nothing_by_another_divergence(world: tuple[int, float], divergence: str) -> None:
    dimensions, spread = world
    beta = 0.01 if world == EMOJI else PAPER_BETA["kl"]
    assert verdict(price(ROCM(divergence="kl", beta=beta), dimensions), 1.0, spread) is None
    sentence = verdict(price(ROCM(divergence=divergence, beta=beta), dimensions), 1.0, spread)
    assert sentence is not None
    assert f"deviations of the reward ({spread:.3g})" in sentence


def test_the_price_is_that_of_the_distance_in_the_unit_of_beta() -> None:
    """KL costs β for a nat, whatever the steps; the others what they are at that drift."""
    for steps in (2, 5):
        assert price(ROCM(beta=0.02, beta_unit=1.6), 512, steps) == pytest.approx(0.02 * NATS)
    assert divergence_at(10.0, "hellinger", [1.0] * 4, 512) == pytest.approx(20 / 512 / 8, rel=0.01)
    assert divergence_at(10.0, "fisher", [0.5, 0.5], 512) == pytest.approx(20 / 0.25)  # δ²/std²
    held = ROCM(beta=0.02, last_step_std=0.1).price([0.5], 512)  # half of the distance is at the last step
    assert held == pytest.approx(0.02 * NATS)


def test_a_last_step_that_is_held_takes_its_share_of_the_drift() -> None:
    """By Fisher's divergence, whose price depends on where the drift is: δ²/std², with δ² = 2 nats / steps."""
    stds, last = (0.5, 0.2), 0.1
    share = 2 * NATS / 3
    algorithm = ROCM(divergence="fisher", beta=1.0, last_step_std=last)
    assert algorithm.price(stds, 16) == pytest.approx(sum(share / std**2 for std in (*stds, last)))


def test_the_remedy_is_a_tenth_of_a_deviation() -> None:
    sentence = verdict(LEAST / 3, 2.0, 2.0)
    assert sentence is not None
    assert "beta 1e+03 times as large" in sentence
    assert verdict(LEAST, 2.0, 2.0) is None
    assert verdict(LEAST, 1.0, 2.0) is not None
    assert verdict(MOST, 2.0, 2.0) is None
    sentence = verdict(2 * MOST, 2.0, 2.0)
    assert sentence is not None
    assert "beta 60 times as small" in sentence


def said(algorithm: ROCM, batches: int = SCORES, **state: None) -> tuple[list[str], Context]:
    """What a run says in so many batches of one picture."""
    sentences: list[str] = []
    context = replace(toy_context(ToyPolicy(), batch_size=1), say=sentences.append, state=state)
    for _ in range(batches):
        for losses in algorithm.updates(context):
            for loss in losses:
                loss.value.backward()
    return sentences, context


def test_a_run_says_it_once_after_some_pictures() -> None:
    weak = ROCM(divergence="hellinger", beta=1e-6)
    assert said(weak, SCORES - 1)[0] == []
    sentences, context = said(weak, 2 * SCORES)
    assert len(sentences) == 1
    assert f"first {SCORES} pictures" in sentences[0]
    assert context.state[STATE] is None


@pytest.mark.parametrize(
    "algorithm",
    [
        ROCM(beta=0.1),
        ROCM(beta=0.0),
        ROCM(divergence="none"),
        ROCM(beta=1e-9, target=Target(nats=3.0)),
    ],
)
def test_nothing_is_said_of_a_beta_that_holds_or_is_meant_to_be_nothing(algorithm: ROCM) -> None:
    assert said(algorithm)[0] == []


def test_looking_draws_nothing() -> None:
    """The run is the same to the last bit, sampled divergences included."""
    streams = []
    for state in ({}, {STATE: None}):
        torch.manual_seed(0)
        said(ROCM(divergence="js_sampled", beta=1e-6), **state)
        streams.append(torch.get_rng_state())
    assert torch.equal(*streams)
