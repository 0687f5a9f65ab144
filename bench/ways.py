"""What bench.sd15 and bench.flow share: one optimizer step, computed in several ways, timed and compared.

A way is a setting of Kedge, or a loop written from diffusers' parts. All start from the same weights, prompts and
noise, so that their gradients can be compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROMPT = "a photo of a fox riding a bike through the snow"
RESULTS = Path(__file__).parents[1] / "docs" / "results"
STRAIGHTFORWARD = "straightforward"  # the loop from diffusers' parts, against which all are measured
SHORTER, SAMPLED = "shorter", "sampled"
ON_AVERAGE = (SAMPLED, SHORTER)  # ways whose gradients are the others' in expectation only
DEPTH = 0.5  # of backprop.random_depth, where it is used

Step = Callable[..., None]  # takes a generator; Kedge's ways take another Backprop as well


@dataclass(frozen=True)
class Row:
    """What one way took.

    Attributes:
        seconds: of a step, the median; on one CPU thread the processor's time.
        peak: bytes in memory at the worst moment.
        gradient: the file with its first gradient; None where it has no exact one.
    """

    way: str
    batch: int
    seconds: float
    peak: float
    gradient: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the gradient's file is gone by then."""
        return asdict(self) | {"gradient": None}


class OnePrompt:
    """A source of prompts that has only one."""

    def take(self, n: int) -> list[str]:
        """``n`` times the same."""
        return [PROMPT] * n

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""


class PictureReward:
    """A function of images alone, as a reward with a gradient."""

    differentiable = True

    def __init__(self, name: str, function: Callable[[Any], Any]):
        self.name, self.function = name, function

    def __call__(self, images: Any, prompts: Any) -> Any:
        """``[B]`` from images ``[B, 3, H, W]``."""
        return self.function(images)


def start_from_one_adapter(weights: list[Any]) -> None:
    """Give every way the same adapter: A from one seed, and B away from 0, where the divergence has no gradient."""
    import torch

    first, second = torch.Generator().manual_seed(2), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in weights:
            if weight.shape[1] == 16:  # B: [out, rank]
                weight.copy_(0.01 * torch.randn(weight.shape, generator=second))
            else:
                weight.copy_(torch.randn(weight.shape, generator=first) / 16)


def timed_row(
    way: str,
    step: Step,
    weights: list[Any],
    *,
    device: str,
    steps: int,
    batch: int = 1,
    repeats: int = 1,
    gradient: Path | None = None,
    optimizer: Any = None,
) -> Row:
    """Time some steps of one way.

    Args:
        steps: K.
        repeats: timed steps, after one that warms up.
        gradient: the file for the first step's gradient; None writes none.
        optimizer: moves the weights after each step; None leaves them.
    """
    import torch

    from kedge.planning.timing import wait
    from kedge.policies.base import Backprop
    from kedge.training.meter import peak_memory

    place = torch.device(device)
    # One thread on a CPU that others use too: the processor's time is what the step took.
    clock = time.process_time if place.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter

    def timed(**options: Any) -> float:
        began = clock()
        for weight in weights:
            weight.grad = None
        step(torch.Generator().manual_seed(0), **options)
        if optimizer is not None:
            optimizer.step()
        wait(place)
        return clock() - began

    timed()  # warms up
    if gradient is not None:
        torch.save([weight.grad.cpu() for weight in weights], gradient)
    if way == SHORTER:  # each depth that may be drawn, as often as it is
        seconds = sum(share * timed(backprop=depth) for share, depth in Backprop(random_depth=DEPTH).depths(steps))
    else:
        seconds = statistics.median(timed() for _ in range(repeats))
    return Row(way, batch, seconds, peak_memory(place), None if gradient is None else str(gradient))


def differences(rows: list[Row]) -> dict[str, float]:
    """How far each way's gradient is from the straightforward loop's of the same batch, relative to its length."""
    import torch

    def gradient(row: Row) -> torch.Tensor:
        return torch.cat([g.flatten().double() for g in torch.load(str(row.gradient))])

    columns = {}
    for row in rows:
        loop = loop_of(rows, row.batch)
        if row.gradient and loop and loop is not row:
            first = gradient(loop)
            columns[f"{row.way}, {row.batch}"] = ((gradient(row) - first).norm() / first.norm()).item()
    return columns


def loop_of(rows: list[Row], batch: int) -> Row | None:
    """The straightforward loop with this batch."""
    return next((row for row in rows if (row.way, row.batch) == (STRAIGHTFORWARD, batch)), None)
