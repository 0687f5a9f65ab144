"""The one training loop of the recipe: seeded, resumable, with an average of the weights and a log.

A stage keeps its exact state in ``STAGE.state.pt``, and the average of its weights in half precision, with the step
that it stands at, in ``STAGE.average.safetensors``: eight times smaller, for where the state cannot be kept.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kedge.files import replacing
from kedge.worlds.emoji.build.optimizer import AdamW, MuonWithAdamW

SAVE_SECONDS = 60


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns.

    Attributes:
        steps, batch: optimizer steps, and images in each.
        lr: the highest learning rate, after ``warmup`` steps and before the cosine decay.
        muon: Muon's highest learning rate for the matrices, which ``lr`` is then not for; None trains all by AdamW.
        ema: decay of the average of the weights, which is what is kept.
    """

    steps: int
    batch: int
    lr: float
    warmup: int = 200
    ema: float = 0.999
    weight_decay: float = 0.01
    muon: float | None = None

    def fraction(self, step: int) -> float:
        """Of the highest rate: linear warm-up, then a cosine down to 2 %."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def optimizer(self, modules: Sequence[nn.Module], device: torch.device) -> AdamW | MuonWithAdamW:
        """For the trainable weights of ``modules``."""
        if self.muon is None:
            return AdamW(modules, self.lr, self.weight_decay, fused=device.type == "cuda")
        return MuonWithAdamW(modules, self.muon, self.lr, self.weight_decay)


def state_file(folder: Path, name: str) -> Path:
    """Where a training keeps how far it has come."""
    return folder / f"{name}.state.pt"


def average_file(folder: Path, name: str) -> Path:
    """Where a training keeps the average of its weights, in half precision."""
    return folder / f"{name}.average.safetensors"


def save_average(average: dict[str, dict[str, Tensor]], step: int, file: Path) -> None:
    """Write an average in half precision, with the step that it stands at; whole or not at all."""
    tensors = {}
    for key, state in average.items():
        for name, value in state.items():
            tensors[f"{key}/{name}"] = (value.half() if value.is_floating_point() else value).cpu().contiguous()
    with replacing(file) as draft:
        save_file(tensors, draft, metadata={"step": str(step)})


def standing(folder: Path, name: str) -> int:
    """The step that a training in ``folder`` has come to; 0 where none has begun."""
    file = average_file(folder, name)
    if not file.exists():
        return 0
    with safe_open(file, "pt") as opened:
        return int(opened.metadata()["step"])


@dataclass
class Training:
    """All that a training changes: what a state file holds.

    Attributes:
        modules: the networks that learn, by name.
        followers: networks of the same shape as the modules of their names, which the loss moves by its own rule.
        average: of each module's weights, float32.
    """

    modules: dict[str, nn.Module]
    followers: dict[str, nn.Module]
    optimizer: AdamW | MuonWithAdamW
    generator: torch.Generator
    average: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    step: int = 0

    def __post_init__(self) -> None:
        self._average_from_modules()

    def _average_from_modules(self) -> None:
        for key, module in self.modules.items():
            state = module.state_dict()
            self.average[key] = {part: value.detach().clone().float() for part, value in state.items()}

    def save(self, folder: Path, name: str) -> None:
        """The exact state, and the average beside it; each whole or not at all."""
        state = {
            "modules": _state_dicts(self.modules),
            "followers": _state_dicts(self.followers),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "average": self.average,
            "step": self.step,
        }
        with replacing(state_file(folder, name)) as draft:
            torch.save(state, draft)
        save_average(self.average, self.step, average_file(folder, name))

    def go_on(self, folder: Path, name: str, seed: int) -> str:
        """From the state in ``folder``, or from the average where only that is left; says which, "" for neither."""
        if state_file(folder, name).exists():
            self._from_state(
                torch.load(state_file(folder, name), map_location=self.generator.device, weights_only=True)
            )
            return f"{name}: going on from step {self.step}"
        if average_file(folder, name).exists():
            self._from_average(average_file(folder, name))
            self.generator.manual_seed(seed + self.step)  # where it stood is lost with the state
            return f"{name}: going on from the average at step {self.step}; the optimizer starts anew"
        return ""

    def _from_state(self, state: dict[str, Any]) -> None:
        for key, module in self.modules.items():
            module.load_state_dict(state["modules"][key])
        for key, follower in self.followers.items():
            follower.load_state_dict(state["followers"][key])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.average, self.step = state["average"], state["step"]

    def _from_average(self, file: Path) -> None:
        with safe_open(file, "pt") as opened:
            self.step = int(opened.metadata()["step"])
            for key, module in self.modules.items():
                module.load_state_dict({part: opened.get_tensor(f"{key}/{part}") for part in module.state_dict()})
        self._average_from_modules()
        for key, follower in self.followers.items():
            follower.load_state_dict(self.average[key])


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
    followers: dict[str, nn.Module] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, Tensor]]:
    """Train ``modules`` on ``loss(generator)`` and return the averaged state dict of each.

    A state file in ``folder`` is written every minute; a later call with the same arguments goes on from it, to the
    same weights. Where only the average is left, it goes on from that, with a new optimizer and other pictures.

    Args:
        followers: networks of the same shape as the modules of their names, which ``loss`` moves by its own rule; they
            are kept with the state, and start from the average where only that is left.
    """
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer, generator = schedule.optimizer(list(modules.values()), device), torch.Generator(device)
    training = Training(modules, followers or {}, optimizer, generator.manual_seed(seed))
    folder.mkdir(parents=True, exist_ok=True)
    if words := training.go_on(folder, name, seed):
        say(words)
    log_file, start = folder / f"{name}.jsonl", training.step
    began = saved = time.monotonic()
    for step in range(start, schedule.steps):
        optimizer.set_rate(schedule.fraction(step))
        value, numbers = loss(generator)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        _follow(training.average, modules, min(schedule.ema, (1 + step) / (10 + step)))
        if step % 50 == 0 or step + 1 == schedule.steps:
            record = {"step": step, "loss": float(value.detach())}
            for key, number in numbers.items():
                record[key] = float(number)
            record["images_per_second"] = (step + 1 - start) * schedule.batch / (time.monotonic() - began)
            with log_file.open("a") as log:
                log.write(json.dumps(record) + "\n")
            if step % 500 == 0 or step + 1 == schedule.steps:
                say(f"{name}: step {step}/{schedule.steps}, " + ", ".join(f"{k} {v:.4g}" for k, v in record.items()))
        if time.monotonic() - saved > SAVE_SECONDS:
            training.step = step + 1
            training.save(folder, name)
            saved = time.monotonic()
    training.step = schedule.steps
    training.save(folder, name)
    return training.average


def _state_dicts(modules: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {key: module.state_dict() for key, module in modules.items()}


@torch.no_grad()
def _follow(average: dict[str, dict[str, Tensor]], modules: dict[str, nn.Module], decay: float) -> None:
    for key, module in modules.items():
        slow, quick = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                slow.append(average[key][name])
                quick.append(value.float())
        torch._foreach_lerp_(slow, quick, 1 - decay)


@torch.no_grad()
def follow(slow: nn.Module, quick: nn.Module, decay: float) -> None:
    """Move the weights of ``slow`` towards those of ``quick`` by 1 − ``decay`` of the way."""
    torch._foreach_lerp_(list(slow.parameters()), list(quick.parameters()), 1 - decay)
