"""The one training loop of the recipe: seeded, resumable, with an average of the weights and a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kedge.files import replacing

SAVE_SECONDS = 60


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns.

    Attributes:
        steps, batch: optimizer steps, and images in each.
        lr: the highest learning rate, after ``warmup`` steps and before the cosine decay.
        ema: decay of the average of the weights, which is what is kept.
    """

    steps: int
    batch: int
    lr: float
    warmup: int = 200
    ema: float = 0.999
    weight_decay: float = 0.01

    def rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to 2 % of the highest rate."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def state_file(folder: Path, name: str) -> Path:
    """Where a training keeps how far it has come."""
    return folder / f"{name}.state.pt"


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 on an accelerator; on the CPU float32 is as fast for networks of this size."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type != "cpu")


def train(
    name: str,
    modules: dict[str, nn.Module],
    loss: Callable[[torch.Generator], tuple[Tensor, dict[str, Tensor]]],
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, Tensor]]:
    """Train ``modules`` on ``loss(generator)`` and return the averaged state dict of each.

    A state file in ``folder`` is written every minute; a later call with the same arguments goes on from it.
    """
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.lr, weight_decay=schedule.weight_decay, betas=(0.9, 0.99), fused=device.type == "cuda"
    )
    average = {key: {k: v.detach().clone().float() for k, v in m.state_dict().items()} for key, m in modules.items()}
    generator = torch.Generator(device).manual_seed(seed)
    kept, log_file = state_file(folder, name), folder / f"{name}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    if kept.exists():
        state = torch.load(kept, map_location=device, weights_only=True)
        for key, module in modules.items():
            module.load_state_dict(state["modules"][key])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"].cpu())
        average, start = state["average"], state["step"]
        say(f"{name}: going on from step {start}")

    def save(step: int) -> None:
        state = {
            "modules": {key: module.state_dict() for key, module in modules.items()},
            "optimizer": optimizer.state_dict(),
            "generator": generator.get_state(),
            "average": average,
            "step": step,
        }
        with replacing(kept) as draft:
            torch.save(state, draft)

    began = saved = time.monotonic()
    for step in range(start, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        value, numbers = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        _follow(average, modules, min(schedule.ema, (1 + step) / (10 + step)))
        if step % 50 == 0 or step + 1 == schedule.steps:
            record = {"step": step, "loss": float(value.detach())} | {
                key: float(number) for key, number in numbers.items()
            }
            record["images_per_second"] = (step + 1 - start) * schedule.batch / (time.monotonic() - began)
            with log_file.open("a") as log:
                log.write(json.dumps(record) + "\n")
            if step % 500 == 0 or step + 1 == schedule.steps:
                say(f"{name}: step {step}/{schedule.steps}, " + ", ".join(f"{k} {v:.4g}" for k, v in record.items()))
        if time.monotonic() - saved > SAVE_SECONDS:
            save(step + 1)
            saved = time.monotonic()
    save(schedule.steps)
    return average


@torch.no_grad()
def _follow(average: dict[str, dict[str, Tensor]], modules: dict[str, nn.Module], decay: float) -> None:
    for key, module in modules.items():
        own = module.state_dict()
        floating = [k for k in own if own[k].is_floating_point()]
        torch._foreach_lerp_([average[key][k] for k in floating], [own[k].float() for k in floating], 1 - decay)
