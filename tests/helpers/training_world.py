"""A generator, an algorithm and rewards small enough that whole training runs take a second.

They enter by the same doors as a user's own: ``model.kind=helpers.training_world:load``,
``algorithm.name=helpers.training_world:Climb``, ``reward=helpers.training_world:redness``.
"""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from helpers.adapter_switch import AdapterSwitch
from kedge.algorithms.base import Context, Loss, Needs
from kedge.algorithms.workload import Passes, Workload
from kedge.gaussian import Gaussian
from kedge.policies.base import Backprop, Conditioning, rollout


def words(prompts: Sequence[str]) -> Tensor:
    """Eight numbers for each prompt, from its letters, ``[B, 8]``."""
    return torch.stack(
        [torch.randn(8, generator=torch.Generator().manual_seed(zlib.crc32(p.encode()))) for p in prompts]
    )


class Paint(AdapterSwitch):
    """K-step generator of 8×8 pictures: latents are the pictures, a linear base plus a low-rank adapter.

    Attributes:
        calls: how many latents the network has seen.
    """

    latent_shape = (3, 8, 8)
    dtype = torch.float32

    def __init__(self, steps: int, device: torch.device, rank: int):
        self.steps, self.device, self.calls = steps, torch.device(device), 0
        size = 3 * 8 * 8
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.base = nn.Linear(size + 8, size).requires_grad_(False).to(device)
        self.down = nn.Linear(size + 8, rank, bias=False).to(device)
        self.up = nn.Linear(rank, size, bias=False).to(device)
        nn.init.zeros_(self.up.weight)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        return Conditioning({"words": words(prompts).to(self.device)})

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        self.calls += len(x)
        seen = torch.cat([x.flatten(1), cond.tensors["words"]], dim=1)
        out = self.base(seen) + (self.up(self.down(seen)) if self._adapted else 0)
        std = torch.tensor(0.0 if k == 1 else 0.3, device=self.device)
        return Gaussian(torch.tanh(out).view_as(x), std)

    def predicted_x0(self, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        return self.transition(x, k, cond).mean

    def decode(self, x0: Tensor) -> Tensor:
        return (x0 / 2 + 0.5).clamp(0, 1)

    def trainable(self) -> Iterable[nn.Parameter]:
        return [self.down.weight, self.up.weight]


def load(name: str, *, steps: int, lora: Any, device: Any, **options: Any) -> Paint:
    """What ``model.kind`` may name."""
    return Paint(steps, device, lora.rank if lora else 1)


@dataclass(frozen=True)
class Climb:
    """Climbs the reward's own gradient, held to the base by a penalty.

    Attributes:
        beta: weight of the penalty.
        updates_per_batch: optimizer steps from one batch of experience.
        poison: from this update on, every loss is NaN; -1 never.
        interrupt: at this update, the process sends itself a signal; -1 never.
        signal: which.
    """

    needs: ClassVar[Needs] = Needs(differentiable_reward=True)

    beta: float = 0.1
    updates_per_batch: int = 1
    poison: int = -1
    interrupt: int = -1
    signal: str = "SIGINT"

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        for _ in range(self.updates_per_batch):
            yield self._losses(context)

    def workload(self, batch_size: int, accumulation: int, steps: int, backprop: Backprop) -> Workload:
        samples = batch_size * accumulation * self.updates_per_batch
        last_steps = steps if backprop.last_steps is None else min(steps, backprop.last_steps)
        return Workload(
            samples, samples, self.updates_per_batch, Passes(forward=samples * steps, backward=samples * last_steps)
        )

    def _losses(self, context: Context) -> Iterator[Loss]:
        number = int(context.state.get("updates", 0))
        context.state["updates"] = number + 1
        if number == self.interrupt:
            os.kill(os.getpid(), getattr(signal, self.signal))
        for _ in range(context.accumulation):
            prompts = context.prompts.take(context.batch_size)
            noise = context.noise(context.batch_size)
            drift: list[Tensor] = []
            trajectory = rollout(context.policy, context.encode(prompts), noise, context.backprop)
            rewards = context.reward(context.policy.decode(trajectory.x0), prompts)
            drift = [p.mean.square().flatten(1).mean(1) for p in trajectory.transitions]
            divergence = torch.stack(drift).sum(0)
            value = -(rewards - self.beta * divergence).mean() / context.accumulation
            if 0 <= self.poison <= number:
                value = value * float("nan")
            yield Loss(value, {"reward": rewards, "divergence": divergence})


def redness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """How red a picture is."""
    return images[:, 0].flatten(1).mean(1) - images[:, 1].flatten(1).mean(1)


redness.differentiable = True  # type: ignore[attr-defined]


def lightness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """How light it is."""
    return images.flatten(1).mean(1)


lightness.differentiable = True  # type: ignore[attr-defined]


def darkness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """How dark it is."""
    return 1 - images.flatten(1).mean(1)


def sometimes(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """A number the first ``sometimes.good`` times."""
    sometimes.good -= 1  # type: ignore[attr-defined]
    return images.flatten(1).mean(1) * (1 if sometimes.good >= 0 else float("nan"))  # type: ignore[attr-defined]


sometimes.good = 0  # type: ignore[attr-defined]


def flat(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The same for all pictures."""
    return images.flatten(1).sum(1) * 0


flat.differentiable = True  # type: ignore[attr-defined]


def dimness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Darkness as a judge: made from nothing that others are made from, and it sees damage."""
    return darkness(images, prompts)


dimness.made_from, dimness.sees_damage = ("dimness",), True  # type: ignore[attr-defined]


def recipe(**changes: Any) -> dict[str, Any]:
    """A config's mapping for a run in this world; keywords like ``training__steps=3`` change it."""
    data: dict[str, Any] = {
        "model": {"name": "paint", "kind": "helpers.training_world:load", "steps": 3, "lora": {"rank": 4}},
        "reward": "helpers.training_world:redness",
        "algorithm": {"name": "helpers.training_world:Climb"},
        "prompts": {"source": "animals-45"},
        "optimizer": {"lr": 1e-2},
        "training": {"steps": 6, "batch_size": 2, "device": "cpu"},
        "watch": {"samples_every": 0, "tensorboard": False},
        "checkpoint": {"every": 2, "keep": 2},
    }
    for key, value in changes.items():
        block, _, name = key.partition("__")
        if name:
            data[block][name] = value
        else:
            data[block] = value
    return data
