"""Stage 4: latent consistency distillation (Luo et al. 2023), with guidance embedding."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from kedge.worlds.emoji.build.loop import Schedule, autocast, follow, train
from kedge.worlds.emoji.build.pool import Pool, tokenize
from kedge.worlds.emoji.networks import GUIDANCE_WIDTH, make_scheduler, make_unet

SKIP, HUBER, OMEGA = 120, 1e-3, (0.0, 4.0)
SLOW = 0.985  # decay of the target network; a quick target feeds a short training its own early errors


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


@dataclass
class Distillation:
    """What the loss needs: the frozen teacher, the student, and the student's slow follower that sets the target."""

    teacher: UNet2DConditionModel
    student: UNet2DConditionModel
    alphas: Tensor

    def __post_init__(self) -> None:
        self.target = copy.deepcopy(self.student).requires_grad_(False)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α_t and σ_t, each ``[B, 1, 1, 1]``."""
        a = self.alphas[t][:, None, None, None]
        return a.sqrt(), (1 - a).sqrt()

    def consistency(self, network: UNet2DConditionModel, x: Tensor, t: Tensor, w: Tensor, context: Tensor) -> Tensor:
        """f(x_t, ω, c, t), Eq. (7), with the boundary scaling of diffusers' LCMScheduler (σ_data = 0.5)."""
        alpha, sigma = self.alpha_sigma(t)
        v: Tensor = network(x, t, context, timestep_cond=w, return_dict=False)[0].float()
        s = (t * 10.0)[:, None, None, None]
        skip, out = 0.25 / (s**2 + 0.25), s / (s**2 + 0.25).sqrt()
        return skip * x + out * (alpha * x - sigma * v)

    def ddim(self, x: Tensor, t: Tensor, t_next: Tensor, omega: Tensor, context: Tensor, nothing: Tensor) -> Tensor:
        """One step of the guided teacher from t to t_next, Eq. (5)."""
        both = self.teacher(torch.cat([x, x]), torch.cat([t, t]), torch.cat([context, nothing]), return_dict=False)
        with_caption, without = both[0].float().chunk(2)
        v: Tensor = (1 + omega) * with_caption - omega * without  # Eq. (4), on v as on ε: both are linear
        (alpha, sigma), (alpha_next, sigma_next) = self.alpha_sigma(t), self.alpha_sigma(t_next)
        return alpha_next * (alpha * x - sigma * v) + sigma_next * (alpha * v + sigma * x)


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
    distillation = Distillation(teacher, student, make_scheduler("ddim").alphas_cumprod.to(device))
    empty = tokenize(tokenizer, [""]).to(device)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        follow(distillation.target, student, SLOW)
        index = pool.pick(schedule.batch, generator)
        x0, tokens = latents[index].float(), pool.tokens[index].long()
        t = torch.randint(1, 51, (len(index),), generator=generator, device=device) * 20 - 1  # 19, …, 999
        t_next = (t - SKIP).clamp(min=0)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        omega = OMEGA[0] + (OMEGA[1] - OMEGA[0]) * torch.rand(len(index), generator=generator, device=device)
        w = guidance_embedding(omega)
        alpha, sigma = distillation.alpha_sigma(t)
        x = (alpha * x0 + sigma * noise).to(memory_format=torch.channels_last)
        with autocast(device):
            with torch.no_grad():
                context = text(tokens).last_hidden_state
                nothing = text(empty).last_hidden_state.expand(len(index), -1, -1)
                x_next = distillation.ddim(x, t, t_next, omega[:, None, None, None], context, nothing)
                target = distillation.consistency(distillation.target, x_next, t_next, w, context)
                target = torch.where((t_next == 0)[:, None, None, None], x_next, target)
            predicted = distillation.consistency(student, x, t, w, context)
        huber = (((predicted - target) ** 2 + HUBER**2).sqrt() - HUBER).flatten(1).mean(1)
        return huber.mean(), {}

    followers = {"unet": distillation.target}
    average = train("lcm", {"unet": student}, loss, schedule, folder, seed=seed, device=device, followers=followers)
    student.load_state_dict(average["unet"])
    return student
