"""ROCM's gradient is the gradient of its objective, whatever the divergence, the number of steps and the family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers.toys import PROMPTS, ToyPolicy, ToyReward, toy_context
from kedge.algorithms.base import Context, Loss
from kedge.algorithms.rocm import ROCM
from kedge.divergences import make_divergence
from kedge.gaussian import Gaussian
from kedge.policies.base import Backprop, draw_noise

# β that make the penalty matter next to the reward.
BETA = {"kl": 0.02, "fisher": 0.01, "hellinger": 1.0, "js": 1.0, "chi2": 0.3, "tv": 0.5, "alpha": 0.3}


def noise_for(policy: ToyPolicy) -> Tensor:
    """The noise that ``toy_context(policy)`` will draw first."""
    return draw_noise(policy, torch.Generator().manual_seed(0), len(PROMPTS))


def objective(policy: ToyPolicy, algorithm: ROCM, fixed: list[Gaussian] | None = None) -> Tensor:
    """Eq. 10 written out, with Algorithm 2's sign: mean over prompts of R − β Σ_{k=2..K} D.

    ``fixed`` replaces the reference's Gaussians, which are then no function of θ.
    """
    noise, cond, x = noise_for(policy), policy.encode(PROMPTS), noise_for(policy)[0]
    divergence = make_divergence(algorithm.divergence, algorithm.reduction)
    total = torch.zeros(len(PROMPTS), dtype=policy.dtype)
    for k in range(policy.steps, 0, -1):
        p = policy.transition(x, k, cond)
        if k >= 2:
            with policy.reference():
                q = policy.transition(x, k, cond) if fixed is None else fixed[policy.steps - k]
            total = total + divergence(p, q)
            x = p.mean + p.std * noise[policy.steps - k + 1]
        elif algorithm.last_step_std:
            with policy.reference():
                q = policy.transition(x, k, cond)
            std = torch.tensor(algorithm.last_step_std, dtype=policy.dtype)
            total = total + divergence(Gaussian(p.mean, std), Gaussian(q.mean, std))
    return (ToyReward()(policy.decode(p.mean), PROMPTS) - algorithm.weight * total).mean()


@torch.no_grad()
def reference_path(policy: ToyPolicy) -> list[Gaussian]:
    """The reference's Gaussians along θ's trajectory, k = K, …, 2."""
    noise, cond, x, path = noise_for(policy), policy.encode(PROMPTS), noise_for(policy)[0], []
    for k in range(policy.steps, 1, -1):
        with policy.reference():
            path.append(policy.transition(x, k, cond))
        x = policy.transition(x, k, cond).sample(noise[policy.steps - k + 1])
    return path


def finite_differences(policy: ToyPolicy, f: Callable[[], Tensor], h: float = 1e-5) -> Tensor:
    """Central differences of ``f`` in every trainable number."""
    slopes = []
    with torch.no_grad():
        for parameter in policy.trainable():
            flat = parameter.data.view(-1)
            for i in range(flat.numel()):
                before = flat[i].item()
                flat[i] = before + h
                higher = f()
                flat[i] = before - h
                slopes.append((higher - f()) / (2 * h))
                flat[i] = before
    return torch.stack(slopes)


def gradient(policy: ToyPolicy, value: Tensor) -> Tensor:
    grads = torch.autograd.grad(value, list(policy.trainable()), allow_unused=True, materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads])


def losses(algorithm: ROCM, context: Context) -> list[Loss]:
    return [loss for update in algorithm.updates(context) for loss in update]


def relative_error(value: Tensor, expected: Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("divergence", BETA)
def test_exact_gradient_equals_finite_differences_of_the_objective(divergence: str, steps: int) -> None:
    policy = ToyPolicy("lcm", steps)
    algorithm = ROCM(divergence=divergence, beta=BETA[divergence])
    (loss,) = losses(algorithm, toy_context(policy))
    assert loss.value.item() == pytest.approx(-objective(policy, algorithm).item(), rel=1e-12)
    expected = finite_differences(policy, lambda: objective(policy, algorithm))
    assert relative_error(-gradient(policy, loss.value), expected) < 1e-5


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("divergence", BETA)
def test_exact_gradient_with_the_last_step_held_too(divergence: str, steps: int) -> None:
    policy = ToyPolicy("lcm", steps)
    algorithm = ROCM(divergence=divergence, beta=BETA[divergence], last_step_std=0.4)
    (loss,) = losses(algorithm, toy_context(policy))
    assert loss.value.item() == pytest.approx(-objective(policy, algorithm).item(), rel=1e-12)
    expected = finite_differences(policy, lambda: objective(policy, algorithm))
    assert relative_error(-gradient(policy, loss.value), expected) < 1e-5
    free = losses(ROCM(divergence=divergence, beta=BETA[divergence]), toy_context(policy))[0]
    assert loss.metrics["divergence"].min() > free.metrics["divergence"].min()  # it is held, at K = 1 too


class Saying(ToyPolicy):
    """One that says what its steps make of x̂_0."""

    def x0_weight(self, k: int) -> float:
        return float(self.schedule[k].x0_weight)


@pytest.mark.parametrize("kind", ["lcm", "diffusion"])
def test_the_last_steps_divergence_in_closed_form(kind: str) -> None:
    """‖x̂_0 − x̂_0_ref‖²/2s0²: of the predicted picture, whatever the last step makes of it."""
    policy, s0 = Saying(kind, 3), 0.25
    end = policy.schedule[1]  # as a schedule that ends above zero noise: x_0 = α' x̂_0 + σ' ε̂
    policy.schedule[1] = replace(end, next_alpha=torch.tensor(0.9), carried=torch.tensor(0.19**0.5))
    algorithm = ROCM(divergence="kl", beta=1.0, last_step_std=s0, reference_steps=0)
    _, divergence = algorithm.evaluate(toy_context(policy), PROMPTS, noise_for(policy))
    with torch.no_grad():
        cond, x = policy.encode(PROMPTS), noise_for(policy)[0]
        for k in (3, 2):
            x = policy.transition(x, k, cond).sample(noise_for(policy)[4 - k])
        apart = policy.transition(x, 1, cond).mean
        with policy.reference():
            apart = (apart - policy.transition(x, 1, cond).mean) / policy.x0_weight(1)
    assert policy.x0_weight(1) != 1
    assert divergence.tolist() == pytest.approx((apart.square().flatten(1).sum(1) / (2 * s0**2)).tolist(), rel=1e-9)


@pytest.mark.parametrize("divergence", [*BETA, "js_sampled"])
def test_at_initialisation_the_last_steps_divergence_is_zero_too(divergence: str) -> None:
    policy = ToyPolicy("lcm", 1, drift=0.0)
    algorithm = ROCM(divergence=divergence, beta=1.0, last_step_std=0.1)
    _, total = algorithm.evaluate(toy_context(policy), PROMPTS, noise_for(policy))
    assert total.abs().max().item() == 0
    assert gradient(policy, total.sum()).abs().max().item() == 0


@pytest.mark.parametrize("divergence", ["kl", "js"])
def test_without_noise_the_last_step_alone_can_be_held(divergence: str) -> None:
    policy = ToyPolicy("diffusion", 4, eta=0.0)
    algorithm = ROCM(divergence=divergence, beta=BETA[divergence], last_step_std=0.2, reference_steps=0)
    (loss,) = losses(algorithm, toy_context(policy))
    assert policy.calls["reference"] == 1

    def held() -> Tensor:
        cond, x = policy.encode(PROMPTS), noise_for(policy)[0]
        for k in (4, 3, 2):
            x = policy.transition(x, k, cond).mean
        p, std = policy.transition(x, 1, cond), torch.tensor(0.2, dtype=policy.dtype)
        with policy.reference():
            q = policy.transition(x, 1, cond)
        penalty = make_divergence(divergence)(Gaussian(p.mean, std), Gaussian(q.mean, std))
        return (ToyReward()(policy.decode(p.mean), PROMPTS) - algorithm.weight * penalty).mean()

    assert relative_error(-gradient(policy, loss.value), finite_differences(policy, held)) < 1e-5


@pytest.mark.parametrize("divergence", ["kl", "js"])
def test_exact_gradient_on_a_diffusion_policy(divergence: str) -> None:
    policy = ToyPolicy("diffusion", 5)
    algorithm = ROCM(divergence=divergence, beta=BETA[divergence])
    (loss,) = losses(algorithm, toy_context(policy))
    expected = finite_differences(policy, lambda: objective(policy, algorithm))
    assert relative_error(-gradient(policy, loss.value), expected) < 1e-5


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("divergence", ["kl", "hellinger"])
def test_exact_gradient_under_either_reduction(divergence: str, reduction: str) -> None:
    policy = ToyPolicy("lcm", 4)
    algorithm = ROCM(divergence=divergence, beta=0.1, reduction=reduction)
    (loss,) = losses(algorithm, toy_context(policy))
    expected = finite_differences(policy, lambda: objective(policy, algorithm))
    assert relative_error(-gradient(policy, loss.value), expected) < 1e-5


def test_sampled_js_gradient_equals_finite_differences_at_fixed_draws() -> None:
    policy, algorithm = ToyPolicy("lcm", 4), ROCM(divergence="js_sampled", beta=50.0)

    def seeded() -> Tensor:
        torch.manual_seed(7)
        return objective(policy, algorithm)

    torch.manual_seed(7)
    (loss,) = losses(algorithm, toy_context(policy))
    assert relative_error(-gradient(policy, loss.value), finite_differences(policy, seeded)) < 1e-5


@pytest.mark.parametrize("divergence", BETA)
def test_detached_gradient_equals_the_objective_with_the_reference_path_held_fixed(divergence: str) -> None:
    policy = ToyPolicy("lcm", 4)
    algorithm = ROCM(divergence=divergence, beta=BETA[divergence], reference_gradient="detached")
    (loss,) = losses(algorithm, toy_context(policy))
    path = reference_path(policy)
    detached = -gradient(policy, loss.value)
    assert relative_error(detached, finite_differences(policy, lambda: objective(policy, algorithm, path))) < 1e-5
    # and the path matters: the exact gradient is another one
    assert relative_error(detached, finite_differences(policy, lambda: objective(policy, algorithm))) > 1e-3


@pytest.mark.parametrize("divergence", [*BETA, "js_sampled"])
@pytest.mark.parametrize("reference_gradient", ["exact", "detached"])
def test_at_initialisation_the_divergence_and_its_gradient_are_zero(divergence: str, reference_gradient: str) -> None:
    policy = ToyPolicy("lcm", 8, drift=0.0)
    algorithm = ROCM(divergence=divergence, beta=1.0, reference_gradient=reference_gradient)
    context = toy_context(policy)
    _, total = algorithm.evaluate(context, PROMPTS, noise_for(policy))
    assert total.abs().max().item() == 0
    assert gradient(policy, total.sum()).abs().max().item() == 0


@pytest.mark.parametrize("backprop", [Backprop(checkpoint=True), Backprop(last_steps=3, checkpoint=True)])
@pytest.mark.parametrize("reference_gradient", ["exact", "detached"])
def test_checkpointing_changes_no_gradient(backprop: Backprop, reference_gradient: str) -> None:
    policy = ToyPolicy("lcm", 8)
    algorithm = ROCM(divergence="js", beta=1.0, reference_gradient=reference_gradient)
    plain = Backprop(last_steps=backprop.last_steps)
    (stored,) = losses(algorithm, toy_context(policy, backprop=plain))
    (recomputed,) = losses(algorithm, toy_context(policy, backprop=backprop))
    assert torch.equal(stored.value, recomputed.value)
    assert relative_error(gradient(policy, recomputed.value), gradient(policy, stored.value)) < 1e-12


@pytest.mark.parametrize("last_steps", [1, 2, 3, 4])
def test_truncated_backpropagation_equals_detaching_by_hand(last_steps: int) -> None:
    policy = ToyPolicy("lcm", 4)
    algorithm = ROCM(divergence="kl", beta=0.02)
    (loss,) = losses(algorithm, toy_context(policy, backprop=Backprop(last_steps=last_steps)))

    noise, cond = noise_for(policy), policy.encode(PROMPTS)
    x, total = noise[0], torch.zeros(3, dtype=policy.dtype)
    for k in range(4, 0, -1):
        p = policy.transition(x, k, cond)
        if k >= 2:
            with policy.reference():
                term = make_divergence("kl")(p, policy.transition(x, k, cond))
            total = total + (term if k <= last_steps else term.detach())
        x = p.mean if k == 1 else p.sample(noise[5 - k])
        x = x if k <= last_steps else x.detach()
    expected = -(ToyReward()(policy.decode(x), PROMPTS) - 0.02 * total).mean()

    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert relative_error(gradient(policy, loss.value), gradient(policy, expected)) < 1e-12
    assert loss.metrics["divergence"].tolist() == pytest.approx(total.tolist(), rel=1e-12)  # cut terms are still logged


def test_no_gradient_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="last_steps must be 1 or more"):
        losses(ROCM(), toy_context(ToyPolicy(), backprop=Backprop(last_steps=0)))


def test_a_sampler_without_noise_has_no_divergence() -> None:
    policy = ToyPolicy("diffusion", 4, eta=0.0)
    with pytest.raises(ValueError, match=r"step 4 adds no noise.*model\.eta or model\.renoise.*last_step_std"):
        losses(ROCM(), toy_context(policy))
    (loss,) = losses(ROCM(divergence="none"), toy_context(policy))
    assert gradient(policy, loss.value).norm() > 0


def test_accumulation_splits_a_batch_without_changing_the_gradient() -> None:
    policy, algorithm = ToyPolicy("lcm", 4), ROCM(beta=0.02)
    parts = losses(algorithm, toy_context(policy, batch_size=3, accumulation=2))
    assert len(parts) == 2
    generator = torch.Generator().manual_seed(0)
    context = toy_context(policy)
    noise = torch.cat([draw_noise(policy, generator, 3) for _ in range(2)], dim=1)
    reward, total = algorithm.evaluate(context, PROMPTS * 2, noise)
    whole = -(reward - 0.02 * total).mean()
    summed = torch.stack([gradient(policy, part.value) for part in parts]).sum(0)
    assert relative_error(summed, gradient(policy, whole)) < 1e-12


@pytest.mark.parametrize("steps", [1, 4, 8])
@pytest.mark.parametrize("reference_gradient", ["exact", "detached"])
def test_network_calls_of_one_step(steps: int, reference_gradient: str) -> None:
    """K policy forwards, K − 1 reference forwards, one decode, and each prompt encoded once per run."""
    policy = ToyPolicy("lcm", steps)
    context = toy_context(policy)
    for _ in range(2):
        policy.calls.clear()
        (loss,) = losses(ROCM(beta=0.02, reference_gradient=reference_gradient), context)
        loss.value.backward()
        encoded = {name: n for name, n in policy.calls.items() if name.startswith("encode")}
        assert (policy.calls["policy"], policy.calls["reference"], policy.calls["decode"]) == (steps, steps - 1, 1)
    assert encoded == {}


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_without_a_divergence_the_reference_is_never_called(beta: float) -> None:
    policy = ToyPolicy("lcm", 4)
    (loss,) = losses(ROCM(divergence="none", beta=beta), toy_context(policy))
    assert policy.calls["reference"] == 0
    assert loss.metrics["divergence"].tolist() == [0, 0, 0]


def test_beta_zero_measures_the_divergence_without_using_it() -> None:
    policy = ToyPolicy("lcm", 4)
    (free,) = losses(ROCM(divergence="none"), toy_context(policy))
    (measured,) = losses(ROCM(divergence="kl", beta=0.0), toy_context(policy))
    assert measured.metrics["divergence"].min() > 0
    assert torch.equal(gradient(policy, free.value), gradient(policy, measured.value))


def test_metrics_are_per_sample_and_without_graph() -> None:
    (loss,) = losses(ROCM(beta=0.5), toy_context(ToyPolicy()))
    reward, divergence, penalty = (loss.metrics[name] for name in ("reward", "divergence", "penalty"))
    assert reward.shape == divergence.shape == penalty.shape == (3,)
    assert not any(value.requires_grad for value in loss.metrics.values())
    assert loss.value.item() == pytest.approx(-(reward - penalty).mean().item(), rel=1e-12)
    assert penalty.tolist() == pytest.approx((0.5 * divergence).tolist())


def test_it_climbs_the_reward_and_the_penalty_holds_it_back() -> None:
    reached = {}
    for beta in (0.0, 0.5):
        policy = ToyPolicy("lcm", 4, drift=0.0)
        context = toy_context(policy, batch_size=24)
        optimizer = torch.optim.Adam(policy.trainable(), lr=2e-2)
        history = []
        for _ in range(60):
            (loss,) = losses(ROCM(divergence="kl", beta=beta), context)
            optimizer.zero_grad()
            loss.value.backward()
            optimizer.step()
            history.append((loss.metrics["reward"].mean().item(), loss.metrics["divergence"].mean().item()))
        reached[beta] = history[-1]
        assert history[-1][0] > history[0][0] + 1
    assert reached[0.5][1] < reached[0.0][1] / 2
    assert reached[0.0][0] > reached[0.5][0]


def test_settings_are_checked_when_made() -> None:
    assert ROCM(divergence="js").weight == 2000
    assert ROCM(divergence="reverse_kl").weight == ROCM().weight == 1e-4
    with pytest.raises(ValueError, match="beta is required"):
        ROCM(divergence="chi2")
    with pytest.raises(ValueError, match="beta must be 0 or more"):
        ROCM(beta=-1e-4)
    with pytest.raises(ValueError, match="Did you mean 'fisher'"):
        ROCM(divergence="fishers")
    with pytest.raises(ValueError, match="last_step_std must be 0"):
        ROCM(last_step_std=-0.1)
    with pytest.raises(ValueError, match="reference_steps must be 1 or more"):
        ROCM(reference_steps=0)
    with pytest.raises(ValueError, match="reference_gradient"):
        ROCM(reference_gradient="none")


def test_beta_unit_makes_one_beta_of_rewards_in_other_numbers() -> None:
    """A reward times s, with a unit times s, is the same objective times s: the same direction for every reward."""

    def gradient_of(scale: float, unit: float) -> Tensor:
        policy = ToyPolicy("lcm", 4)
        context = toy_context(policy)
        context = replace(context, reward=lambda images, prompts: scale * ToyReward()(images, prompts))
        (loss,) = losses(ROCM(beta=0.02, beta_unit=unit), context)
        return gradient(policy, loss.value)

    assert relative_error(gradient_of(0.08, 1.6 * 0.08), 0.08 * gradient_of(1.0, 1.6)) < 1e-12
    assert relative_error(gradient_of(1.0, 1.0), gradient_of(1.0, 1.6)) > 1e-3


def test_beta_unit_is_checked() -> None:
    assert ROCM(beta=0.00625, beta_unit=1.6).weight == pytest.approx(0.01, rel=1e-12)
    for unit in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="beta_unit must be above 0"):
            ROCM(beta=0.01, beta_unit=unit)
    with pytest.raises(ValueError, match="beta_unit needs a beta: those of the paper's Table 2"):
        ROCM(beta_unit=1.6)
