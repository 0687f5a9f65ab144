"""Stage: the decoder once more, on latents such as the consistency model leaves.

A generator's latents are a little off everywhere, and not by white noise. Half of a batch are true latents, which must
stay as sharp as they are; the other half went through the consistency model: noised, drawn, noised less, drawn again.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from kedge.worlds.emoji.build.lcm import Distillation, guidance_embedding
from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool
from kedge.worlds.emoji.build.vae import LATENT_NOISE, difference, gallery, weights
from kedge.worlds.emoji.networks import make_scheduler
from kedge.worlds.emoji.scenes import render_packed

EARLY, LATE = (379, 499, 639), (139, 259)  # timesteps of the two draws; 139 and 259 are the last of 8 and of 4 steps
OMEGA = 1.0


def train_polish(
    vae: AutoencoderKL,
    pool: Pool,
    student: UNet2DConditionModel,
    text: CLIPTextModel,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> AutoencoderKL:
    """Train the decoder of ``vae``; the encoder, the consistency model and the text encoder stay as they are.

    Args:
        pool: scenes whose captions are right, which the consistency model draws again.
    """
    vae = vae.to(device, memory_format=torch.channels_last)
    student = student.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    distillation = Distillation(student, student, make_scheduler("ddim").alphas_cumprod.to(device))
    scale, scenes = vae.config.scaling_factor, gallery(pool, seed)
    decoder = {"decoder": vae.decoder, "quant": vae.post_quant_conv}

    def drawn_again(z: Tensor, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Unit-variance latents ``[B, 16, 8, 8]`` as the consistency model leaves them."""
        context = text(tokens).last_hidden_state
        w = guidance_embedding(torch.full((len(z),), OMEGA, device=device))
        for timesteps in (EARLY, LATE):
            chosen = torch.randint(len(timesteps), (len(z),), generator=generator, device=device)
            t = torch.tensor(timesteps, device=device)[chosen]
            alpha, sigma = distillation.alpha_sigma(t)
            noise = torch.randn(z.shape, generator=generator, device=device)
            noisy = (alpha * z + sigma * noise).to(memory_format=torch.channels_last)
            z = distillation.consistency(student, noisy, t, w, context)
        return z

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        half = schedule.batch // 2
        true = torch.randint(len(scenes), (half,), generator=generator, device=device)
        index = pool.pick(schedule.batch - half, generator)
        rows = torch.cat([scenes[true], pool.scenes[index]])
        images = (render_packed(rows) * 2 - 1).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            with torch.no_grad():
                z = scale * vae.encode(images).latent_dist.mean
                strength = torch.rand(half, 1, 1, 1, generator=generator, device=device) ** 2  # mostly little
                noise = torch.randn(z[:half].shape, generator=generator, device=device)
                again = drawn_again(z[half:], pool.tokens[index].long(), generator)
            latents = torch.cat([z[:half] + LATENT_NOISE * strength * noise, again])
            drawn = vae.decode(latents / scale).sample
        value, numbers = difference(drawn.float(), images, weights(rows, images))
        again_error = ((drawn[half:].float() - images[half:]) ** 2).mean()
        return value, numbers | {"drawn_again": again_error}

    average = train("polish", decoder, loss, schedule, folder, seed=seed, device=device)
    for name, module in decoder.items():
        module.load_state_dict(average[name])
    return vae
