"""Divergences against integration, sampling, their bounds, and each other."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from kedge.divergences import (
    DIVERGENCES,
    FDivergence,
    SampledJensenShannon,
    bounded_expm1,
    jensen_shannon,
    make_divergence,
)
from kedge.gaussian import Gaussian, Reduction
from kedge.registry import UnknownNameError

# f of r = p/q, as in the text books; D = E_q f(r).
TEXT_BOOK = {
    "kl": lambda r: r * math.log(r),
    "reverse_kl": lambda r: -math.log(r),
    "hellinger": lambda r: (math.sqrt(r) - 1) ** 2 / 2,
    "js": lambda r: (r * math.log(2 * r / (r + 1)) + math.log(2 / (r + 1))) / 2,
    "chi2": lambda r: (r - 1) ** 2,
    "tv": lambda r: abs(r - 1) / 2,
    "alpha": lambda r: (r**0.5 - 1 - 0.5 * (r - 1)) / (0.5 * -0.5),
}
EXACT = [name for name in DIVERGENCES if name not in ("none", "js_sampled")]
BOUND = {"hellinger": 1.0, "js": math.log(2), "tv": 1.0, "alpha": 4.0}


def pair(delta: float, std: float = 1.0, dim: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Gaussian, Gaussian]:
    """Two Gaussians ``delta`` apart in units of std, along the diagonal."""
    step = delta * std / math.sqrt(dim)
    mean = torch.full((1, dim), step, dtype=dtype, requires_grad=True)
    std_tensor = torch.tensor(std, dtype=dtype)
    return Gaussian(mean, std_tensor), Gaussian(torch.zeros(1, dim, dtype=dtype), std_tensor)


def integral(f, delta: float) -> float:
    """E_q f(p/q) over the line, by adaptive quadrature."""

    def integrand(z: float) -> float:
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * f(math.exp(delta * z - delta * delta / 2))

    points = sorted({0.0, delta / 2, delta, min(2 * delta, 25.0)})
    return quad(integrand, -20, 26, points=points, limit=800, epsabs=1e-13, epsrel=1e-12)[0]


def test_every_divergence_is_held_to_its_definition_and_has_a_row_on_the_page() -> None:
    other = {"none", "js_sampled", "fisher"}  # no f, or an estimate: they have tests of their own
    assert set(DIVERGENCES) <= set(TEXT_BOOK) | other, "give the new one its f in TEXT_BOOK"
    page = (Path(__file__).parents[2] / "docs" / "algorithms" / "rocm.md").read_text(encoding="utf-8")
    heads = " ".join(re.findall(r"^\| (`[^|]*)\|", page, re.MULTILINE))
    assert [name for name in DIVERGENCES if f"`{name}`" not in heads] == []


@pytest.mark.parametrize("name", TEXT_BOOK)
@pytest.mark.parametrize("delta", [0.01, 0.3, 1.0, 2.5, 5.0])
def test_equal_to_the_integral_of_f(name: str, delta: float) -> None:
    value = make_divergence(name, "sum")(*pair(delta, std=0.6)).item()
    assert value == pytest.approx(integral(TEXT_BOOK[name], delta), rel=1e-7, abs=1e-11)


@pytest.mark.parametrize("name", ["kl", "hellinger", "js", "chi2", "tv", "alpha"])
def test_equal_to_monte_carlo_in_many_dimensions(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = pair(0.7, std=0.4, dim=12)
    x = q.sample(torch.randn(400_000, 12, generator=generator, dtype=torch.float64))
    r = (p.log_prob(x, "sum") - q.log_prob(x, "sum")).exp().detach().numpy()
    draws = np.vectorize(TEXT_BOOK[name])(r)
    error = draws.std() / math.sqrt(len(draws))
    assert make_divergence(name, "sum")(p, q).item() == pytest.approx(draws.mean(), abs=5 * error)


def test_fisher_is_the_expected_squared_difference_of_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = pair(0.7, std=0.4, dim=5)
    x = p.sample(torch.randn(1000, 5, generator=generator, dtype=torch.float64))
    score_p, score_q = -(x - p.mean) / p.std**2, -(x - q.mean) / q.std**2
    expected = (score_p - score_q).square().sum(1).mean().item()
    assert make_divergence("fisher")(p, q).item() == pytest.approx(expected, rel=1e-12)


def test_reverse_kl_is_kl_both_ways_round() -> None:
    p, q = pair(1.3, dim=4)
    kl, reverse = make_divergence("kl"), make_divergence("reverse_kl")
    assert kl(p, q) == kl(q, p) == reverse(p, q) == reverse(q, p)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_value_and_zero_gradient_where_nothing_moved(name: str, reduction: Reduction, dtype: torch.dtype) -> None:
    p, q = pair(0.0, dim=6, dtype=dtype)
    value = make_divergence(name, reduction)(p, q)
    (gradient,) = torch.autograd.grad(value.sum(), p.mean)
    assert value.item() == 0
    assert gradient.abs().max().item() == 0


@pytest.mark.parametrize("name", EXACT)
def test_gradient_against_finite_differences(name: str) -> None:
    divergence = make_divergence(name, "sum")
    for delta in (1e-3, 0.5, 2.0):
        p, q = pair(delta)
        (gradient,) = torch.autograd.grad(divergence(p, q).sum(), p.mean)
        h = 1e-5 * max(delta, 0.01)
        higher, lower = (divergence(*pair(delta + sign * h)).item() for sign in (1, -1))
        assert gradient.item() == pytest.approx((higher - lower) / (2 * h), rel=1e-5, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(near=st.floats(0, 30), further=st.floats(0.01, 5), name=st.sampled_from(EXACT))
def test_never_negative_and_growing_with_distance(near: float, further: float, name: str) -> None:
    divergence = make_divergence(name, "sum")
    nearer, farther = divergence(*pair(near)).item(), divergence(*pair(near + further)).item()
    assert nearer >= -1e-15
    assert farther >= nearer - 1e-12 * max(1, abs(nearer))
    if near < 4:
        assert farther > nearer


@pytest.mark.parametrize("name", BOUND)
def test_bounded_divergences_reach_their_bound(name: str) -> None:
    value = make_divergence(name, "sum")(*pair(40.0)).item()
    assert value == pytest.approx(BOUND[name], rel=1e-12)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("delta", [1e-8, 1e-4, 30.0, 1e3, 1e5])
def test_nothing_overflows_in_float32(name: str, delta: float) -> None:
    p, q = pair(delta, dim=16, dtype=torch.float32)
    value = make_divergence(name, "sum")(p, q)
    (gradient,) = torch.autograd.grad(value.sum(), p.mean)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient.norm())


@pytest.mark.parametrize("name", ["kl", "hellinger", "js", "alpha", "chi2"])
def test_float32_keeps_its_digits_for_tiny_drifts(name: str) -> None:
    """Per-dimension drifts of a fresh adapter are of this size; 1 − (1 − 1e-9) would lose them."""
    value, gradient = {}, {}
    for dtype in (torch.float32, torch.float64):
        p, q = pair(1e-5, dim=4, dtype=dtype)
        result = make_divergence(name, "sum")(p, q)
        value[dtype], gradient[dtype] = result.item(), torch.autograd.grad(result.sum(), p.mean)[0].sum().item()
    assert value[torch.float32] == pytest.approx(value[torch.float64], rel=1e-5)
    assert gradient[torch.float32] == pytest.approx(gradient[torch.float64], rel=1e-5)


def test_sum_saturates_in_high_dimension_where_mean_does_not() -> None:
    """Why bounded divergences are taken per dimension: 0.05 on each of 36,864 dimensions."""
    for name in ("hellinger", "js"):
        p, q = pair(0.05 / 0.7 * math.sqrt(4 * 96 * 96), std=0.7, dim=4 * 96 * 96)
        joint = make_divergence(name, "sum")(p, q)
        (gradient,) = torch.autograd.grad(joint.sum(), p.mean)
        assert joint.item() == pytest.approx(BOUND[name], rel=1e-9)
        assert gradient.abs().max() < 1e-9
        value = make_divergence(name)(p, q)
        assert value.item() == pytest.approx(make_divergence(name, "sum")(*pair(0.05 / 0.7)).item(), rel=1e-6)
        assert torch.autograd.grad(value.sum(), p.mean)[0].norm() > 1e-6


def test_mean_is_the_divergence_of_one_dimension() -> None:
    for name in EXACT:
        per_dimension = make_divergence(name, "mean")(*pair(3.0, dim=9))
        assert per_dimension.item() == pytest.approx(make_divergence(name, "sum")(*pair(1.0)).item(), rel=1e-12)


def test_any_f_by_quadrature_equals_the_closed_forms() -> None:
    for delta in (0.0, 1e-3, 0.7, 3.0, 12.0):
        p, q = pair(delta)
        kl = FDivergence(lambda log_r: log_r.exp() * log_r)(p, q).item()
        reverse = FDivergence(lambda log_r: -log_r)(p, q).item()
        hellinger = FDivergence(lambda log_r: (torch.exp(log_r / 2) - 1) ** 2 / 2)(p, q).item()
        assert kl == pytest.approx(delta**2 / 2, rel=1e-9, abs=1e-15)
        assert reverse == pytest.approx(delta**2 / 2, rel=1e-9, abs=1e-15)
        assert hellinger == pytest.approx(-math.expm1(-(delta**2) / 8), rel=1e-12, abs=1e-15)


def test_exact_js_equals_the_design_formula() -> None:
    for delta in (0.2, 1.0, 4.0):
        expected = (
            math.log(2)
            - quad(
                lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * np.logaddexp(0, delta * z - delta**2 / 2),  # noqa: B023
                -15,
                15,
                points=[delta / 2],
                limit=400,
            )[0]
        )
        assert make_divergence("js", "sum")(*pair(delta)).item() == pytest.approx(expected, rel=1e-8)


def test_sampled_js_is_an_unbiased_estimate_of_the_exact_one() -> None:
    p, q = pair(0.8, std=0.5, dim=7)
    many = Gaussian(p.mean.expand(200_000, 7), p.std), Gaussian(q.mean.expand(200_000, 7), q.std)
    draws = SampledJensenShannon("sum", torch.Generator().manual_seed(0))(*many)
    error = draws.std().item() / math.sqrt(len(draws))
    exact = make_divergence("js", "sum")(p, q).item()
    assert draws.mean().item() == pytest.approx(exact, abs=5 * error)
    (gradient,) = torch.autograd.grad(draws.mean(), p.mean)
    (exact_gradient,) = torch.autograd.grad(make_divergence("js", "sum")(p, q).sum(), p.mean)
    assert torch.allclose(gradient, exact_gradient, rtol=0.04)


def test_sampled_js_repeats_from_the_same_generator() -> None:
    p, q = pair(0.8, dim=7)
    first, again = (SampledJensenShannon(generator=torch.Generator().manual_seed(3))(p, q) for _ in range(2))
    assert torch.equal(first, again)
    torch.manual_seed(5)
    first = make_divergence("js_sampled")(p, q)
    torch.manual_seed(5)
    assert torch.equal(first, make_divergence("js_sampled")(p, q))


def test_table_3_f_is_js_generator() -> None:
    for r in (1e-4, 0.3, 1.0, 7.0, 1e5):
        value = jensen_shannon(torch.tensor(math.log(r), dtype=torch.float64)).item()
        assert value == pytest.approx(TEXT_BOOK["js"](r), rel=1e-12, abs=1e-15)


def test_alpha_family_contains_the_others() -> None:
    p, q = pair(0.9)
    for order, name, factor in [(1, "kl", 1), (0, "kl", 1), (0.5, "hellinger", 4), (2, "chi2", 0.5)]:
        value = make_divergence("alpha", "sum", order=order)(p, q).item()
        assert value == pytest.approx(factor * make_divergence(name, "sum")(p, q).item(), rel=1e-12)
    near_one = make_divergence("alpha", "sum", order=1 + 1e-7)(p, q).item()
    assert near_one == pytest.approx(0.9**2 / 2, rel=1e-5)


@pytest.mark.parametrize("x", [30 - 1e-4, 30.0, 30 + 1e-4, 40.0, 80.0])
def test_what_would_overflow_goes_on_along_its_tangent(x: float) -> None:
    """exp(x) − 1 up to 30; beyond, the straight line that leaves it there: same value, same slope."""
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = bounded_expm1(at)
    (slope,) = torch.autograd.grad(value, at)
    expected = math.expm1(min(x, 30)) + math.exp(30) * max(0.0, x - 30)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    if x != 30:
        assert slope.item() == pytest.approx(math.exp(min(x, 30)), rel=1e-12)


def test_deterministic_steps_have_no_divergence() -> None:
    p = Gaussian(torch.zeros(1, 3), torch.tensor(0.0))
    with pytest.raises(ValueError, match="k = 1"):
        make_divergence("kl")(p, p)


def test_wrong_names_and_settings_are_explained() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'hellinger'"):
        make_divergence("helinger")
    with pytest.raises(ValueError, match="reduction must be"):
        make_divergence("kl", "max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order"):
        make_divergence("kl", order=2)
