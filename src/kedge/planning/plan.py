"""What a run would do and take, told before any weights are loaded: a line for each fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from kedge.algorithms.workload import Workload
from kedge.config import ConfigError, RunConfig
from kedge.config.compatibility import check_experience, experience_warning
from kedge.config.workload import workload_of
from kedge.devices import find_device
from kedge.models import resolve_model
from kedge.planning.datasheet import H100, seconds_on
from kedge.planning.operations import OperationCost
from kedge.planning.step import StepCost, count_step
from kedge.planning.timing import Elapsed, seconds
from kedge.planning.watching import Looks, looks_of
from kedge.policies.families import network_calls
from kedge.prompts import UnreachableError
from kedge.rewards import Readiness, readiness
from kedge.rewards.description import describe
from kedge.rewards.sources import size_in_words
from kedge.training.prompt_sets import PromptSets
from kedge.units import GB, MB, YEAR, duration

LARGE = 1e12  # floating-point operations of a step that nobody wants to wait for on a CPU


def plan(config: RunConfig, timed: bool = True) -> Iterator[str]:
    """Model, prompts, samples, network passes, what is not on this machine yet, memory, time and disk.

    Args:
        timed: measure on this machine how long a step takes.

    Raises:
        ValueError: for a model or prompts that cannot be.
    """
    sets, prompts = _prompts(config)
    if config.model.family is not None:
        yield f"model: {_where(config.model.name)}"
    yield from prompts
    yield from _samples(config)
    looks = None if sets is None else looks_of(config, sets)
    if looks is not None:
        yield _watching(config, looks)
    yield from _rewards(config)
    forecast = forecast_of(config, looks, timed)
    if forecast is None:
        yield "memory and time: unknown before the model's own files are here (of a policy of your own, always)"
    else:
        yield from _forecast(config, forecast)


def _where(model: str) -> str:
    try:
        place = resolve_model(model)
    except FileNotFoundError as error:
        return f"not here yet. {error}"
    return str(place) if isinstance(place, Path) else f"{place}, from the Hugging Face hub or its cache here"


def _prompts(config: RunConfig) -> tuple[PromptSets | None, list[str]]:
    """None if they are not here."""
    try:
        sets = PromptSets(config, new=True)
        lines = [*sets.lines(), *(f"warning: {warning}" for warning in sets.warnings())]
        if warning := experience_warning(config, sets.train):
            lines.append(f"warning: {warning}")
    except UnreachableError as error:  # like a model that is not here: no reason not to plan
        return None, [f"prompts: not here yet. {error}"]
    return sets, lines


def _samples(config: RunConfig) -> Iterator[str]:
    """How much is sampled, scored and passed through the network, as the algorithm itself states."""
    work = workload_of(config)
    batches = work.batches(config.training.steps)
    samples = batches * work.samples
    yield (
        f"samples: {batches} batches × {work.samples} = {samples} on each process, {samples * config.model.steps} "
        f"sampling steps; optimizer steps on each batch: {work.updates}"
    )
    yield f"reward queries: {batches * work.queries} on each process"
    yield f"network passes: {_passes(config, work)}"
    try:
        check_experience(config)
    except ConfigError as error:
        yield f"refused on one process: {error}"


def _watching(config: RunConfig, looks: Looks) -> str:
    line = f"to watch it: {looks}"
    if not looks.drawn:
        return line
    steps = looks.drawn * config.model.steps
    return f"{line}, {steps} sampling steps, each beside the base's: {looks.passes(config)} network passes"


def _passes(config: RunConfig, work: Workload) -> str:
    """For one optimizer step, on average over a batch of experience."""
    if work.passes is None:
        return f"unknown, for {config.algorithm.name} does not state them (docs/extending.md, An algorithm)"
    kinds = {
        "forward": work.passes.forward,
        "backward": work.passes.backward,
        "of the reference": work.passes.reference,
    }
    parts = [f"{count / work.updates:.4g} {kind}" for kind, count in kinds.items() if count]
    model = config.model
    calls = network_calls(model.kind, model.omega, model.parts)
    guidance = f", each {calls} calls for guidance" if calls > 1 else ""
    return f"{', '.join(parts)} for each optimizer step, of one sample through one sampling step{guidance}"


def _rewards(config: RunConfig) -> Iterator[str]:
    """What is here of the rewards, and what has to be fetched before it can start."""
    state = {item.name: item for item in readiness()}
    missing: dict[str, int] = {}
    for text in (config.reward, *config.watch.metrics):
        for term in describe(text).terms:
            if term.source in (None, "emoji"):
                yield from _reward(state.get(f"{term.name}@emoji" if term.source else term.name))
            if term.source is None and term.name in state:
                missing |= {part.where: part.size for part in state[term.name].missing}
    if missing:
        yield f"downloads for rewards: {size_in_words(sum(missing.values()))} ({', '.join(missing)})"


def _reward(item: Readiness | None) -> Iterator[str]:
    if item is not None:
        yield f"reward {item.name}: {'ready' if item.ready else 'not here yet. ' + item.advice}"


@dataclass(frozen=True)
class Forecast:
    """What a run will take on each process.

    Attributes:
        device: ``cpu`` or ``cuda``.
        cost: what it was derived from.
        peak: bytes at the worst moment: of the process on a CPU, of tensors on a GPU.
        present: whether the device is here.
        seconds: for one optimizer step; None where it was not timed.
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


def forecast_of(config: RunConfig, looks: Looks | None = None, timed: bool = True) -> Forecast | None:
    """None for a policy of the user's own, and for a model of which nothing is known until its files are here.

    Args:
        looks: how often it is looked at; None if that is not known, or does not matter.
        timed: measure the seconds, if the device is here.
    """
    base = psutil.Process().memory_info().rss
    cost = count_step(config)
    if cost is None:
        return None
    device = find_device(config.training.device, must_exist=False)
    trained = cost.networks.trained * 4
    average = trained if config.optimizer.ema else 0
    moments = trained * (0.5 if config.optimizer.name == "adamw8bit" else 2)
    watched = cost.look.peak if config.watch.samples_every or config.watch.evaluate_every else 0
    peak = cost.networks.bytes + moments + average + max(cost.step.peak, watched)
    if device.type == "cpu":
        loading = cost.networks.bytes + cost.networks.largest_file
        peak = base + max(peak + _cached_prompts(config, cost), loading)
    present = device.type != "cuda" or torch.cuda.is_available()
    return Forecast(
        device=device.type,
        cost=cost,
        peak=peak,
        present=present,
        seconds=seconds(cost.step, device) if present and timed else None,
        watching=_seconds_to_watch(config, cost, looks, device) if present and timed else None,
        disk=(trained * 3 + average) * (config.checkpoint.keep + 1) + 2 * trained,
    )


def _seconds_to_watch(config: RunConfig, cost: StepCost, looks: Looks | None, device: torch.device) -> Elapsed | None:
    if looks is None or not looks.drawn:
        return None
    return seconds(looks.cost(cost.look, config.watch.batch_size), device)


def _cached_prompts(config: RunConfig, cost: StepCost) -> int:
    work = workload_of(config)
    seen = work.batches(config.training.steps) * work.samples
    return min(config.memory.prompt_cache_mb * MB, seen * cost.prompt)


def _forecast(config: RunConfig, forecast: Forecast) -> Iterator[str]:
    networks, step = forecast.cost.networks, forecast.cost.step
    parts = ", ".join(f"{name} {_count(count)}" for name, (count, _) in networks.sizes.items())
    yield f"parameters: {parts}; trained: {_count(networks.trained)}"
    if forecast.cost.unknown:
        yield f"left out of what follows, for want of knowledge: {', '.join(forecast.cost.unknown)}"
    where = "the process" if forecast.device == "cpu" else "tensors on the GPU"
    yield (
        f"peak memory: {forecast.peak / GB:.2f} GB ({where}), of which weights {networks.bytes / GB:.2f} and "
        f"what a step needs besides {step.peak / GB:.2f}"
    )
    yield f"time: {_time(forecast, config.training.steps)}"
    if not forecast.present or (forecast.device == "cpu" and step.flops > LARGE):
        yield f"time on an {H100.name}: {_computed(step, config.training.steps)}"
    yield f"disk: {max(1, round(forecast.disk / MB))} MB for checkpoints and adapters"


def _time(forecast: Forecast, steps: int) -> str:
    step = forecast.cost.step
    if not forecast.present:
        return f"{step.flops / 1e12:.3g} TFLOP a step; this machine has no such device to time"
    if forecast.seconds is None:
        return f"{step.flops / 1e12:.3g} TFLOP a step; kedge plan measures how long that takes here"
    whole = forecast.seconds * steps
    watching = "" if forecast.watching is None else f", and {forecast.watching} to watch it"
    advice = ": use a GPU" if whole.best > YEAR and forecast.device == "cpu" else ""
    busy = "" if not whole.busy else "; other programs keep this machine busy: alone it is nearer the lesser"
    return (
        f"{forecast.seconds} a step ({step.flops / 1e12:.3g} TFLOP, each operation timed here{busy}), "
        f"{whole} for {steps} steps{watching}{advice}"
    )


def _computed(step: OperationCost, steps: int) -> str:
    each = seconds_on(H100, step)
    return (
        f"{duration(each)} a step, {duration(steps * each)} for {steps} steps without watching, computed from its data "
        "sheet, not measured"
    )


def _count(number: int) -> str:
    return f"{number / 1e6:.4g} M"
