"""The same generator gives the same pictures in Kedge and in diffusers' own pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, LatentConsistencyModelPipeline, StableDiffusionPipeline
from torch import Tensor

from kedge.policies import load_policy
from kedge.policies.base import Policy, draw_noise, rollout
from kedge.policies.settings import LoraConfig
from kedge.quiet import quiet_loading

PROMPTS = ["a cat", "the fox 🦊 at night, with a very long and winding description"]
Generators = torch.Generator | list[torch.Generator]


def generators(one_each: bool) -> Generators:
    if one_each:
        return [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    return torch.Generator().manual_seed(3)


def load(cls: type[DiffusionPipeline], folder: Path) -> DiffusionPipeline:
    with quiet_loading():
        pipeline = cls.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def pictures(policy: Policy, generators: Generators) -> Tensor:
    trajectory = rollout(policy, policy.encode(PROMPTS), draw_noise(policy, generators, len(PROMPTS)))
    return policy.decode(trajectory.x0)


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_lcm_rollout_equals_the_pipeline(micro_lcm: Path, steps: int, one_each: bool) -> None:
    policy = load_policy("lcm", micro_lcm, steps=steps, guidance=7.5, lora=LoraConfig())
    expected = load(LatentConsistencyModelPipeline, micro_lcm)(
        PROMPTS, num_inference_steps=steps, guidance_scale=8.5, generator=generators(one_each), output_type="pt"
    ).images
    images = pictures(policy, generators(one_each))
    assert images.shape == (2, 3, 64, 64)
    assert images.std() > 0.05
    assert (images - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("one_each", [False, True])
@pytest.mark.parametrize("guidance", [0.0, 7.5])
def test_ddim_rollout_equals_the_pipeline(micro_diffusion: Path, guidance: float, one_each: bool) -> None:
    policy = load_policy("diffusion", micro_diffusion, steps=20, guidance=guidance, lora=LoraConfig(), eta=0.0)
    expected = load(StableDiffusionPipeline, micro_diffusion)(
        PROMPTS, num_inference_steps=20, guidance_scale=guidance + 1, generator=generators(one_each), output_type="pt"
    ).images
    assert (pictures(policy, generators(one_each)) - expected).abs().max() <= 1e-5


def test_stochastic_ddim_rollout_equals_the_pipeline(micro_diffusion: Path) -> None:
    """With η = 1, where the scheduler's last step adds no noise, as Kedge's never does."""
    pipeline = load(StableDiffusionPipeline, micro_diffusion)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, set_alpha_to_one=True)
    expected = pipeline(
        PROMPTS, num_inference_steps=20, guidance_scale=8.5, eta=1.0, generator=generators(False), output_type="pt"
    ).images
    from kedge.policies.families.diffusion import diffusion_policy

    policy = diffusion_policy(pipeline, steps=20, guidance=7.5, eta=1.0)
    assert (pictures(policy, generators(False)) - expected).abs().max() <= 1e-5


def test_stochastic_ddim_states_equal_the_pipelines_up_to_the_last(micro_diffusion: Path) -> None:
    """Stable Diffusion's own settings leave a little noise in the last step; all states before it agree."""
    states: list[Tensor] = []

    def remember(pipeline: DiffusionPipeline, i: int, t: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        states.append(tensors["latents"])
        return tensors

    load(StableDiffusionPipeline, micro_diffusion)(
        PROMPTS,
        num_inference_steps=10,
        guidance_scale=8.5,
        eta=1.0,
        generator=generators(False),
        output_type="latent",
        callback_on_step_end=remember,
    )
    policy = load_policy("diffusion", micro_diffusion, steps=10, guidance=7.5, eta=1.0)
    with torch.no_grad():
        latents = rollout(policy, policy.encode(PROMPTS), draw_noise(policy, generators(False), 2)).latents
    for ours, theirs in zip(latents[1:-1], states[:-1], strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert (latents[-1] - states[-1]).abs().max() < 0.2  # 5 × √0.00042 × … of noise
