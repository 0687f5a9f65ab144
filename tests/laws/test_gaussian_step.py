"""One step for all: whatever is drawn afresh, the next level has the noise that the network expects of it."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler, SCMScheduler

from helpers.micro_models import NOISE_SCHEDULE
from kedge.config import ConfigError, parse_config
from kedge.policies.families.diffusion import ddim_schedule
from kedge.policies.families.lcm import consistency_schedule
from kedge.policies.families.sana_sprint import trigflow_schedule
from kedge.policies.steps import Noise, ancestral, check_steps, ddim, renoise

SIGMA, NEXT_SIGMA = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
SPLITS = {
    **{f"renoise {share}": renoise(NEXT_SIGMA, share) for share in (0.0, 0.3, 0.9, 1.0)},
    **{f"ddim {eta}": ddim(1 - SIGMA**2, 1 - NEXT_SIGMA**2, eta) for eta in (0.0, 0.5, 1.0)},
    "ancestral": ancestral(SIGMA, NEXT_SIGMA),
}


@pytest.mark.parametrize("rule", SPLITS)
def test_the_parts_of_the_noise_add_up(rule: str) -> None:
    noise = SPLITS[rule]
    assert (noise.carried**2 + noise.fresh**2).item() == pytest.approx(0.36, rel=1e-12)
    assert noise.fresh >= 0
    assert noise.carried >= 0


def test_the_ends_of_renoising_are_exact() -> None:
    assert renoise(NEXT_SIGMA, 1.0) == Noise(torch.zeros([]), NEXT_SIGMA)
    assert renoise(NEXT_SIGMA, 0.0) == Noise(NEXT_SIGMA, torch.zeros([]))
    with pytest.raises(ValueError, match=r"model\.renoise must lie between 0"):
        renoise(NEXT_SIGMA, 1.01)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
def test_data_and_noise_go_to_the_next_level(share: float) -> None:
    """A perfect network at x_k = α x_0 + σ ε leaves N(α' x_0, σ'² I), over ε and the draw."""
    schedule = consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), 4, torch.float64, share)
    generator = torch.Generator().manual_seed(0)
    x0, noise, drawn = (torch.randn(200_000, generator=generator, dtype=torch.float64) for _ in range(3))
    x0 = 0.3 * x0
    for k in (4, 3, 2):
        step = schedule[k]
        p = step.gaussian(step.alpha * x0 + step.sigma * noise, noise)  # it predicts ε
        rest = p.sample(drawn) - schedule[k - 1].alpha * x0
        assert rest.std().item() == pytest.approx(schedule[k - 1].sigma.item(), rel=0.01)
        assert abs(torch.corrcoef(torch.stack([rest, x0]))[0, 1].item()) < 0.02  # but for c_skip: 1e-5 at t = 259


def test_renoising_nothing_is_ddim_without_noise() -> None:
    """At the consistency model's own times; its boundary condition is 1e-4 away."""
    scheduler = LCMScheduler(**NOISE_SCHEDULE)
    ode = consistency_schedule(scheduler, 5, torch.float64, 0.0)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    output = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for k in (5, 4, 3, 2):
        product = scheduler.alphas_cumprod[ode[k].timestep].double()
        next_product = scheduler.alphas_cumprod[ode[k - 1].timestep].double()
        x0 = (x - (1 - product) ** 0.5 * output) / product**0.5
        expected = next_product**0.5 * x0 + (1 - next_product) ** 0.5 * output  # Song et al. 2021, Eq. (12), σ = 0
        p = ode[k].gaussian(x, output)
        assert p.deterministic
        assert (p.mean - expected).abs().max() < 1e-4 * x0.abs().max()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_a_step_makes_of_x0_is_what_it_says(share: float) -> None:
    for schedule in (
        consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), 4, torch.float64, share),
        trigflow_schedule(SCMScheduler(), 4, torch.float64, share),
        ddim_schedule(DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False), 4, share, torch.float64),
    ):
        for k in (3, 2, 1):
            step, x = schedule[k], torch.ones(1, 1, dtype=torch.float64)
            one, two = torch.full_like(x, 0.2), torch.full_like(x, 0.7)
            means = step.gaussian(x, two).mean - step.gaussian(x, one).mean
            pictures = step.predicted_x0(x, two) - step.predicted_x0(x, one)
            assert (means / pictures).item() == pytest.approx(step.x0_weight.item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_constants_have_the_precision_of_the_latents(dtype: torch.dtype) -> None:
    """Whatever precision diffusers' schedulers compute in."""
    for schedule in (
        consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), 4, dtype, 0.5),
        trigflow_schedule(SCMScheduler(), 4, dtype, 0.5),
        ddim_schedule(DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False), 4, 0.5, dtype),
    ):
        for step in schedule.values():
            constants = (step.alpha, step.sigma, step.next_alpha, step.carried, step.std)
            assert {constant.dtype for constant in constants} == {dtype}


def test_as_many_steps_are_taken_as_the_model_has_and_no_more() -> None:
    check_steps(1, 50)
    check_steps(50, 50)
    for steps in (0, 51):
        with pytest.raises(ValueError, match=rf"model\.steps must be between 1 and 50 .* not {steps}"):
            check_steps(steps, 50)


BASE = {"model": {"name": "emoji-lcm"}, "reward": "pickscore@emoji"}


def test_a_sampler_without_noise_is_refused_where_noise_is_needed() -> None:
    ode = {**BASE, "model": {"name": "emoji-lcm", "renoise": 0.0}}
    with pytest.raises(ConfigError, match=r"'rlcm' learns from the log-prob.*model\.renoise=0.*algorithm=rocm"):
        parse_config({**ode, "algorithm": "rlcm"})
    with pytest.raises(ConfigError, match=r"model\.renoise=0 no step draws.*last_step_std.*divergence=none"):
        parse_config(ode)
    parse_config({**ode, "algorithm": {"name": "rocm", "divergence": "none"}})
    parse_config({**ode, "algorithm": {"name": "rocm", "last_step_std": 0.1, "reference_steps": 0}})
    plain = {**BASE, "model": {"name": "emoji-diffusion", "eta": 0.0}}
    with pytest.raises(ConfigError, match=r"model\.eta=0"):
        parse_config({**plain, "algorithm": "ddpo"})


@pytest.mark.parametrize("algorithm", ["rlcm", "grpo", "d3po"])
def test_a_single_step_has_no_noise_to_learn_from(algorithm: str) -> None:
    single = {**BASE, "model": {"name": "emoji-lcm", "steps": 1}}
    with pytest.raises(ConfigError, match=rf"'{algorithm}' learns .*model\.steps=1 .*2 or more.*algorithm=rocm"):
        parse_config({**single, "algorithm": algorithm})
    for other in ("rocm", "hybrid"):
        parse_config({**single, "algorithm": other})


Z_IMAGE = "Tongyi-MAI/Z-Image-Turbo"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"eta": 0.5}, r"model\.eta=0\.5 means nothing to z-image-turbo.*there model\.renoise says"),
        ({"guidance": 3.5}, r"model\.guidance=3\.5: Z-Image-Turbo was distilled to draw without guidance"),
        ({"lcm_lora": "latent-consistency/lcm-lora-sdxl"}, r"model\.lcm_lora is for models with a UNet, and Z-Image"),
        ({"kind": "z-image-turbo", "few_step_lora": "a/b"}, r"model\.few_step_lora is for models with a UNet"),
    ],
)
def test_what_a_flow_model_has_no_use_for_is_refused_at_once(block: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({**BASE, "model": {"name": Z_IMAGE, **block}})


def test_another_rules_family_takes_no_share() -> None:
    with pytest.raises(ConfigError, match=r"model\.renoise=0\.5 means nothing to diffusion.*lcm"):
        parse_config({**BASE, "model": {"name": "emoji-diffusion", "renoise": 0.5}})
    with pytest.raises(ConfigError, match=r"model\.renoise"):
        parse_config({**BASE, "model": {"name": "emoji-lcm", "renoise": 1.5}})
