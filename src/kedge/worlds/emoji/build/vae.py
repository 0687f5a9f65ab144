"""Stage 1: the autoencoder. Squared error of pixels and of edges, and a light pull towards a smooth latent.

Half of its pictures are true scenes, half are heaps of sprites: more to learn from each.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from kedge.worlds.emoji.atlas import SIZES, SPRITES
from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool, encode_pool
from kedge.worlds.emoji.captions import BACKGROUNDS
from kedge.worlds.emoji.networks import make_vae
from kedge.worlds.emoji.scenes import MAX_LAYERS, SIDE, VARIANTS, Layer, Scene, pack, render_packed

EDGES, ABSOLUTE, KL = 2.0, 0.1, 3e-5
LATENT_NOISE = 0.2


def heap(rng: random.Random) -> Scene:
    """Any sprites of any size anywhere."""
    layers = []
    for _ in range(MAX_LAYERS):
        size = rng.choice(SIZES)
        x, y = (rng.randint(size // 2, SIDE - size // 2) for _ in range(2))
        layers.append(Layer(rng.choice(SPRITES), size, x, y))
    return Scene(rng.choice(BACKGROUNDS), rng.randrange(VARIANTS), tuple(layers))


def edges(x: Tensor) -> Tensor:
    """Horizontal and vertical differences, flattened together."""
    return torch.cat([(x[..., 1:] - x[..., :-1]).flatten(1), (x[..., 1:, :] - x[..., :-1, :]).flatten(1)], dim=1)


def difference(drawn: Tensor, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the autoencoder minimises, in [-1, 1]: squared error of pixels and edges, and a little absolute error."""
    error = drawn - images
    pixels, outline = (error**2).mean(), (edges(error) ** 2).mean()
    return pixels + EDGES * outline + ABSOLUTE * error.abs().mean(), {"pixels": pixels, "edges": outline}


def train_vae(pool: Pool, schedule: Schedule, folder: Path, *, seed: int, device: torch.device) -> AutoencoderKL:
    """Train, then set ``scaling_factor`` so that latents have unit variance."""
    torch.manual_seed(seed)
    vae = make_vae().to(device, memory_format=torch.channels_last)
    rng = random.Random(seed)
    scenes = torch.cat([pool.scenes, pack([heap(rng) for _ in range(len(pool))]).to(device)])

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = torch.randint(len(scenes), (schedule.batch,), generator=generator, device=device)
        images = render_packed(scenes[index]) * 2 - 1
        with autocast(device):
            posterior = vae.encode(images).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator, device=device)
            drawn = vae.decode(posterior.mean + posterior.std * noise).sample
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        value, numbers = difference(drawn.float(), images)
        return value + KL * kl, numbers | {"kl": kl}

    average = train("vae", {"vae": vae}, loss, schedule, folder, seed=seed, device=device)
    vae.load_state_dict(average["vae"])
    latents = encode_pool(vae, Pool(pool.specs[:4096], pool.scenes[:4096], pool.tokens[:4096]))
    vae.register_to_config(scaling_factor=float(1 / latents.float().std()))
    return vae


def train_decoder(
    vae: AutoencoderKL,
    pool: Pool,
    latents: Tensor,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> AutoencoderKL:
    """Sharpen the decoder on true scenes, from unit-variance ``latents`` with noise such as a generator leaves.

    The encoder stays, so the models that learn its latents may train meanwhile.
    """
    vae = vae.to(device)
    decoder = {"decoder": vae.decoder, "quant": vae.post_quant_conv}

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = pool.pick(schedule.batch, generator)
        z = latents[index].float()
        strength = LATENT_NOISE * torch.rand(len(z), 1, 1, 1, generator=generator, device=device)
        z = z + strength * torch.randn(z.shape, generator=generator, device=device)
        with autocast(device):
            drawn = vae.decode(z / vae.config.scaling_factor).sample
        return difference(drawn.float(), pool.images(index) * 2 - 1)

    average = train("decoder", decoder, loss, schedule, folder, seed=seed, device=device)
    for name, module in decoder.items():
        module.load_state_dict(average[name])
    return vae
