"""Random depth: the gradient that is expected is the full one, whatever is drawn; its price is variance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers.linear_world import gradient as theta_gradient
from helpers.linear_world import world
from helpers.toys import PROMPTS, ToyPolicy, toy_context
from kedge.algorithms.draft import DRaFT
from kedge.algorithms.rocm import ROCM
from kedge.policies.base import Backprop, draw_noise
from kedge.policies.random_depth import depth_probabilities, draw_depth

ROCMS = {
    "reward alone": ROCM(divergence="none"),
    "exact reference": ROCM(divergence="kl", beta=0.02),
    "detached reference": ROCM(divergence="kl", beta=0.02, reference_gradient="detached"),
    "some terms and the last step": ROCM(divergence="kl", beta=0.02, reference_steps=1, last_step_std=0.3),
}
WAYS = {"stored": Backprop(), "recomputed": Backprop(checkpoint=True), "at most three": Backprop(last_steps=3)}


def grads(policy: ToyPolicy, algorithm: ROCM, backprop: Backprop, generator: torch.Generator, noise: Tensor) -> Tensor:
    """Of the objective on given noise; what is drawn besides comes from ``generator``."""
    context = replace(toy_context(policy, backprop=backprop), generator=generator)
    reward, divergence = algorithm.evaluate(context, PROMPTS, noise)
    objective = (reward - algorithm.weight * divergence).mean()
    shares = torch.autograd.grad(objective, list(policy.trainable()), allow_unused=True)
    return torch.cat(
        [(torch.zeros(p.shape) if g is None else g).flatten() for g, p in zip(shares, policy.trainable(), strict=True)]
    )


def at_depths(policy: ToyPolicy, algorithm: ROCM, backprop: Backprop, p: float, noise: Tensor) -> Tensor:
    """The expectation over the depths, each gone through once, with the same terms of the divergence."""
    total = torch.zeros(1, dtype=policy.dtype)
    for probability, fixed in replace(backprop, random_depth=p).depths(policy.steps):
        total = total + probability * grads(policy, algorithm, fixed, torch.Generator().manual_seed(5), noise)
    return total


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ROCMS)
def test_the_mean_over_all_depths_is_the_gradient_without_chance(name: str, way: str) -> None:
    policy = ToyPolicy("lcm", 4)
    noise = draw_noise(policy, torch.Generator().manual_seed(1), len(PROMPTS))
    expected = grads(policy, ROCMS[name], WAYS[way], torch.Generator().manual_seed(5), noise)
    for p in (0.3, 0.8):
        torch.testing.assert_close(at_depths(policy, ROCMS[name], WAYS[way], p, noise), expected)


def test_drawn_depths_have_the_full_gradient_in_expectation() -> None:
    """Monte Carlo over what a run draws, on one batch of noise: z below 3 in every parameter's direction."""
    policy, algorithm = ToyPolicy("lcm", 4), ROCM(divergence="kl", beta=0.02)
    noise = draw_noise(policy, torch.Generator().manual_seed(1), len(PROMPTS))
    expected = grads(policy, algorithm, Backprop(), torch.Generator(), noise)
    generator, rows = torch.Generator().manual_seed(2), []
    for _ in range(400):
        rows.append(grads(policy, algorithm, Backprop(random_depth=0.5), generator, noise))
    drawn = torch.stack(rows)
    z = (drawn.mean(0) - expected) @ expected / ((drawn @ expected).std() / len(rows) ** 0.5)
    assert abs(float(z)) < 3
    cut = grads(policy, algorithm, Backprop(last_steps=1), torch.Generator(), noise)
    shift = (cut - expected) @ expected / ((drawn @ expected).std() / len(rows) ** 0.5)
    assert abs(float(shift)) > 3  # the same test refuses the cut gradient


def test_in_the_linear_world_expectation_and_variance_are_known() -> None:
    """∂x_0/∂θ is Σ_k 2^(1-k); a step's share counts 1/S_k with probability S_k = p^(k-1)."""
    p, rows = 0.5, []
    context = world(batch_size=1, seed=3)
    context.backprop = Backprop(random_depth=p)
    for _ in range(3000):
        rows.append(-theta_gradient(ROCM(divergence="none"), context)[0])
    drawn = torch.stack(rows)
    values = torch.tensor([float(n) for n in range(1, 5)], dtype=torch.float64)  # Σ_{k ≤ n} 2^(1-k) / 2^(1-k)
    chances = torch.tensor(depth_probabilities(p, 4), dtype=torch.float64)
    mean = (chances * values).sum()
    variance = (chances * (values - mean) ** 2).sum()
    assert float(mean) == pytest.approx(1.875)  # the slope of all four steps
    assert abs(float(drawn.mean() - mean)) < 3 * float((variance / len(rows)) ** 0.5)
    assert float(drawn.var()) == pytest.approx(float(variance), rel=0.1)


def test_depths_come_as_often_as_they_should() -> None:
    generator, p = torch.Generator().manual_seed(0), 0.7
    drawn = torch.tensor([draw_depth(p, 4, generator) for _ in range(4000)])
    for depth, chance in enumerate(depth_probabilities(p, 4), start=1):
        share = float((drawn == depth).double().mean())
        assert abs(share - chance) < 3.5 * (chance * (1 - chance) / 4000) ** 0.5
    assert sum(depth_probabilities(p, 4)) == pytest.approx(1)


def test_without_it_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert Backprop(last_steps=2).drawn(4, generator) == Backprop(last_steps=2)
    assert torch.equal(generator.get_state(), before)


def test_always_going_on_is_the_full_gradient_bit_for_bit() -> None:
    policy, algorithm = ToyPolicy("lcm", 4), ROCM(divergence="kl", beta=0.02)
    noise = draw_noise(policy, torch.Generator().manual_seed(1), len(PROMPTS))
    full, certain = (
        grads(policy, algorithm, backprop, torch.Generator(), noise)
        for backprop in (Backprop(), Backprop(random_depth=1.0))
    )
    assert torch.equal(full, certain)


@pytest.mark.parametrize("value", [0, -0.5, 1.5])
def test_what_is_no_probability_to_go_on_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"random_depth must be above 0 and at most 1.*last_steps=1"):
        Backprop(random_depth=value)


def test_draft_says_its_own_depth() -> None:
    context = toy_context(ToyPolicy("lcm", 4), backprop=Backprop(random_depth=0.5))
    with pytest.raises(ValueError, match=r"leave out backprop\.random_depth"):
        list(next(iter(DRaFT().updates(context))))
