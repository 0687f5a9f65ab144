"""Flow matching has the noise levels of the pipelines and the steps of the scheduler; what they do to the anchor."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    LCMScheduler,
    StableDiffusion3Pipeline,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

from helpers.micro_models import NOISE_SCHEDULE
from kedge.algorithms.rocm import PAPER_BETA
from kedge.config import load_config
from kedge.config.presets import preset as preset_named
from kedge.policies.families.flow import as_flow_scheduler, dynamic_shift, flow_schedule
from kedge.policies.families.lcm import consistency_schedule
from kedge.policies.steps import GaussianStep

STATIC = {"schnell": 1.0, "shift 3": 3.0}  # FLUX.1-schnell; Z-Image-Turbo and Stable Diffusion 3.5 Turbo
KLEIN = {"klein 512": 32 * 32, "klein 1024": 64 * 64}  # tokens of a picture


def scheduler_of(name: str, **settings: Any) -> FlowMatchEulerDiscreteScheduler:
    if name in STATIC:
        return FlowMatchEulerDiscreteScheduler(shift=STATIC[name], **settings)
    return FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, **settings)


def mu_of(name: str, steps: int) -> float | None:
    return compute_empirical_mu(KLEIN[name], steps) if name in KLEIN else None


def schedule_for(name: str, steps: int, share: float = 1.0, dtype: torch.dtype = torch.float32) -> dict:
    return flow_schedule(scheduler_of(name), steps, share, dtype, mu_of(name, steps))


LEVELS = {
    ("schnell", 4): [1, 0.75, 0.5, 0.25],
    ("shift 3", 8): [1, 0.9545, 0.9, 0.8333, 0.75, 0.6429, 0.5, 0.3],
    ("shift 3", 4): [1, 0.9, 0.75, 0.5],
    ("klein 512", 4): [1, 0.958, 0.884, 0.7175],
    ("klein 1024", 4): [1, 0.967, 0.908, 0.767],
}


@pytest.mark.parametrize(("name", "steps"), LEVELS)
def test_the_noise_levels_of_the_published_models(name: str, steps: int) -> None:
    schedule = schedule_for(name, steps)
    sigmas = [schedule[k].sigma.item() for k in range(steps, 0, -1)]
    assert sigmas == pytest.approx(LEVELS[name, steps], abs=6e-4)
    times = [schedule[k].timestep.item() for k in range(steps, 0, -1)]
    assert times == pytest.approx([1000 * sigma for sigma in sigmas], rel=1e-6)
    assert [schedule[k].alpha.item() for k in range(steps, 0, -1)] == pytest.approx([1 - s for s in sigmas], abs=1e-6)


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("name", [*STATIC, *KLEIN])
def test_steps_equal_the_schedulers(name: str, stochastic: bool) -> None:
    steps, generator = 4, torch.Generator().manual_seed(9)
    scheduler = scheduler_of(name, stochastic_sampling=stochastic)
    schedule = schedule_for(name, steps, float(stochastic))
    scheduler.set_timesteps(sigmas=[1, 0.75, 0.5, 0.25], mu=mu_of(name, steps))
    x = torch.randn(2, 4, 8, 8, generator=generator)
    for k, t in zip(range(steps, 0, -1), scheduler.timesteps, strict=True):
        output, state = torch.randn(x.shape, generator=generator), generator.get_state()
        expected = scheduler.step(output, t, x, generator=generator, return_dict=False)[0]
        p = schedule[k].gaussian(x, output)
        noise = torch.randn(x.shape, generator=torch.Generator().set_state(state))
        assert (p.sample(noise) - expected).abs().max() <= 1e-6
        assert p.deterministic == (k == 1 or not stochastic)
        x = expected


def weights(schedule: dict[int, GaussianStep]) -> list[float]:
    """Of ‖Δx̂_0‖² in the KL of each noisy step, first to last: w²/2s² with w = ∂mean/∂x̂_0."""
    steps = [schedule[k] for k in range(len(schedule), 1, -1)]
    return [float(step.x0_weight**2 / (2 * step.std**2)) for step in steps]


WEIGHTS = {
    ("schnell", 4): [0.056, 0.5, 4.5],
    ("shift 3", 4): [0.006, 0.056, 0.5],
    ("klein 512", 4): [0.001, 0.009, 0.078],
    ("klein 1024", 4): [0.0006, 0.005, 0.046],
}


@pytest.mark.parametrize(("name", "steps"), WEIGHTS)
def test_how_strongly_each_step_is_anchored(name: str, steps: int) -> None:
    """((1 − σ')/σ')²/2: a β that suits one schedule is far too weak or too strong for another."""
    schedule = schedule_for(name, steps)
    assert weights(schedule) == pytest.approx(WEIGHTS[name, steps], rel=0.1)
    expected = [((1 - schedule[k].sigma) / schedule[k].sigma).item() ** 2 / 2 for k in range(steps - 1, 0, -1)]
    assert weights(schedule) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("steps", "expected"), [(4, [0.028, 0.19, 0.97]), (8, [0.009, 0.03, 0.07, 0.19, 0.42, 0.97, 2.7])]
)
def test_how_strongly_a_consistency_models_steps_are_anchored(steps: int, expected: list[float]) -> None:
    schedule = consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), steps, torch.float64)
    assert weights(schedule) == pytest.approx(expected, rel=0.1)
    assert weights(schedule)[-1] / weights(schedule_for("klein 1024", 4))[-1] > (20 if steps == 4 else 50)


PRESETS = {  # schedule, and latent dimensions
    "rocm-flux2-klein-12gb": ("klein 512", 128 * 32 * 32),
    "rocm-z-image-turbo-24gb": ("shift 3", 16 * 128 * 128),
    "rocm-z-image-turbo-12gb": ("shift 3", 16 * 112 * 112),
    "rocm-flux-schnell-40gb": ("schnell", 16 * 128 * 128),
    "rocm-flux-schnell-12gb": ("schnell", 16 * 64 * 64),
    "rocm-sd35-medium-turbo-16gb": ("shift 3", 16 * 128 * 128),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_hold_as_tightly_as_the_paper_holds_its_lcm(preset: str) -> None:
    """The same change of x̂_0 per dimension at every step: β D Σ weights is that of Table 2 at K = 8 and 4 × 64 × 64."""
    name, dimensions = PRESETS[preset]
    config = load_config(preset_named(preset).path)
    algorithm = config.algorithm.instance
    schedule = schedule_for(name, config.model.steps)
    last = 1 / (2 * algorithm.last_step_std**2) if algorithm.last_step_std else 0.0
    paper = consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), 8, torch.float64)
    strength = algorithm.beta * dimensions * (sum(weights(schedule)) + last)
    assert strength == pytest.approx(PAPER_BETA["kl"] * 4 * 64 * 64 * sum(weights(paper)), rel=0.02)


def test_z_image_in_eight_steps_is_anchored_as_lcm_at_its_end() -> None:
    expected = [0.00113, 0.00617, 0.02, 0.0556, 0.154, 0.5, 2.72]
    assert weights(schedule_for("shift 3", 8)) == pytest.approx(expected, rel=0.02)


# The noise level from which the last step goes straight to the picture, held by nothing but last_step_std.
LAST = {
    **{("schnell", 4): 0.25, ("shift 3", 4): 0.5, ("shift 3", 8): 0.3},
    **{("klein 512", 4): 0.72, ("klein 1024", 4): 0.77},
}


@pytest.mark.parametrize(("name", "steps"), LAST)
def test_where_the_step_that_nothing_holds_starts(name: str, steps: int) -> None:
    assert schedule_for(name, steps)[1].sigma.item() == pytest.approx(LAST[name, steps], abs=0.005)
    assert schedule_for(name, steps)[1].std == 0


@pytest.mark.parametrize(("steps", "sigma"), [(4, 0.58), (8, 0.40)])
def test_where_the_last_step_of_a_consistency_model_starts(steps: int, sigma: float) -> None:
    last = consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), steps, torch.float64)[1]
    assert last.sigma.item() == pytest.approx(sigma, abs=0.005)


def test_the_pipelines_of_stable_diffusion_3_end_too_low_if_left_to_themselves() -> None:
    """diffusers issue 13243: its end is shifted twice. The levels that are asked for here avoid it."""
    scheduler = scheduler_of("shift 3")
    scheduler.set_timesteps(4)
    assert scheduler.sigmas[:4].tolist() == pytest.approx([1, 0.8577, 0.6022, 0.0089], abs=1e-4)
    anchor = [float((1 - sigma) ** 2 / (2 * sigma**2)) for sigma in scheduler.sigmas[1:4]]
    assert anchor == pytest.approx([0.0138, 0.218, 6200], rel=0.01)
    assert "sigmas" in inspect.signature(StableDiffusion3Pipeline.__call__).parameters


def test_noise_near_the_end_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"level σ = 0\.04, below 0\.05: .*= 288 .*model\.steps.*model\.renoise=0"):
        schedule_for("schnell", 25)
    with pytest.raises(ValueError, match=r"below 0\.05"):
        schedule_for("schnell", 25, 0.3)
    assert len(schedule_for("schnell", 25, 0.0)) == 25
    assert len(schedule_for("schnell", 20)) == 20


def test_a_scheduler_without_their_noise_levels_is_refused() -> None:
    other = UniPCMultistepScheduler(use_flow_sigmas=True, flow_shift=3.0)
    with pytest.raises(ValueError, match=r"that of UniPCMultistepScheduler.*no shift.*published model's file"):
        as_flow_scheduler(other)
    with pytest.raises(ValueError, match=r"invert_sigmas: true"):
        as_flow_scheduler(scheduler_of("shift 3", invert_sigmas=True))
    assert as_flow_scheduler(FlowMatchLCMScheduler(shift=3.0)).shift == 3.0


def test_a_shift_by_size_is_that_of_the_pipelines() -> None:
    scheduler = scheduler_of("klein 512", base_shift=0.5, max_shift=1.15)
    assert dynamic_shift(scheduler, 256, 4) == pytest.approx(0.5)
    assert dynamic_shift(scheduler, 4096, 4) == pytest.approx(1.15)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_a_perfect_network_reaches_the_next_level(share: float) -> None:
    schedule = schedule_for("shift 3", 4, share, torch.float64)
    generator = torch.Generator().manual_seed(0)
    x0, noise, drawn = (torch.randn(100_000, generator=generator, dtype=torch.float64) for _ in range(3))
    for k in (4, 3, 2):
        step = schedule[k]
        p = step.gaussian(step.alpha * x0 + step.sigma * noise, noise - x0)
        rest = p.sample(drawn) - schedule[k - 1].alpha * x0
        assert rest.std().item() == pytest.approx(schedule[k - 1].sigma.item(), rel=0.01)
    assert (schedule[1].gaussian(0.5 * x0 + 0.5 * noise, noise - x0).mean - x0).abs().max() < 1e-6
