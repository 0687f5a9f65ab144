"""The same laws on real UNets: consistency and diffusion models with random weights, LoRA, two precisions."""

from __future__ import annotations

import pytest
import torch

from helpers.micro_models import save_micro_diffusion, save_micro_lcm
from helpers.pretrained_toy import PROMPTS, FunctionReward, brightness
from helpers.toys import Cycle
from kedge.algorithms.base import Context
from kedge.algorithms.d3po import D3PO
from kedge.algorithms.dpok import DPOK
from kedge.algorithms.ppo import DDPO, RLCM
from kedge.policies import load_policy
from kedge.policies.base import Backprop
from kedge.policies.lora import LoraConfig

CASES = [("lcm", "float32"), ("lcm", "bfloat16"), ("diffusion", "float32"), ("diffusion", "bfloat16")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("micro")
    return {"lcm": save_micro_lcm(root / "lcm"), "diffusion": save_micro_diffusion(root / "diffusion")}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def policy(request, folders):
    kind, dtype = request.param
    lora, device = LoraConfig(rank=2, alpha=4), torch.device("cpu")
    return load_policy(kind, str(folders[kind]), steps=4, guidance=3.0, lora=lora, device=device, dtype=dtype)


@pytest.fixture
def ctx(policy):
    """A policy that has left its reference, so that nothing is equal by accident."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    return Context(
        policy=policy,
        reward=FunctionReward(brightness),
        prompts=Cycle(PROMPTS),
        generator=torch.Generator().manual_seed(0),
        backprop=Backprop(),
        batch_size=2,
        accumulation=3,
    )


@pytest.mark.parametrize(
    "algorithm",
    [RLCM(minibatches=2, sample_batch_size=5), DDPO(step_fraction=0.5), DPOK(policy_steps=2, sample_batch_size=3)],
    ids=["rlcm", "ddpo", "dpok"],
)
def test_the_ratio_is_exactly_one_before_the_first_update(ctx, algorithm):
    losses = list(next(iter(algorithm.updates(ctx))))
    assert torch.cat([loss.metrics["ratio"] for loss in losses]).eq(1).all()
    parameters = list(ctx.policy.trainable())
    gradients = torch.autograd.grad(sum(loss.value for loss in losses), parameters)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_the_reference_is_the_base_model(ctx):
    """D3PO's log-ratio is not zero after the adapter moved, and is exactly zero with the adapter at zero."""

    def log_ratio():
        losses = list(next(iter(D3PO().updates(ctx))))
        return torch.cat([loss.metrics["log_ratio"] for loss in losses])

    assert log_ratio().min() > 0
    with torch.no_grad():
        for parameter in ctx.policy.trainable():
            parameter.zero_()
    assert log_ratio().max() == 0
