"""Stage 3: the diffusion model and its text encoder, trained together with min-SNR weights."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool, tokenize
from kedge.worlds.emoji.networks import make_scheduler, make_text_encoder, make_unet

DROP, GAMMA = 0.1, 5.0


def train_diffusion(
    pool: Pool,
    latents: Tensor,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """v-prediction on ``latents`` ``[N, 16, 8, 8]`` (scaled to unit variance) of ``pool``."""
    torch.manual_seed(seed)
    unet = make_unet().to(device, memory_format=torch.channels_last)
    text = make_text_encoder(tokenizer).to(device)
    text.load_state_dict(clip.text_model.state_dict())  # words that already mean something save many steps
    alphas = make_scheduler("ddim").alphas_cumprod.to(device)
    empty = tokenize(tokenizer, [""]).to(device)[0]

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = pool.pick(schedule.batch, generator)
        x0, tokens = latents[index].float(), pool.tokens[index].long()
        dropped = torch.rand(len(index), generator=generator, device=device) < DROP
        tokens = torch.where(dropped[:, None], empty, tokens)
        t = torch.randint(1000, (len(index),), generator=generator, device=device)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        a = alphas[t][:, None, None, None]
        with autocast(device):
            context = text(tokens).last_hidden_state
            x = (a.sqrt() * x0 + (1 - a).sqrt() * noise).to(memory_format=torch.channels_last)
            predicted = unet(x, t, context, return_dict=False)[0]
        snr = alphas[t] / (1 - alphas[t])
        v = a.sqrt() * noise - (1 - a).sqrt() * x0
        error = ((predicted.float() - v) ** 2).flatten(1).mean(1)
        return (error * snr.clamp(max=GAMMA) / (snr + 1)).mean(), {"error": error.mean()}

    average = train("diffusion", {"unet": unet, "text": text}, loss, schedule, folder, seed=seed, device=device)
    unet.load_state_dict(average["unet"])
    text.load_state_dict(average["text"])
    return unet, text
