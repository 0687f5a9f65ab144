"""The steps of turbo models and of SANA-Sprint are those of diffusers' schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, SCMScheduler

from helpers.micro_models import NOISE_SCHEDULE
from kedge.policies.families.sana_sprint import trigflow_schedule
from kedge.policies.families.turbo import ancestral_schedule


def randn(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [1, 2, 4, 20])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_ancestral_steps_equal_the_scheduler(steps: int, prediction_type: str, spacing: str) -> None:
    scheduler = EulerAncestralDiscreteScheduler(
        **NOISE_SCHEDULE, prediction_type=prediction_type, timestep_spacing=spacing
    )
    schedule = ancestral_schedule(scheduler, steps, torch.float32)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(9)
    x = randn(0)  # x_K: unit noise, which the pipeline multiplies by init_noise_sigma
    theirs = x * scheduler.init_noise_sigma
    for k, t in zip(range(steps, 0, -1), scheduler.timesteps, strict=True):
        assert schedule[k].timestep == t
        seen = scheduler.scale_model_input(theirs, t)
        size = seen.abs().max()
        assert (schedule[k].network_input(x) - seen).abs().max() <= 1e-6 * size
        output, state = randn(k), generator.get_state()
        theirs, denoised = scheduler.step(output, t, theirs, generator=generator, return_dict=False)
        p = schedule[k].gaussian(x, output)
        noise = torch.randn(x.shape, generator=torch.Generator().set_state(state))
        assert (p.sample(noise) - theirs).abs().max() <= 2e-6 * max(size, theirs.abs().max())
        assert p.deterministic == (k == 1)
        x = theirs  # so that each step is compared by itself
    assert (p.mean - denoised).abs().max() <= 1e-5 * max(1, denoised.abs().max())


def test_sd_turbo_names_plain_euler_with_the_same_noise_levels() -> None:
    plain = EulerDiscreteScheduler(**NOISE_SCHEDULE, timestep_spacing="trailing", steps_offset=1)
    schedule = ancestral_schedule(EulerAncestralDiscreteScheduler.from_config(plain.config), 4, torch.float32)
    plain.set_timesteps(4)
    assert [float(schedule[k].timestep) for k in (4, 3, 2, 1)] == [999, 749, 499, 249]
    assert torch.equal(torch.stack([schedule[k].sigma for k in (4, 3, 2, 1)]), plain.sigmas[:4])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8])
def test_trigflow_steps_equal_the_scheduler(steps: int) -> None:
    """In units of the data's standard deviation, which the pipeline multiplies and divides by."""
    scheduler = SCMScheduler()
    schedule = trigflow_schedule(scheduler, steps, torch.float32)
    assert schedule[steps].alpha.item() == pytest.approx(0, abs=1e-5)  # it starts at pure noise
    scheduler.set_timesteps(steps, max_timesteps=1.57080, intermediate_timesteps=1.3 if steps == 2 else None)
    generator, unit = torch.Generator().manual_seed(9), scheduler.config.sigma_data
    x = randn(0)
    theirs = x * unit
    for k, t in zip(range(steps, 0, -1), scheduler.timesteps[:-1], strict=True):
        output, state = randn(k), generator.get_state()
        theirs, denoised = scheduler.step(output * unit, t, theirs, generator=generator, return_dict=False)
        p = schedule[k].gaussian(x, output)
        x = p.sample(torch.randn(x.shape, generator=torch.Generator().set_state(state)))
        assert (x - theirs / unit).abs().max() <= 1e-6
        assert p.deterministic == (k == 1)
        if k > 1:
            assert p.std.item() == pytest.approx(math.sin(scheduler.timesteps[steps - k + 1].item()), abs=1e-6)
    assert (x - denoised / unit).abs().max() <= 1e-6


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.steps must be between 1 and 1000"):
        ancestral_schedule(EulerAncestralDiscreteScheduler(**NOISE_SCHEDULE), 1001, torch.float32)
