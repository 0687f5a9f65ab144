"""Stage 1: the autoencoder. Absolute error, error of the edges, and a light pull towards a smooth latent."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool, encode_pool
from kedge.worlds.emoji.networks import make_vae

EDGES, KL = 1.0, 3e-4


def edges(x: Tensor) -> Tensor:
    """Horizontal and vertical differences, flattened together."""
    return torch.cat([(x[..., 1:] - x[..., :-1]).flatten(1), (x[..., 1:, :] - x[..., :-1, :]).flatten(1)], dim=1)


def train_vae(pool: Pool, schedule: Schedule, folder: Path, *, seed: int, device: torch.device) -> AutoencoderKL:
    """Train, then set ``scaling_factor`` so that latents have unit variance."""
    torch.manual_seed(seed)
    vae = make_vae().to(device, memory_format=torch.channels_last)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        images = pool.images(pool.pick(schedule.batch, generator)) * 2 - 1
        with autocast(device):
            posterior = vae.encode(images).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator, device=device)
            drawn = vae.decode(posterior.mean + posterior.std * noise).sample
        drawn = drawn.float()
        pixels = (drawn - images).abs().mean()
        outline = (edges(drawn) - edges(images)).abs().mean()
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return pixels + EDGES * outline + KL * kl, {"pixels": pixels, "edges": outline, "kl": kl}

    average = train("vae", {"vae": vae}, loss, schedule, folder, seed=seed, device=device)
    vae.load_state_dict(average["vae"])
    latents = encode_pool(vae, Pool(pool.specs[:4096], pool.scenes[:4096], pool.tokens[:4096]))
    vae.register_to_config(scaling_factor=float(1 / latents.float().std()))
    return vae
