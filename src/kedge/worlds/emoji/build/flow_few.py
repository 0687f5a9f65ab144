"""Stage: the flow model of few steps: consistency distillation (Song et al. 2023) of a guided teacher.

What is published as few-step flow models takes no guidance, so it is distilled into the network at one strength.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor
from transformers import CLIPTokenizer, Qwen2Tokenizer, Qwen3Model

from kedge.worlds.emoji.build.flow import Captions
from kedge.worlds.emoji.build.flow_networks import Velocity, encode, shifted
from kedge.worlds.emoji.build.lcm import HUBER
from kedge.worlds.emoji.build.loop import Schedule, autocast, follow, train
from kedge.worlds.emoji.build.pool import Pool

LEVELS, SKIP = 48, 4  # noise levels that are trained, and how many of them one step of the teacher's passes
OMEGA = 1.0
SLOW = 0.99  # decay of the target network


class FlowDistillation:
    """What the loss needs: the frozen teacher, the student, and the student's slow follower that sets the target."""

    def __init__(self, teacher: ZImageTransformer2DModel, student: ZImageTransformer2DModel):
        self.teacher, self.student = Velocity(teacher), Velocity(student)
        self.target = Velocity(copy.deepcopy(student).requires_grad_(False))

    def consistency(self, velocity: Velocity, x: Tensor, sigma: Tensor, text: Tensor, lengths: Tensor) -> Tensor:
        """f(x_σ, σ) = x_σ − σ v: the picture that the network predicts, which is x itself at σ = 0."""
        return x - sigma[:, None, None, None] * velocity(x, sigma, text, lengths)

    def euler(self, x: Tensor, sigmas: tuple[Tensor, Tensor], text: Tensor, lengths: Tensor) -> Tensor:
        """One step of the guided teacher from one noise level to the next; ``text`` with captions, then without."""
        sigma, sigma_next = sigmas
        both = self.teacher(torch.cat([x, x]), torch.cat([sigma, sigma]), text, lengths)
        with_caption, without = both.chunk(2)
        v = (1 + OMEGA) * with_caption - OMEGA * without
        return x + (sigma_next - sigma)[:, None, None, None] * v


def train_flow_few(
    pool: Pool,
    latents: Tensor,
    teacher: ZImageTransformer2DModel,
    text: Qwen3Model,
    clip: CLIPTokenizer,
    tokenizer: Qwen2Tokenizer,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> ZImageTransformer2DModel:
    """Distil ``teacher`` into a network of 1 to 8 steps, with guidance of ``OMEGA`` in it."""
    torch.manual_seed(seed)
    teacher = teacher.to(device).eval().requires_grad_(False)
    text = text.to(device).eval().requires_grad_(False)
    student = copy.deepcopy(teacher).requires_grad_(True)
    distillation, captions = FlowDistillation(teacher, student), Captions.of(pool, clip, tokenizer)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        follow(distillation.target.network, student, SLOW)
        index = pool.pick(schedule.batch, generator)
        x0, row = latents[index].float(), captions.row[index]
        level = torch.randint(1, LEVELS + 1, (len(index),), generator=generator, device=device)
        sigma, sigma_next = shifted(level / LEVELS), shifted((level - SKIP).clamp(min=0) / LEVELS)
        noise = torch.randn(x0.shape, generator=generator, device=device)
        x = torch.lerp(x0, noise, sigma[:, None, None, None])
        with autocast(device):
            with torch.no_grad():
                rows = torch.cat([row, torch.zeros_like(row)])
                both, lengths = encode(text, captions.ids[rows]), captions.lengths[rows]
                context, own = both[: len(index)], lengths[: len(index)]
                x_next = distillation.euler(x, (sigma, sigma_next), both, lengths)
                target = distillation.consistency(distillation.target, x_next, sigma_next, context, own)
            predicted = distillation.consistency(distillation.student, x, sigma, context, own)
        huber = (((predicted - target) ** 2 + HUBER**2).sqrt() - HUBER).flatten(1).mean(1)
        return huber.mean(), {}

    networks, followers = {"network": student}, {"network": distillation.target.network}
    average = train("flow_few", networks, loss, schedule, folder, seed=seed, device=device, followers=followers)
    student.load_state_dict(average["network"])
    return student
