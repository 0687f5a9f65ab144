"""Stages 1 and 2: the autoencoder, then a sharper decoder for the same latents.

Squared error of pixels and of edges, sprites' pixels weighed more (the renderer knows which they are), and a light pull
towards a smooth latent. It learns true scenes, heaps of sprites (more to learn from each), and as many scenes with an
activity as would never come up by chance: their props are what alignment asks for, and a world that cannot represent a
bike cannot reward one. Captions play no part here, so the activities of held-out animals may be among them.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from kedge.worlds.emoji.atlas import SIZES, SPRITES
from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool, encode_scenes
from kedge.worlds.emoji.captions import BACKGROUNDS, activity_prompts, parse
from kedge.worlds.emoji.networks import make_vae
from kedge.worlds.emoji.scenes import MAX_LAYERS, NO_LAYER, SIDE, VARIANTS, Layer, Scene, compose, pack, render_packed

EDGES, ABSOLUTE, KL = 2.0, 0.1, 1e-5
SPRITES_WEIGH = 5.0  # times as much as the background, which is one of few pictures
SPRITE = 0.02  # a pixel that differs by more than this from the background, in [-1, 1], belongs to a sprite
LATENT_NOISE = 0.2
ACTIVE, HEAPED = 0.7, 0.5  # scenes with an activity, and heaps, for each true scene


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


def gallery(pool: Pool, seed: int) -> Tensor:
    """Packed scenes ``[N, 16]`` for the autoencoder: the pool's, some with an activity, some heaps."""
    rng = random.Random(seed)
    active = [parse(prompt) for prompt in activity_prompts()]
    acting = pack([compose(rng.choice(active), rng) for _ in range(int(ACTIVE * len(pool)))])
    heaps = pack([heap(rng) for _ in range(int(HEAPED * len(pool)))])
    return torch.cat([pool.scenes, acting.to(pool.scenes.device), heaps.to(pool.scenes.device)])


def weights(scenes: Tensor, images: Tensor) -> Tensor:
    """``[B, 1, 32, 32]``: ``SPRITES_WEIGH`` where a sprite covers the background, 1 elsewhere; images in [-1, 1]."""
    bare = scenes.clone()
    bare[:, 1:] = torch.tensor(NO_LAYER * MAX_LAYERS, dtype=bare.dtype, device=bare.device)
    ground = render_packed(bare) * 2 - 1
    covered = (images - ground).abs().sum(1, keepdim=True) > SPRITE
    return 1 + (SPRITES_WEIGH - 1) * covered.float()


def difference(drawn: Tensor, images: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the autoencoder minimises, in [-1, 1]: squared error of pixels and edges, and a little absolute error.

    ``weight`` ``[B, 1, 32, 32]`` counts for pixels, not for edges; ``pixels`` of the numbers is unweighted.
    """
    error = drawn - images
    pixels, outline = (weight * error**2).mean(), (edges(error) ** 2).mean()
    value = pixels + EDGES * outline + ABSOLUTE * (weight * error.abs()).mean()
    return value, {"pixels": (error**2).mean(), "edges": outline}


def train_vae(pool: Pool, schedule: Schedule, folder: Path, *, seed: int, device: torch.device) -> AutoencoderKL:
    """Train, then set ``scaling_factor`` so that latents have unit variance."""
    torch.manual_seed(seed)
    vae = make_vae().to(device, memory_format=torch.channels_last)
    scenes = gallery(pool, seed)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = torch.randint(len(scenes), (schedule.batch,), generator=generator, device=device)
        images = (render_packed(scenes[index]) * 2 - 1).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            posterior = vae.encode(images).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator, device=device)
            drawn = vae.decode(posterior.mean + posterior.std * noise).sample
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        value, numbers = difference(drawn.float(), images, weights(scenes[index], images))
        return value + KL * kl, numbers | {"kl": kl}

    average = train("vae", {"vae": vae}, loss, schedule, folder, seed=seed, device=device)
    vae.load_state_dict(average["vae"])
    latents = encode_scenes(vae, pool.scenes[:4096])
    vae.register_to_config(scaling_factor=float(1 / latents.float().std()))
    return vae


def train_decoder(
    vae: AutoencoderKL,
    pool: Pool,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> AutoencoderKL:
    """Sharpen the decoder on the autoencoder's scenes, from latents with noise such as a generator leaves.

    The encoder stays, so the models that learn its latents may train meanwhile.
    """
    vae = vae.to(device, memory_format=torch.channels_last)
    scale, scenes = vae.config.scaling_factor, gallery(pool, seed)
    decoder = {"decoder": vae.decoder, "quant": vae.post_quant_conv}

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = torch.randint(len(scenes), (schedule.batch,), generator=generator, device=device)
        images = (render_packed(scenes[index]) * 2 - 1).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            with torch.no_grad():
                z = vae.encode(images).latent_dist.mean
            strength = torch.rand(len(z), 1, 1, 1, generator=generator, device=device) ** 2  # mostly little
            noise = torch.randn(z.shape, generator=generator, device=device)
            drawn = vae.decode(z + LATENT_NOISE * strength * noise / scale).sample
        return difference(drawn.float(), images, weights(scenes[index], images))

    average = train("decoder", decoder, loss, schedule, folder, seed=seed, device=device)
    for name, module in decoder.items():
        module.load_state_dict(average[name])
    return vae
