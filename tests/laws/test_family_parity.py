"""Every family on its true layout: the pipeline's pictures, gradients, D = 0 at the start, LoRA in diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.family_models import FAMILIES, PROMPTS, Builder, pictures, policy_of
from helpers.toys import Cycle
from kedge.algorithms.base import Context
from kedge.algorithms.rocm import ROCM
from kedge.config import parse_model
from kedge.export.diffusers_snippet import diffusers_code
from kedge.export.lora import load_lora, save_lora
from kedge.policies import load_policy
from kedge.policies.base import Backprop, Policy, draw_noise
from kedge.workflows.samplers import changed, resampled
from kedge.workflows.targets import LoadedModel


class Brightness:
    """A reward that pushes pixels up."""

    name, differentiable = "brightness", True

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        return images.flatten(1).mean(1)


# A network and a step that other families have, together.
ALIKE = ("sdxl-diffusion", "sdxl-lcm-lora", "sdxl-dmd2")
EACH = [pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE)) for name in FAMILIES]


@pytest.mark.parametrize("name", FAMILIES)
def test_rollouts_equal_the_pipelines(name: str, models: Builder) -> None:
    built = models(name)
    pipeline = built.pipeline()
    for steps in {1, built.family.steps}:
        expected = built.draw(pipeline, PROMPTS, steps, seed=3)
        images = pictures(load_policy(**built.policy_settings(), steps=steps), seed=3)
        assert images.std() > 0.01
        assert (images - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", EACH)
def test_an_exported_lora_draws_the_same_in_plain_diffusers(name: str, models: Builder, tmp_path: Path) -> None:
    built = models(name)
    policy = policy_of(built, built.family.steps, drift=0.02)
    save_lora(policy, tmp_path, {"base_model": "tiny"})
    images, base = pictures(policy, 5), policy_of(built, built.family.steps)
    assert (images - pictures(base, 5)).abs().max() > 1e-3
    load_lora(base, tmp_path)
    assert (images - pictures(base, 5)).abs().max() <= 1e-6

    # Where that is left out, these pipelines draw 1024 pixels.
    size = {"size": 64} if name in ("sana-sprint", "flux-schnell", "z-image-turbo", "flux2-klein") else {}
    model = parse_model(built.block(steps=policy.steps, guidance=policy.guidance, **size))
    code = diffusers_code(model).replace('"lora"', f'"{tmp_path}"')
    guidance = built.family.call.get("guidance_scale", policy.guidance + 1)
    assert f"num_inference_steps={policy.steps}, guidance_scale={guidance:g}" in code
    # As the run's model card has it, to its last line, with more than one prompt and a seed.
    code = code.replace("torch.manual_seed(0)", "torch.manual_seed(5)")
    code = code.replace(
        'image = pipe(prompt="…", ', "pipe.safety_checker = None\nimage = pipe(prompt=list(prompts), **seeded, "
    )
    seeded = {"generator": torch.Generator().manual_seed(5) if built.family.generator else None, "output_type": "pt"}
    scope: dict[str, Any] = {"prompts": PROMPTS, "seeded": seeded}
    exec(code, scope)
    assert (images[0] - scope["image"]).abs().max() <= 1e-5


# One for each way that steps are made.
ONE_OF_EACH = ("sd15-lcm", "sdxl-hyper-sd", "sdxl-lightning", "sd15-tcd", "sana-sprint", "sd35-turbo", "flux2-klein")


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_another_sampler_of_a_loaded_model_is_that_of_a_model_loaded_so(name: str, models: Builder) -> None:
    built = models(name)
    model = parse_model(built.block(steps=built.family.steps, guidance=built.family.guidance))
    policy = policy_of(built, model.steps, drift=0.02)
    before, loaded = pictures(policy, 5), LoadedModel("tiny", policy, model, tuned=True)
    assert model.family is not None
    quiet = {model.family.noise_key: 0.0} if model.family.noise_key else {}
    texts = ["steps=2", *(f"{key}=0" for key in quiet)]
    other = resampled(loaded, changed(model, texts, "--transfer")).policy
    assert torch.equal(pictures(other, 5), pictures(policy_of(built, 2, drift=0.02, **quiet), 5))
    with other.reference():
        assert torch.equal(pictures(other, 5), pictures(policy_of(built, 2, **quiet), 5))
    assert torch.equal(pictures(policy, 5), before)
    assert all(parameter.requires_grad for parameter in policy.trainable())


def context(policy: Policy) -> Context:
    generator = torch.Generator().manual_seed(0)
    backprop = Backprop(checkpoint=True)
    return Context(policy, Brightness(), Cycle(PROMPTS), generator, backprop, batch_size=2, accumulation=1)


@pytest.mark.parametrize("name", EACH)
def test_at_the_start_there_is_no_divergence_and_the_reward_has_a_gradient(name: str, models: Builder) -> None:
    built = models(name)
    policy = policy_of(built, steps=max(built.family.timesteps, default=2))  # some are made for numbers of steps
    noise = draw_noise(policy, torch.Generator().manual_seed(0), 2)
    reward, divergence = ROCM(beta=1.0).evaluate(context(policy), PROMPTS, noise)
    assert divergence.tolist() == [0, 0]
    parameters = list(policy.trainable())
    slopes = torch.autograd.grad(divergence.sum(), parameters, retain_graph=True)
    assert max(slope.abs().max().item() for slope in slopes) == 0
    slopes = torch.autograd.grad(reward.sum(), parameters, allow_unused=True)
    named = zip(policy.adapter.weights, slopes, strict=True)
    still = [name for name, slope in named if "lora_B" in name and (slope is None or not slope.any())]
    # Only where 64 pixels leave a single token to attend to itself.
    assert all("mid_block" in name and ("attn1.to_q" in name or "attn1.to_k" in name) for name in still)


# Length of the step and tolerance; some parts of the transformers compute in float32 whatever their weights are in.
EXACT, ROUGH = (1e-6, 1e-5), (1e-3, 1e-3)
# One of each kind, at noise that is partly fresh and times of its own; test_latent.py has LCM and DDIM at η = 1.
DIFFERENCES = (
    ("sd15-diffusion", {"eta": 0.4}, EXACT),
    ("sd15-tcd", {"eta": 0.4}, EXACT),
    ("sd-turbo", {}, EXACT),
    ("sdxl-lcm", {}, EXACT),
    ("sdxl-lightning", {}, EXACT),
    ("sdxl-hyper-sd", {}, EXACT),
    ("sdxl-dmd2", {"timesteps": (999, 499)}, EXACT),
    ("sana-sprint", {}, ROUGH),
    ("flux-schnell", {}, ROUGH),
    ("sd35-turbo", {}, ROUGH),
    ("z-image-turbo", {}, ROUGH),
    ("flux2-klein", {}, ROUGH),
)
SLOW = ("flux-schnell", "sd35-turbo")


def difference_cases() -> list[Any]:
    cases = []
    for name, settings, precision in DIFFERENCES:
        label = "-".join([name, *(f"{key}={value}" for key, value in settings.items())])
        cases.append(pytest.param(name, settings, precision, id=label, marks=[pytest.mark.slow] * (name in SLOW)))
    return cases


@pytest.mark.parametrize(("name", "settings", "precision"), difference_cases())
def test_gradients_equal_finite_differences(
    name: str, settings: dict[str, Any], precision: tuple[float, float], models: Builder
) -> None:
    """Network with adapter, all steps, the reference's path, VAE and reward, in float64, along a random direction."""
    h, rel = precision
    policy = policy_of(models(name), steps=2, dtype="float64", drift=0.02, **settings)
    policy.straight_through = False
    algorithm, lent = ROCM(divergence="kl", beta=0.1), context(policy)
    noise = draw_noise(policy, torch.Generator().manual_seed(1), 2)

    def objective() -> Tensor:
        reward, total = algorithm.evaluate(lent, PROMPTS, noise)
        return (reward - algorithm.weight * total).sum()

    parameters = list(policy.trainable())
    slopes = torch.autograd.grad(objective(), parameters)
    generator = torch.Generator().manual_seed(2)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    length = sum((way**2).sum() for way in direction).sqrt()
    values = []
    with torch.no_grad():
        for far in (h, -2 * h):
            for parameter, way in zip(parameters, direction, strict=True):
                parameter += far * way / length
            values.append(objective())
    expected = ((values[0] - values[1]) / (2 * h)).item()
    slope = sum((s * d).sum() for s, d in zip(slopes, direction, strict=True)).item() / length.item()
    assert slope == pytest.approx(expected, rel=rel)
