"""DRaFT, AlignProp, ReFL and soft-Q: gradients against those written out, expectations where they are known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from helpers.linear_world import Linear, Quadratic, Shifted, gradient, world
from helpers.toys import PROMPTS, ToyPolicy, ToyReward, toy_context
from kedge.algorithms.draft import AlignProp, DRaFT
from kedge.algorithms.ppo import PPO
from kedge.algorithms.rocm import ROCM
from kedge.algorithms.soft_q import ReFL, SoftQ, down_to
from kedge.policies.base import Backprop, Conditioning, draw_noise, rollout


class Predicting(ToyPolicy):
    """The toy that says which picture it predicts."""

    def predicted_x0(self, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        return self.transition(x, k, cond).mean / self.schedule[k].next_alpha


def grads(policy, algorithm, **settings) -> Tensor:
    context = toy_context(policy, **settings)
    for parameter in policy.trainable():
        parameter.grad = None
    for loss in next(iter(algorithm.updates(context))):
        loss.value.backward()
    return torch.cat([p.grad.flatten() for p in policy.trainable() if p.grad is not None])


@pytest.mark.parametrize("through", [1, 2, 4])
def test_draft_is_rocm_through_the_last_steps(through):
    ours = grads(ToyPolicy(), DRaFT(through=through))
    theirs = grads(ToyPolicy(), ROCM(divergence="none"), backprop=Backprop(last_steps=through))
    torch.testing.assert_close(ours, theirs)


def test_draws_average_the_last_steps_gradient():
    """x_1 is drawn anew from the same step, without gradient to what came before."""
    policy, n = ToyPolicy(), 3
    context = toy_context(policy)
    noise = draw_noise(policy, torch.Generator().manual_seed(0), len(PROMPTS))
    again = torch.Generator().manual_seed(0)
    draw_noise(policy, again, len(PROMPTS))
    cond = policy.encode(PROMPTS)
    trajectory = rollout(policy, cond, noise, Backprop(last_steps=1))
    values = [ToyReward()(policy.decode(trajectory.x0), PROMPTS)]
    for _ in range(n - 1):
        x1 = trajectory.step(2)[2].sample(torch.randn(noise[0].shape, generator=again, dtype=noise.dtype)).detach()
        values.append(ToyReward()(policy.decode(policy.transition(x1, 1, cond).mean), PROMPTS))
    expected = torch.autograd.grad(-torch.stack(values).mean(), list(policy.trainable()))
    del context
    torch.testing.assert_close(grads(policy, DRaFT(draws=n)), torch.cat([g.flatten() for g in expected]))


@pytest.mark.parametrize("algorithm", [SoftQ(), ReFL(), PPO(last_step="pathwise")], ids=["soft_q", "refl", "pathwise"])
def test_recomputing_changes_no_gradient_and_is_done(algorithm):
    """``backprop.checkpoint`` of algorithms that follow no trajectory: one step is recomputed."""
    plain, recomputing = Predicting(), Predicting()
    ours = grads(recomputing, algorithm, backprop=Backprop(checkpoint=True))
    torch.testing.assert_close(ours, grads(plain, algorithm))
    assert sum(recomputing.calls.values()) > sum(plain.calls.values())


def test_alignprop_is_the_mean_over_depths():
    """In the linear world the gradient through K steps is Σ_{k ≤ K} 2^(1−k); over K = 1 … 4 the mean is 1.5625."""
    total = torch.zeros(4, dtype=torch.float64)
    for seed in range(200):
        total -= gradient(AlignProp(), world(batch_size=1, seed=seed)) / 200
    depths = torch.tensor([1.0, 1.5, 1.75, 1.875], dtype=torch.float64)
    error = float(depths.std(correction=0)) / 200**0.5
    assert abs(float(total[0]) - float(depths.mean())) < 3 * error


def test_refl_takes_the_models_own_prediction():
    policy = Predicting()
    context = toy_context(policy)
    algorithm = ReFL(earliest=3)
    (loss,) = next(iter(algorithm.updates(context)))
    k, again = int(loss.metrics["step_k"]), toy_context(policy)
    torch.randint(1, 4, (), generator=again.generator)
    prompts, cond, x, _ = down_to(again, k)
    x0 = policy.transition(x, 1, cond).mean if k == 1 else policy.predicted_x0(x, k, cond)
    torch.testing.assert_close(loss.value, -ToyReward()(policy.decode(x0), prompts).mean())


def test_a_reward_beyond_the_ceiling_has_no_gradient():
    assert not grads(Predicting(), ReFL(ceiling=-1e6)).any()
    assert grads(Predicting(), ReFL(ceiling=1e6)).any()


class Nothing(Linear):
    """r = 0, with a gradient of 0."""

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return super().__call__(images, prompts) * 0


class PredictingWorld(Shifted):
    """The best prediction of x_0 at x_k: what it becomes without noise."""

    def predicted_x0(self, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        for step in range(k, 0, -1):
            x = self.transition(x, step, cond).mean
        return x


@pytest.mark.parametrize(("reward", "slope"), [(Linear(), 1.0), (Quadratic(), 3.0)], ids=["linear", "quadratic"])
def test_soft_q_has_the_expected_gradient_of_one_step(reward, slope):
    """A step's share is ∂x_0/∂θ of that step alone, 2^(1−k), times γ^(k−1); k is drawn evenly."""
    gamma, total = 0.9, []
    for seed in range(60):
        context = world(reward, batch_size=200, seed=seed)
        context.policy = PredictingWorld()
        total.append(-gradient(SoftQ(discount=gamma, beta=0.0), context))
    estimates = torch.stack(total)
    expected = slope * sum((gamma / 2) ** (k - 1) for k in range(1, 5)) / 4
    z = (estimates.mean(0) - expected) / (estimates.std(0) / 60**0.5)
    assert z.abs().max() < 3


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_each_step_of_soft_q_has_its_own_discount(k, monkeypatch):
    """Of a linear reward step k's gradient is (γ / 2)^(k−1), without any noise."""
    monkeypatch.setattr("kedge.algorithms.soft_q.draw_step", lambda *_: k)
    context = world()
    context.policy = PredictingWorld()
    expected = torch.full((4,), (0.9 / 2) ** (k - 1), dtype=torch.float64)
    torch.testing.assert_close(-gradient(SoftQ(discount=0.9, beta=0.0), context), expected)


@pytest.mark.parametrize(("through", "slope"), [(1, 1.0), (2, 1.5), (4, 1.875)])
def test_further_draws_learn_from_all_steps_that_the_first_learns_from(through, slope):
    """Through K steps of the linear world every draw's gradient is Σ_{k ≤ K} 2^(1−k)."""
    ours = -gradient(DRaFT(through=through, draws=2), world())
    torch.testing.assert_close(ours, torch.full((4,), slope, dtype=torch.float64))


def test_soft_q_is_held_by_the_exact_divergence():
    """β K KL_k of the drawn step, of which step 1 has none: at θ = ½ its gradient is β · 4 · ½ with probability ¾, so
    that its mean is that of β Σ_k KL_k over the three noisy steps."""
    total = torch.zeros(4, dtype=torch.float64)
    for seed in range(200):
        context = world(batch_size=1, seed=seed)
        context.policy = PredictingWorld()
        context.reward = Nothing()
        with torch.no_grad():
            context.policy.theta.fill_(0.5)
        total += gradient(SoftQ(beta=2.0), context) / 200
    error = 2.0 * 4 * 0.5 * (0.75 * 0.25 / 200) ** 0.5
    assert abs(float(total[0]) - 2.0 * (3 * 0.5)) < 3 * error
