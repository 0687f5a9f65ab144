"""The steps of turbo models and of SANA-Sprint are those of diffusers' schedulers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    SCMScheduler,
    TCDScheduler,
)

from helpers.micro_models import NOISE_SCHEDULE
from kedge.config import ConfigError, parse_config
from kedge.policies.families.lcm import consistency_schedule
from kedge.policies.families.sana_sprint import trigflow_schedule
from kedge.policies.families.tcd import tcd_schedule
from kedge.policies.families.turbo import ancestral_schedule
from kedge.policies.schedulers import as_scheduler


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


@pytest.mark.parametrize("timesteps", [None, (800,), (999, 749, 499, 249), (900, 30)])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_tcd_steps_equal_the_scheduler(prediction_type: str, gamma: float, timesteps: tuple[int, ...] | None) -> None:
    scheduler = TCDScheduler(**NOISE_SCHEDULE, prediction_type=prediction_type)
    steps = len(timesteps) if timesteps else 4
    schedule = tcd_schedule(scheduler, steps, gamma, torch.float32, timesteps)
    if timesteps:
        scheduler.set_timesteps(timesteps=list(timesteps))
    else:
        scheduler.set_timesteps(steps)
    generator, x = torch.Generator().manual_seed(9), randn(0)
    for k, t in zip(range(steps, 0, -1), scheduler.timesteps, strict=True):
        assert schedule[k].timestep == t
        output, state = randn(k), generator.get_state()
        theirs = scheduler.step(output, t, x, eta=gamma, generator=generator, return_dict=False)[0]
        noise = torch.randn(x.shape, generator=torch.Generator().set_state(state))
        p = schedule[k].gaussian(x, output)
        assert (p.sample(noise) - theirs).abs().max() <= 1e-6 * max(1, theirs.abs().max())
        assert p.deterministic == (k == 1 or gamma == 0)
        x = theirs
    # The last step leaves the noise of t = 0: it is not the predicted picture.
    assert schedule[1].carried.item() == pytest.approx((1 - scheduler.alphas_cumprod[0].item()) ** 0.5)


def test_dmd2_steps_equal_the_scheduler_at_times_of_its_own() -> None:
    scheduler, times = LCMScheduler(**NOISE_SCHEDULE), (999, 749, 499, 249)
    schedule = consistency_schedule(scheduler, 4, torch.float32, timesteps=times)
    scheduler.set_timesteps(timesteps=list(times))
    assert [int(schedule[k].timestep) for k in (4, 3, 2, 1)] == list(times)
    generator, x = torch.Generator().manual_seed(9), randn(0)
    for k, t in zip(range(4, 0, -1), scheduler.timesteps, strict=True):
        output, state = randn(k), generator.get_state()
        theirs = scheduler.step(output, t, x, generator=generator, return_dict=False)[0]
        noise = torch.randn(x.shape, generator=torch.Generator().set_state(state))
        assert (schedule[k].gaussian(x, output).sample(noise) - theirs).abs().max() <= 1e-6 * theirs.abs().max()
        x = theirs


def test_one_step_lightning_predicts_the_picture_itself() -> None:
    plain = EulerDiscreteScheduler(**NOISE_SCHEDULE, timestep_spacing="trailing", prediction_type="sample")
    schedule = ancestral_schedule(as_scheduler(EulerAncestralDiscreteScheduler, plain), 1, torch.float32)
    plain.set_timesteps(1)
    x, output = randn(0), randn(1)
    theirs = plain.step(output, plain.timesteps[0], x * plain.init_noise_sigma, return_dict=False)[0]
    p = schedule[1].gaussian(x, output)
    assert (p.mean - theirs).abs().max() <= 1e-5
    assert (p.mean - output).abs().max() <= 1e-5
    assert p.deterministic
    with pytest.raises(ValueError, match=r"sample: .* use model\.steps=1"):
        ancestral_schedule(as_scheduler(EulerAncestralDiscreteScheduler, plain), 2, torch.float32)


LIGHTNING = "ByteDance/SDXL-Lightning/sdxl_lightning_4step_unet.safetensors"
DMD2 = "tianweiy/DMD2/dmd2_sdxl_4step_unet_fp16.bin"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"unet": DMD2, "timesteps": [999, 499]}, None),  # as many steps as times
        ({"unet": DMD2, "steps": 1}, None),
        ({"unet": DMD2, "steps": 2}, r"dmd2 is distilled for 1 or 4 steps, not 2: say at which model\.timesteps"),
        ({"unet": DMD2, "steps": 4, "timesteps": [999, 499]}, r"has 2 times \(999, 499\), but model\.steps is 4"),
        ({"unet": DMD2, "steps": 2, "timesteps": [499, 999]}, "must descend"),
        ({"unet": DMD2, "timesteps": [999, 499, 499, 249]}, "must descend"),
        ({"unet": LIGHTNING, "timesteps": [999, 749, 499, 249]}, r"model\.timesteps means nothing to lightning"),
        ({"unet": LIGHTNING, "steps": 1}, r"model\.kind=lightning: .*set model\.prediction_type"),
        ({"unet": LIGHTNING, "steps": 1, "prediction_type": "sample"}, None),
        ({"lcm_lora": "a/b", "few_step_lora": "h1t/TCD-SDXL-LoRA"}, "distilled one way"),
        ({"unet": "mine.safetensors"}, "no 'mine.safetensors'"),
    ],
)
def test_what_a_recipe_of_a_distilled_unet_may_say(block: dict[str, Any], message: str | None) -> None:
    recipe = {"model": {"name": "stabilityai/stable-diffusion-xl-base-1.0", **block}, "reward": "compressibility_proxy"}
    if message:
        with pytest.raises(ConfigError, match=message):
            parse_config(recipe)
        return
    model = parse_config(recipe).model
    assert model.family is not None
    assert model.steps == len(model.family.timesteps_for(model.steps, model.timesteps) or [0])


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
