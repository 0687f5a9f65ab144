"""D3PO: the pair's symmetry, ties, the loss's closed form, and learning from recorded votes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from helpers.pretrained_toy import PROMPTS, TinyLCM, brightness, context, gradients, train
from kedge.algorithms.d3po import D3PO
from kedge.algorithms.experience import collect
from kedge.algorithms.schedule import MicroBatch
from kedge.algorithms.votes import next_votes, paired_noise, read_votes, seeded_pairs
from kedge.config import load_config
from kedge.policies.base import Conditioning, rollout

PAIRS = 6
VISIT = MicroBatch(torch.arange(PAIRS), 3, 1.0)


def pairs(policy):
    """A context, and the experience of six pairs of a policy that has left the reference."""
    policy.move(0.02)
    ctx = context(policy)
    noise = paired_noise(policy, ctx.generator, PAIRS)
    return ctx, collect(ctx, ctx.prompts.take(PAIRS) * 2, noise, chunk=4)


def swapped(experience):
    """The same pairs with first and second members exchanged."""
    order = torch.cat([torch.arange(PAIRS, 2 * PAIRS), torch.arange(PAIRS)])
    return replace(
        experience,
        latents=experience.latents[:, order],
        cond=Conditioning({name: tensor[order] for name, tensor in experience.cond.tensors.items()}),
        rewards=experience.rewards[order],
    )


def test_members_share_the_first_noise_and_nothing_else():
    _, experience = pairs(TinyLCM())
    first, second = experience.latents[:, :PAIRS], experience.latents[:, PAIRS:]
    assert torch.equal(first[0], second[0])
    assert (first[1:] != second[1:]).flatten(1).all()


@pytest.mark.parametrize("ratio_clip", [None, 0.5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_is_antisymmetric_in_the_pair(ratio_clip, reduction):
    """Exchanging the members alone turns the margin's sign; exchanging the preference too changes nothing."""
    ctx, experience = pairs(TinyLCM())
    d3po = D3PO(ratio_clip=ratio_clip, reduction=reduction)
    label = torch.tensor([1.0, -1.0, 0.0, 1.0, 1.0, -1.0])
    straight = d3po._loss(ctx, VISIT, experience, label)
    turned = d3po._loss(ctx, VISIT, swapped(experience), label)
    both = d3po._loss(ctx, VISIT, swapped(experience), -label)
    assert straight.metrics["margin"][label != 0].abs().min() > 0
    torch.testing.assert_close(turned.metrics["margin"], -straight.metrics["margin"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(both.metrics["margin"], straight.metrics["margin"], rtol=1e-9, atol=1e-12)
    parameters = list(ctx.policy.trainable())
    torch.testing.assert_close(
        torch.autograd.grad(both.value, parameters),
        torch.autograd.grad(straight.value, parameters),
        rtol=1e-9,
        atol=1e-12,
    )


def test_the_ratio_is_clamped_and_not_its_logarithm():
    """log of ρ clamped to [1 − ε, 1 + ε]: further down than up."""
    log_ratio = torch.linspace(-2, 2, 101, dtype=torch.float64)
    expected = log_ratio.exp().clamp(0.7, 1.3).log()
    torch.testing.assert_close(D3PO(ratio_clip=0.3).clamp(log_ratio), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(D3PO(ratio_clip=None).clamp(log_ratio), log_ratio)


def test_ties_have_the_loss_of_a_coin_and_no_gradient():
    ctx, experience = pairs(TinyLCM())
    loss = D3PO()._loss(ctx, VISIT, experience, torch.zeros(PAIRS))
    assert loss.value.item() == pytest.approx(math.log(2))
    assert all(g.abs().max() == 0 for g in torch.autograd.grad(loss.value, list(ctx.policy.trainable())))


def test_a_reward_that_cannot_tell_gives_no_gradient():
    (gradient,) = gradients(D3PO(), context(reward=lambda images, prompts: torch.ones(len(prompts))))
    assert gradient.abs().max() == 0


def test_the_loss_is_the_published_formula():
    ctx, experience = pairs(TinyLCM())
    label = torch.tensor([1.0, -1.0, 0.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    beta, eps = 0.7, 0.01
    members = MicroBatch(torch.arange(2 * PAIRS), 3, 1.0)
    log_ratio = experience.log_prob(ctx.policy, members, "mean")
    with ctx.policy.reference():
        log_ratio = log_ratio - experience.log_prob(ctx.policy, members, "mean")
    rho = log_ratio.exp().clamp(1 - eps, 1 + eps)
    assert ((rho == 1 - eps) | (rho == 1 + eps)).any()  # the clamp takes part
    assert ((rho > 1 - eps) & (rho < 1 + eps)).any()
    margin = beta * label * rho[:PAIRS].log() + beta * -label * rho[PAIRS:].log()
    expected = -(1 / (1 + (-margin).exp())).log().mean()
    actual = D3PO(beta=beta, ratio_clip=eps)._loss(ctx, VISIT, experience, label).value
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=0)


def test_beta_per_nat_means_the_same_in_any_number_of_dimensions():
    """The same joint log-ratio gives the same margin; 10 per dimension, as published, only is at D = 16,384."""
    assert D3PO().weight(16_384) == pytest.approx(10, rel=1e-3)
    assert D3PO(beta=10.0).weight(512) == D3PO(beta_per_nat=0.01953125).weight(512) == 10
    ctx, experience = pairs(TinyLCM())
    label = torch.tensor([1.0, -1.0, 0.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    margins = [
        D3PO(reduction=reduction, ratio_clip=None)._loss(ctx, VISIT, experience, label).metrics["margin"]
        for reduction in ("mean", "sum")
    ]
    torch.testing.assert_close(margins[0], margins[1], rtol=1e-9, atol=1e-15)


def test_presets_of_small_latents_count_beta_for_each_nat():
    """As published, per dimension, a nat would weigh sixteen times as much at the emoji world's D as it did there."""
    assert load_config("emoji-d3po").algorithm.instance.beta is None


def test_at_the_reference_the_gradient_pulls_towards_the_preferred():
    """β/2 (∇ℓ_preferred − ∇ℓ_other), summed log-probabilities."""
    policy, d3po = TinyLCM(), D3PO(beta=0.3, reduction="sum")
    (gradient,) = gradients(d3po, context(policy, seed=9))
    ctx = context(policy, seed=9)
    experience = collect(ctx, ctx.prompts.take(6) * 2, paired_noise(policy, ctx.generator, 6), chunk=6)
    first = (experience.rewards[:6] - experience.rewards[6:]).sign()
    sign = torch.cat([first, -first])
    logs = torch.stack([experience.log_prob(policy, MicroBatch(torch.arange(12), k, 1.0), "sum") for k in (4, 3, 2)])
    expected = torch.autograd.grad(-0.3 / 2 * (sign * logs).sum() / (6 * 3), list(policy.trainable()))
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in expected]), rtol=1e-8, atol=1e-12)


def test_it_learns():
    d3po = D3PO(beta=0.1, reduction="sum", ratio_clip=None)
    history = train(d3po, context(batch_size=192, accumulation=1), batches=35, lr=3e-3)
    assert history[-1]["reward"] > history[0]["reward"] + 0.05
    assert history[0]["tie"] == 0


def test_one_picture_is_no_pair():
    with pytest.raises(ValueError, match="batch_size"):
        next(iter(D3PO().updates(context(batch_size=1))))


# Recorded votes


def record(path, policy, count=48):
    """A rater who prefers the brighter picture of the base model, and cannot tell small differences."""
    with path.open("w") as file:
        for seed in range(count):
            prompt = PROMPTS[seed % 3]
            with policy.reference():
                trajectory = rollout(policy, policy.encode([prompt] * 2), seeded_pairs(policy, [seed]))
            first, second = brightness(policy.decode(trajectory.x0), [prompt] * 2).tolist()
            preferred = 0.5 if abs(first - second) < 0.001 else float(second > first)
            file.write(json.dumps({"prompt": prompt, "seed": seed, "preferred": preferred}) + "\n")
    return path


def test_recorded_votes_reach_the_pictures_they_were_given_for(tmp_path):
    """The trajectories are the reference's, from each vote's seed, though the policy has moved and batches differ."""
    policy = TinyLCM()
    path = record(tmp_path / "votes.jsonl", policy)
    policy.move()
    ctx = context(policy, batch_size=8, accumulation=3)
    experience, labels = D3PO(votes=str(path))._voted(ctx, 12)
    scores = brightness(policy.decode(experience.x(0)), experience.prompts)
    difference = scores[:12] - scores[12:]
    decided = labels != 0
    assert torch.equal(difference.sign()[decided].float(), labels[decided].float())
    assert (difference[~decided].abs() < 0.001).all()


def test_it_learns_from_votes_without_asking_the_reward(tmp_path):
    policy = TinyLCM()
    path = record(tmp_path / "votes.jsonl", policy, count=192)

    def measure():
        ctx = context(policy, seed=11)
        return collect(ctx, ctx.prompts.take(300), ctx.noise(300), chunk=300).rewards.mean().item()

    before, ctx = measure(), context(policy, batch_size=64, accumulation=1)
    history = train(D3PO(votes=str(path), beta=0.1, reduction="sum", ratio_clip=None), ctx, batches=40, lr=3e-3)
    assert measure() > before + 0.02
    assert ctx.reward.queries == 0
    assert "reward" not in history[0]
    assert history[-1]["agrees"] > 0.6


def test_each_pass_through_the_votes_has_all_of_them_in_an_order_of_its_own(tmp_path):
    votes, ctx = read_votes(record(tmp_path / "votes.jsonl", TinyLCM(), count=12)), context()
    passes = [[vote.seed for vote in next_votes(ctx, votes, 12)] for _ in range(3)]
    assert [sorted(order) for order in passes] == [list(range(12))] * 3
    assert len(set(map(tuple, passes))) == 3


def test_votes_are_dealt_without_overlap_to_all_processes_and_resume(tmp_path):
    votes = read_votes(record(tmp_path / "votes.jsonl", TinyLCM(), count=12))
    both = [context(processes=2, process=rank) for rank in range(2)]
    dealt = [vote.seed for _ in range(2) for ctx in both for vote in next_votes(ctx, votes, 3)]
    assert sorted(dealt) == list(range(12))
    resumed = context(processes=2, process=1)
    resumed.state = dict(both[1].state)
    assert next_votes(resumed, votes, 3) == next_votes(both[1], votes, 3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "cat", "seed": 1}', r"votes\.jsonl:2"),
        ('{"prompt": "cat", "seed": 1, "preferred": 0.7}', r"0\.7"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_bad_vote_is_named(tmp_path, line, words):
    path = tmp_path / "votes.jsonl"
    path.write_text('{"prompt": "cat", "seed": 0, "preferred": 1}\n' + line)
    with pytest.raises(ValueError, match=words):
        read_votes(path)


def test_a_missing_or_empty_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read_votes(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ValueError, match="holds no votes"):
        read_votes(tmp_path / "empty.jsonl")
