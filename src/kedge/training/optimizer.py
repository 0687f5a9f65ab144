"""What one optimizer step is: micro-losses in, averaged and clipped gradients, moved weights out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from kedge.algorithms.base import Loss
from kedge.config import OptimizerConfig
from kedge.runs.history import Stretch, leaves
from kedge.training.processes import Processes


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    Attributes:
        metrics: averages over samples and processes, with ``loss``, ``gradient_norm`` and ``lr``.
        skipped: True if the gradient was not finite, and nothing moved.
    """

    metrics: dict[str, float]
    skipped: bool


class Optimizer:
    """Adam on the trainable parameters, with schedule, clipping, averaging over processes, and an optional EMA.

    Args:
        parameters: what moves.
        config: how.
        total_steps: the length of the run, for the schedule.
        processes: whom to average gradients with.
    """

    def __init__(
        self, parameters: Iterable[Parameter], config: OptimizerConfig, total_steps: int, processes: Processes
    ):
        self.parameters = [p for p in parameters if p.requires_grad]
        if not self.parameters:
            raise ValueError("the policy has no trainable parameters: is model.lora set?")
        self.config, self.processes = config, processes
        decay = {} if config.name == "adam" else {"weight_decay": config.weight_decay}
        make = _class(config.name)
        self._adam = make(self.parameters, lr=config.lr, betas=config.betas, eps=config.eps, **decay)
        self._total, self._steps = total_steps, 0
        self.ema = MovingAverage(self.parameters, config.ema) if config.ema else None

    def step(self, losses: Iterable[Loss]) -> StepResult:
        """Backward through each micro-loss as it comes, then move once; nothing moves if a gradient is not finite."""
        self._adam.zero_grad(set_to_none=True)
        metrics = self.processes.average(_accumulate(losses))
        self.processes.average_gradients(self.parameters)
        norm = float(self._clip())
        skipped = not math.isfinite(norm)
        lr = self._set_rate()
        if not skipped:
            self._adam.step()
            if self.ema:
                self.ema.update()
        self._adam.zero_grad(set_to_none=True)
        self._steps += 1  # a skipped step counts too: the schedule follows the run's steps
        return StepResult({**metrics, "gradient_norm": norm, "lr": lr}, skipped)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the parameters are what should be shown and exported: the EMA, if there is one."""
        return self.ema.applied() if self.ema else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly: weights, Adam's moments, the schedule, the EMA."""
        return {
            "weights": [p.detach() for p in self.parameters],
            "adam": self._adam.state_dict(),
            "steps": self._steps,
            "ema": self.ema.state_dict() if self.ema else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: if the adapter has another shape than the saved one.
        """
        shapes = [tuple(w.shape) for w in state["weights"]]
        if shapes != [tuple(p.shape) for p in self.parameters]:
            raise ValueError("the checkpoint's adapter has another shape: resume with the same model and model.lora")
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, state["weights"], strict=True):
                parameter.copy_(weight)
        # Rates and decays come from the config, which the user may have changed; the moments are the state.
        self._adam.load_state_dict({**self._adam.state_dict(), "state": state["adam"]["state"]})
        self._steps = state["steps"]
        if self.ema and state["ema"]:
            self.ema.load_state_dict(state["ema"])
        elif self.ema:  # switched on now: the average begins with what was trained, not with the fresh adapter
            self.ema = MovingAverage(self.parameters, self.ema.decay)

    def finite(self) -> bool:
        """Whether all parameters are finite."""
        return all(bool(parameter.isfinite().all()) for parameter in self.parameters)

    def _clip(self) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip or math.inf)

    def _set_rate(self) -> float:
        config = self.config
        lr = config.lr * schedule_factor(config.schedule, self._steps, config.warmup, self._total)
        for group in self._adam.param_groups:
            group["lr"] = lr
        return lr


def _class(name: str) -> Any:
    """The optimizer's class.

    Raises:
        ValueError: for 8-bit moments without the package that has them.
    """
    if name != "adamw8bit":
        return {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[name]
    try:
        return import_module("bitsandbytes").optim.AdamW8bit
    except ImportError as error:
        raise ValueError(
            "optimizer.name=adamw8bit needs the package bitsandbytes and a GPU: pip install bitsandbytes, or use "
            "optimizer.name=adamw (a LoRA's moments are small: 8 bytes for each trained number)"
        ) from error


def schedule_factor(schedule: str, step: int, warmup: int, total: int) -> float:
    """What the learning rate is multiplied by at ``step`` (from 0)."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "linear":
        return 1 - progress
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0


def schedule_jump(past: Stretch, now: Stretch) -> str | None:
    """A warning that the learning rate jumps, as its schedule is another or ends elsewhere; None if it does not."""
    names, steps, factors = [], [], []
    for stretch in (past, now):
        config = dict(leaves(stretch.config))
        names.append(str(config["optimizer.schedule"]))
        steps.append(int(config["training.steps"]))
        warmup = int(config["optimizer.warmup"])
        factors.append(schedule_factor(names[-1], now.after, warmup, total=steps[-1]))
    if math.isclose(*factors):
        return None
    cause = f"the {names[1]} schedule runs to training.steps: with {steps[1]} instead of {steps[0]} steps"
    if names[0] != names[1]:
        cause = f"the schedule is {names[1]} instead of {names[0]}:"
    return (
        f"{cause} the learning rate goes from {factors[0]:.2g} to {factors[1]:.2g} of optimizer.lr at step {now.after}"
    )


def _accumulate(losses: Iterable[Loss]) -> dict[str, float]:
    """Backward through each micro-loss as it comes; they add up to the step's loss.

    Metrics are means over samples: a micro-batch of three counts three times as much as one of a single sample.
    """
    total, sums, rows = 0.0, dict[str, float](), dict[str, int]()
    for loss in losses:
        loss.value.backward()
        total += loss.value.item()
        for name, value in loss.metrics.items():
            count = value.numel() if isinstance(value, Tensor) else 1
            sums[name] = sums.get(name, 0.0) + count * _mean(value)
            rows[name] = rows.get(name, 0) + count
    return {"loss": total, **{name: sums[name] / rows[name] for name in sums}}


def _mean(value: Tensor | float) -> float:
    return value.detach().float().mean().item() if isinstance(value, Tensor) else float(value)


class MovingAverage:
    """An exponential moving average of parameters, which samples and exports use.

    Args:
        parameters: what is averaged.
        decay: weight of the past; early steps use (1 + n) / (10 + n) where that is smaller, so that the start is
            forgotten soon.
    """

    def __init__(self, parameters: Sequence[Parameter], decay: float):
        self._parameters, self.decay = list(parameters), decay
        self._average = [p.detach().clone() for p in self._parameters]
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        self._updates += 1
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        for average, parameter in zip(self._average, self._parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)

    def applied(self) -> AbstractContextManager[None]:
        """Inside, the parameters hold the average."""
        return holding(self._parameters, self._average)

    def state_dict(self) -> dict[str, Any]:
        """The average and how many updates it has seen."""
        return {"average": self._average, "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved average."""
        copy_into(self._average, state["average"])
        self._updates = state["updates"]


@torch.no_grad()
def copy_into(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy values, keeping each target's device and dtype."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


@contextmanager
def holding(parameters: Sequence[Parameter], weights: Sequence[Tensor]) -> Iterator[None]:
    """Inside, the parameters have these weights; afterwards their own again."""
    own = [parameter.detach().clone() for parameter in parameters]
    copy_into(parameters, weights)
    try:
        yield
    finally:
        copy_into(parameters, own)
