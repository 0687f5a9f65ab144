"""Kedge's step arithmetic is diffusers', to the last bit."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler

from helpers.micro_models import NOISE_SCHEDULE
from kedge.policies.families.diffusion import ddim_schedule
from kedge.policies.families.lcm import consistency_schedule

PREDICTIONS = ["epsilon", "sample", "v_prediction"]


def randn(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16, 50])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_consistency_steps_equal_lcm_scheduler(steps: int, prediction_type: str) -> None:
    scheduler = LCMScheduler(**NOISE_SCHEDULE, prediction_type=prediction_type)
    schedule = consistency_schedule(scheduler, steps, torch.float32)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(9)
    x = randn(0)
    for k, t in zip(range(steps, 0, -1), scheduler.timesteps, strict=True):
        assert schedule[k].timestep == t
        output, state = randn(k), generator.get_state()
        expected, denoised = scheduler.step(output, t, x, generator=generator, return_dict=False)
        p = schedule[k].gaussian(x, output)
        if k == 1:
            assert p.deterministic
            assert torch.equal(p.mean, denoised)
            assert torch.equal(p.mean, expected)
        else:
            noise = torch.randn(x.shape, generator=torch.Generator().set_state(state))
            assert torch.equal(p.sample(noise), expected)
            variance = 1 - scheduler.alphas_cumprod[scheduler.timesteps[steps - k + 1]]
            assert torch.equal(p.std, variance.sqrt())
        x = expected


def test_eight_steps_of_the_published_model() -> None:
    """LCM Dreamshaper at K = 8: where the steps lie, and why the gradient norm is clipped."""
    schedule = consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), 8, torch.float32)
    assert [int(schedule[k].timestep) for k in range(8, 0, -1)] == [999, 879, 759, 639, 499, 379, 259, 139]
    assert 1 / schedule[8].alpha.item() == pytest.approx(14.65, abs=0.01)  # |∂x̃_0/∂ε| at t = 999
    assert schedule[2].std.item() ** 2 > 0.1  # the divergences never divide by a vanishing variance


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("set_alpha_to_one", [True, False])
def test_diffusion_steps_equal_ddim_scheduler(
    steps: int, eta: float, prediction_type: str, set_alpha_to_one: bool
) -> None:
    scheduler = DDIMScheduler(
        **NOISE_SCHEDULE,
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=set_alpha_to_one,
        prediction_type=prediction_type,
    )
    if steps == 1:
        scheduler.register_to_config(steps_offset=0)  # an offset of 1 would ask for timestep 1000 of 1000
    schedule = ddim_schedule(scheduler, steps, eta, torch.float32)
    x = randn(0)
    for k, t in zip(range(steps, 0, -1), scheduler.timesteps, strict=True):
        output, noise = randn(k), torch.zeros_like(x) if k == 1 else randn(1000 + k)
        expected = scheduler.step(output, t, x, eta=eta, variance_noise=noise).prev_sample
        p = schedule[k].gaussian(x, output)
        assert schedule[k].timestep == t
        assert p.deterministic == (k == 1 or eta == 0)
        assert torch.equal(p.sample(noise), expected)
        x = expected


def test_float64_policies_keep_the_same_constants() -> None:
    for make in (
        lambda dtype: consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), 4, dtype)[3].next_alpha,
        lambda dtype: ddim_schedule(DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False), 4, 1.0, dtype)[3].std,
    ):
        assert make(torch.float64).dtype == torch.float64
        assert make(torch.float64) == make(torch.float32).double()


def test_impossible_schedules_are_refused() -> None:
    lcm, ddim = LCMScheduler(**NOISE_SCHEDULE), DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False)
    with pytest.raises(ValueError, match="between 1 and 50"):
        consistency_schedule(lcm, 51, torch.float32)
    with pytest.raises(ValueError, match="eta must lie between 0"):
        ddim_schedule(ddim, 20, 1.5, torch.float32)
    late = DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, steps_offset=1)
    with pytest.raises(ValueError, match=r"model\.steps=1000 begins at time 1000, .* ends at 999 .*model\.steps=500"):
        ddim_schedule(late, 1000, 1.0, torch.float32)
    with pytest.raises(ValueError, match="clip_sample: true"):
        ddim_schedule(DDIMScheduler(**NOISE_SCHEDULE, clip_sample=True), 20, 1.0, torch.float32)
    with pytest.raises(ValueError, match="prediction_type 'flow'"):
        consistency_schedule(LCMScheduler(**NOISE_SCHEDULE, prediction_type="flow"), 4, torch.float32)
