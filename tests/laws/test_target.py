"""A distance that is held: the fixed point of β, for every divergence, unit and algorithm; what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.linear_world import Shifted, ascend, world
from helpers.toys import PROMPTS, ToyPolicy, toy_context
from helpers.training_world import recipe
from kedge.algorithms import ALGORITHMS
from kedge.algorithms.rocm import ROCM
from kedge.algorithms.target import FIRST_NATS, SHARE, STAGE, Hold, Target
from kedge.config import ConfigError, parse_config
from kedge.divergences import KL
from kedge.policies.base import NO_GRADIENT, ReferenceSteps, draw_noise, rollout
from kedge.policies.distance import distances


@pytest.mark.parametrize("divergence", ["kl", "fisher", "tv", "chi2", "alpha", "hellinger", "js"])
def test_the_distance_is_the_target_whatever_holds_it(divergence):
    numbers = ascend(ROCM(divergence=divergence, target=Target(nats=3.0)), world(), steps=350, lr=0.03)
    assert numbers["distance_nats"] == pytest.approx(3.0, rel=0.03)
    assert numbers["target_nats"] == 3.0


@pytest.mark.parametrize("beta", [None, 0.01, 10.0])
def test_beta_is_that_of_the_optimum_wherever_it_starts(beta):
    """With r = s Σθ, s = Σ_k 0.5^(k−1), and KL = (K−1)|θ|²/2: at |θ|² = 2κ/(K−1), β = s √4 / ((K−1) |θ|)."""
    numbers = ascend(ROCM(beta=beta, target=Target(nats=3.0)), world(), steps=350, lr=0.03)
    size = math.sqrt(2 * 3.0 / 3)
    assert numbers["beta"] == pytest.approx(Shifted.slope * 2 / (3 * size), rel=0.05)


def test_the_change_of_the_predicted_pictures_is_held_too():
    context = world()
    numbers = ascend(ROCM(target=Target(rms=0.4)), context, steps=350, lr=0.03)
    assert numbers["distance_rms"] == pytest.approx(0.4, rel=0.03)
    assert float(context.policy.theta.detach().square().mean().sqrt()) / 0.5 == pytest.approx(0.4, rel=0.03)


def test_what_is_held_is_what_evaluations_measure():
    policy = ToyPolicy("lcm", 4)
    policy.x0_weight = lambda k: float(policy.schedule[k].x0_weight)
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 3)
    with torch.no_grad():
        beside = ReferenceSteps(range(4, 0, -1), exact=False)
        trajectory = rollout(policy, policy.encode(PROMPTS), noise, NO_GRADIENT, beside)
    expected = distances(policy, trajectory)
    torch.testing.assert_close(Target(nats=1.0).measure(policy, trajectory), expected["path_kl"])
    torch.testing.assert_close(Target(rms=1.0).measure(policy, trajectory), expected["rms_x0"])
    del trajectory.references[1]  # ROCM computes it then
    torch.testing.assert_close(Target(rms=1.0).measure(policy, trajectory), expected["rms_x0"])


def test_some_references_estimate_the_path_kl_without_bias():
    policy = ToyPolicy("lcm", 4)
    trajectory = rollout(policy, policy.encode(PROMPTS), draw_noise(policy, torch.Generator().manual_seed(0), 3))
    with policy.reference():
        everyone = {k: policy.transition(trajectory.step(k)[0], k, trajectory.cond) for k in (4, 3, 2)}
    estimates = []
    for k in everyone:
        trajectory.references = {k: everyone[k]}
        estimates.append(Target(nats=1.0).measure(policy, trajectory))
    trajectory.references = everyone
    torch.testing.assert_close(torch.stack(estimates).mean(0), Target(nats=1.0).measure(policy, trajectory))


def test_stages_double_what_was_held():
    numbers = ascend(ROCM(anchor="auto"), world(), steps=300, lr=0.03)
    assert numbers["target_nats"] / FIRST_NATS in {2.0**n for n in range(2, 12)}
    assert numbers["distance_nats"] == pytest.approx(numbers["target_nats"], rel=0.6)


def test_a_stage_counts_batches_that_were_near():
    context = toy_context(ToyPolicy())
    stds = {2: torch.tensor(1.0)}
    for batch in range(2 * STAGE):
        hold = Hold(context, Target(nats=2.0), 1.0, KL(), stages=True)
        expected = 2.0 if batch < STAGE else 4.0
        near = hold.observe(torch.tensor([1.7]), torch.tensor([0.0]), stds)
        assert near["target_nats"] == expected
        hold.close()
    assert context.state["target"]["distance"] == 4.0  # 1.7 nats is far from 4: still that stage


def test_the_first_batch_says_where_beta_starts():
    """There the penalty at κ is a share of the reward's standard deviation; KL at κ = 2 nats is 2, over any steps."""
    context, rewards = toy_context(ToyPolicy()), torch.tensor([1.0, 2.0, 6.0])
    hold = Hold(context, Target(nats=2.0), 0.0, KL())
    hold.observe(torch.zeros(3), rewards, {k: torch.tensor(0.3) for k in (4, 3, 2)})
    hold.close()
    assert hold.beta == pytest.approx(SHARE * float(rewards.std()) / 2.0)


def test_all_processes_find_one_beta():
    context = toy_context(ToyPolicy())
    context.gather = lambda items: [*items, [30.0, 1.0], [30.0, 2.0]]  # those of another process went too far
    hold = Hold(context, Target(nats=2.0), 1.0, KL())
    hold.observe(torch.tensor([0.1, 0.1]), torch.zeros(2), {2: torch.tensor(1.0)})
    hold.close()
    assert hold.beta > 1.0


def test_a_step_that_is_no_number_changes_no_beta():
    context = toy_context(ToyPolicy())
    hold = Hold(context, Target(nats=2.0), 1.0, KL())
    hold.observe(torch.tensor([math.nan, 1.0]), torch.tensor([0.0, 1.0]), {2: torch.tensor(1.0)})
    hold.close()
    assert hold.beta == 1.0


START = {"rocm": {"beta": 0.1}}  # of the weight that is found


@pytest.mark.parametrize("name", ["rocm", "dpok", "ppo", "rlcm", "ddpo"])
def test_policy_gradients_hold_it_with_their_kl(name):
    """β rises while the model is too far, and the distance that is logged is the path KL of the batch."""
    policy = ToyPolicy("lcm", 4)
    context = toy_context(policy, batch_size=3, accumulation=2)
    settings = {"target": Target(nats=0.01)} | START.get(name, {"kl_weight": 0.1})
    betas = []
    for _ in range(3):
        for losses in ALGORITHMS.get(name)(**settings).updates(context):
            for loss in losses:
                betas.append(loss.metrics["beta"])
                assert float(loss.metrics["distance_nats"].mean()) > 0.01
    assert betas[-1] > betas[0] > 0


@pytest.mark.parametrize("algorithm", [{"name": "rocm", "target": {"rms": 1}}, {"name": "rocm", "anchor": "auto"}])
def test_a_single_step_has_no_distance_to_hold(algorithm):
    with pytest.raises(ConfigError, match=r"model\.steps=1"):
        parse_config(recipe(algorithm=algorithm, model__steps=1))


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ({"name": "rocm", "target": {}}, "one of nats and rms"),
        ({"name": "rocm", "target": {"nats": 1, "rms": 1}}, "one of nats and rms"),
        ({"name": "rocm", "target": {"nats": -1}}, "must be above 0"),
        ({"name": "rocm", "target": {"nat": 1}}, "algorithm.target.nat"),
        ({"name": "rocm", "divergence": "none", "target": {"nats": 1}}, "set divergence"),
        ({"name": "rocm", "beta": 0, "target": {"nats": 1}}, "must be above 0 with target"),
        ({"name": "rocm", "target": {"rms": 1}, "reference_steps": 2}, "reference_steps"),
        ({"name": "rocm", "target": {"nats": 1}, "anchor": "auto"}, "leave out target, or anchor"),
        ({"name": "dpok", "kl_weight": 0, "target": {"nats": 1}}, "kl_weight is where the search"),
    ],
)
def test_what_cannot_be_held_is_refused(algorithm, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(recipe(algorithm=algorithm))
