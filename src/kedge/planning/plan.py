"""What a run would take, computed before any weights are loaded: memory, time and disk, a line for each fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import torch

from kedge.algorithms.strength import NATS, Priced, verdict_at_load
from kedge.config import RunConfig
from kedge.config.workload import workload_of
from kedge.devices import find_device
from kedge.planning.datasheet import H100, seconds_on
from kedge.planning.description import describe_run
from kedge.planning.looks import Looks
from kedge.planning.operations import OperationCost
from kedge.planning.step import StepCost, count_step
from kedge.planning.timing import Elapsed, seconds
from kedge.planning.watching import PROMPT
from kedge.policies.known_prompts import too_many
from kedge.units import GB, MB, YEAR, duration

LARGE = 1e12  # floating-point operations of a step from which the time on a GPU is shown, too


def plan(config: RunConfig) -> Iterator[str]:
    """What :func:`kedge.planning.description.describe_run` says, and memory, time and disk.

    Raises:
        ValueError: for a model or prompts that cannot be.
    """
    description = describe_run(config)
    yield from description.lines
    forecast = forecast_of(config, description.looks, description.longest or PROMPT)
    if forecast is None:
        yield "memory and time: unknown before the model's own files are here (of a policy of your own, always)"
    else:
        yield from _forecast(config, forecast)
        if config.memory.drop_text_encoders and description.known is not None:
            yield _known_prompts(config, description.known, forecast.cost.prompt)


@dataclass(frozen=True)
class Forecast:
    """What a run will take on each process.

    Attributes:
        device: ``cpu`` or ``cuda``.
        cost: what it was derived from.
        peak: bytes at the worst moment: of the process on a CPU, of tensors on a GPU.
        present: whether the device is here.
        seconds: for one optimizer step; None if the device is not here.
        watching: seconds of all evaluations and sample grids, by the first process; None where none is.
        disk: bytes of checkpoints and exported adapters.
    """

    device: str
    cost: StepCost
    peak: float
    present: bool
    seconds: Elapsed | None
    watching: Elapsed | None
    disk: float


def forecast_of(config: RunConfig, looks: Looks | None = None, prompt: str = PROMPT) -> Forecast | None:
    """None for a policy of the user's own, and for a model of which nothing is known until its files are here.

    Args:
        looks: how often it is evaluated and shown; None if that is not known, or does not matter.
        prompt: the longest.
    """
    base = psutil.Process().memory_info().rss
    cost = count_step(config, prompt)
    if cost is None:
        return None
    device = find_device(config.training.device, must_exist=False)
    trained = cost.networks.trained * 4
    average = trained if config.optimizer.ema else 0
    moments = trained * (0.5 if config.optimizer.name == "adamw8bit" else 2)
    watched = cost.look.peak if config.watch.samples_every or config.watch.evaluate_every else 0
    peak = _peak(config, cost, moments + average, watched)
    if device.type == "cpu":
        loading = cost.networks.bytes + cost.networks.largest_file
        peak = base + max(peak + _cached_prompts(config, cost), loading)
    present = device.type != "cuda" or torch.cuda.is_available()
    return Forecast(
        device=device.type,
        cost=cost,
        peak=peak,
        present=present,
        seconds=seconds(cost.step, device) if present else None,
        watching=_seconds_to_watch(config, cost, looks, device) if present else None,
        disk=(trained * 3 + average) * (config.checkpoint.keep + 1) + 2 * trained,
    )


def _peak(config: RunConfig, cost: StepCost, optimizer: float, watched: float) -> float:
    """Bytes on the device at the worst moment: a step, an evaluation, or a text encoder at work."""
    networks = cost.networks
    held = networks.bytes + optimizer
    at_work = held + networks.unpacked + max(cost.step.peak, watched)
    encoding = max(networks.waiting, default=0)
    # Text encoders that are dropped had the device to themselves, before training.
    return max(at_work, encoding if config.memory.drop_text_encoders else held + encoding)


def _seconds_to_watch(config: RunConfig, cost: StepCost, looks: Looks | None, device: torch.device) -> Elapsed | None:
    if looks is None or not looks.drawn:
        return None
    return seconds(looks.cost(cost.look, config.watch.batch_size), device)


def _cached_prompts(config: RunConfig, cost: StepCost) -> int:
    if config.memory.drop_text_encoders:
        return config.memory.prompt_cache_mb * MB
    work = workload_of(config)
    seen = work.batches(config.training.steps) * work.samples
    return min(config.memory.prompt_cache_mb * MB, seen * cost.prompt)


def _forecast(config: RunConfig, forecast: Forecast) -> Iterator[str]:
    networks, step = forecast.cost.networks, forecast.cost.step
    parts = ", ".join(f"{name} {_count(count)}" for name, (count, _) in networks.sizes.items())
    yield f"parameters: {parts}; trained: {_count(networks.trained)}"
    if forecast.cost.unknown:
        yield f"not counted below, because nothing is known about it: {', '.join(forecast.cost.unknown)}"
    where = "the process" if forecast.device == "cpu" else "tensors on the GPU"
    yield (
        f"peak memory: {forecast.peak / GB:.2f} GB ({where}), of which weights {networks.bytes / GB:.2f} and "
        f"what a step needs besides {step.peak / GB:.2f}"
    )
    if forecast.device != "cpu":
        yield f"host memory: at least {networks.loading / GB:.2f} GB while the model is loaded"
    yield f"time: {_time(forecast, config.training.steps)}"
    if not forecast.present or (forecast.device == "cpu" and step.flops > LARGE):
        yield f"time on an {H100.name}: {_computed(step, config.training.steps)}"
    algorithm, price = config.algorithm.instance, forecast.cost.price
    if price is not None and isinstance(algorithm, Priced):
        yield _anchor(price, algorithm)
    yield f"disk: {max(1, round(forecast.disk / MB))} MB for checkpoints and adapters"


def _anchor(price: float, algorithm: Priced) -> str:
    """The penalty of a fixed drift, or a warning where it is too little or too much."""
    if doubt := verdict_at_load(algorithm, price):
        return f"warning: {doubt}"
    cost = f"anchor: {NATS:g} nats away from the base cost {price:.2g}"
    if algorithm.unit == 1:
        return f"{cost} in the reward's own numbers; its first pictures say whether that holds anything"
    return f"{cost} standard deviations of the reward"


def _time(forecast: Forecast, steps: int) -> str:
    step = forecast.cost.step
    if forecast.seconds is None:
        return f"{step.flops / 1e12:.3g} TFLOP a step; this machine has no such device to time"
    whole = forecast.seconds * steps
    watching = "" if forecast.watching is None else f", and {forecast.watching} to watch it"
    advice = ": use a GPU" if whole.best > YEAR and forecast.device == "cpu" else ""
    busy = "" if not whole.busy else "; other programs keep this machine busy: alone it is nearer the lesser"
    return (
        f"{forecast.seconds} a step ({step.flops / 1e12:.3g} TFLOP, the largest operations of each kind timed here"
        f"{busy}), {whole} for {steps} steps{watching}{advice}"
    )


def _computed(step: OperationCost, steps: int) -> str:
    each = seconds_on(H100, step)
    return (
        f"{duration(each)} a step, {duration(steps * each)} for {steps} steps without watching, computed from its data "
        "sheet, not measured"
    )


def _known_prompts(config: RunConfig, count: int, size: int) -> str:
    """What all prompts take when they are encoded, and whether that is allowed."""
    limit = config.memory.prompt_cache_mb * MB
    if count * size > limit:
        return f"refused: {too_many(1, size, count, limit)}"
    return f"encoded prompts: {count} take {count * size / GB:.2f} GB of the host's memory; text encoders are dropped"


def _count(number: int) -> str:
    return f"{number / 1e6:.4g} M"
