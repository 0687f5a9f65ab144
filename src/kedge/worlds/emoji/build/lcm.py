"""Stage 4: latent consistency distillation (Luo et al. 2023), with guidance embedding."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool, tokenize
from kedge.worlds.emoji.networks import GUIDANCE_WIDTH, make_scheduler, make_unet

SKIP, HUBER, OMEGA = 120, 1e-3, (0.0, 2.0)
SLOW = 0.998  # decay of the target network; a quick target feeds a short training its own early errors


def guidance_embedding(w: Tensor, width: int = GUIDANCE_WIDTH) -> Tensor:
    """Sinusoids of 1000 ω, as diffusers' LCM pipeline computes them; ``[B]`` → ``[B, width]``."""
    half = width // 2
    frequencies = torch.exp(
        torch.arange(half, device=w.device) * -(torch.log(torch.tensor(10000.0)).item() / (half - 1))
    )
    angles = 1000 * w[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def student_of(teacher: UNet2DConditionModel) -> UNet2DConditionModel:
    """The teacher with a guidance embedding that starts at zero effect."""
    student = make_unet(guidance_embedding=True)
    missing, unexpected = student.load_state_dict(teacher.state_dict(), strict=False)
    if unexpected or any("cond_proj" not in key for key in missing):
        raise ValueError(f"teacher and student differ beyond the guidance embedding: {missing} {unexpected}")
    torch.nn.init.zeros_(student.time_embedding.cond_proj.weight)
    return student


def train_lcm(
    pool: Pool,
    latents: Tensor,
    teacher: UNet2DConditionModel,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> UNet2DConditionModel:
    """Distil ``teacher`` into a consistency model of 1 to 8 steps, for any ω in ``OMEGA``."""
    torch.manual_seed(seed)
    teacher = copy.deepcopy(teacher).to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    text = text.to(device).eval().requires_grad_(False)
    student = student_of(teacher).to(device, memory_format=torch.channels_last)
    target_network = copy.deepcopy(student).requires_grad_(False)
    alphas = make_scheduler("ddim").alphas_cumprod.to(device)
    empty = tokenize(tokenizer, [""]).to(device)
    steps = torch.arange(1, 51, device=device) * 20 - 1  # 19, 39, …, 999, as LCMScheduler

    def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
        a = alphas[t][:, None, None, None]
        return a.sqrt(), (1 - a).sqrt()

    def consistency(network: UNet2DConditionModel, x: Tensor, t: Tensor, w: Tensor, context: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(t)
        v = network(x, t, context, timestep_cond=w, return_dict=False)[0].float()
        s = (t * 10.0)[:, None, None, None]  # boundary scaling of diffusers' LCMScheduler, σ_data = 0.5
        skip, out = 0.25 / (s**2 + 0.25), s / (s**2 + 0.25).sqrt()
        return skip * x + out * (alpha * x - sigma * v)

    @torch.no_grad()
    def follow() -> None:
        pairs = zip(target_network.parameters(), student.parameters(), strict=True)
        for slow, quick in pairs:
            slow.lerp_(quick, 1 - SLOW)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        follow()
        index = pool.pick(schedule.batch, generator)
        x0, tokens = latents[index].float(), pool.tokens[index].long()
        i = torch.randint(50, (len(index),), generator=generator, device=device)
        t, t_next = steps[i], (steps[i] - SKIP).clamp(min=0)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        omega = OMEGA[0] + (OMEGA[1] - OMEGA[0]) * torch.rand(len(index), generator=generator, device=device)
        w, scale = guidance_embedding(omega), omega[:, None, None, None]
        alpha, sigma = alpha_sigma(t)
        alpha_next, sigma_next = alpha_sigma(t_next)
        x = (alpha * x0 + sigma * noise).to(memory_format=torch.channels_last)
        with autocast(device):
            with torch.no_grad():
                context = text(tokens).last_hidden_state
                nothing = text(empty).last_hidden_state.expand(len(index), -1, -1)
                both = teacher(torch.cat([x, x]), torch.cat([t, t]), torch.cat([context, nothing]), return_dict=False)[
                    0
                ]
                with_caption, without = both.float().chunk(2)
                guided = (1 + scale) * with_caption - scale * without  # Eq. (4), on v as on ε: both are linear
                x_next = alpha_next * (alpha * x - sigma * guided) + sigma_next * (alpha * guided + sigma * x)  # DDIM
                target = torch.where(
                    (t_next == 0)[:, None, None, None], x_next, consistency(target_network, x_next, t_next, w, context)
                )
            predicted = consistency(student, x, t, w, context)
        huber = (((predicted - target) ** 2 + HUBER**2).sqrt() - HUBER).flatten(1).mean(1)
        return huber.mean(), {}

    average = train("lcm", {"unet": student}, loss, schedule, folder, seed=seed, device=device)
    student.load_state_dict(average["unet"])
    return student
