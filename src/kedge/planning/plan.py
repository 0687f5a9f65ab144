"""What a run would do, told before any weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kedge.config import ConfigError, RunConfig
from kedge.config.compatibility import check_experience, experience_warning
from kedge.config.workload import workload_of
from kedge.models import resolve_model
from kedge.prompts import UnreachableError
from kedge.rewards import readiness
from kedge.rewards.description import describe
from kedge.rewards.sources import size_in_words
from kedge.training.prompt_sets import PromptSets


def plan(config: RunConfig) -> Iterator[str]:
    """One line for each fact: model, prompts, samples, network calls, and what is not on this machine yet.

    Raises:
        ValueError: for a model or prompts that cannot be.
    """
    model = config.model
    prompts = list(_prompts(config))
    if model.family is not None:
        yield f"model: {_where(model.name)}"
    yield from prompts
    yield from _samples(config)
    state = {item.name: item for item in readiness()}
    for text in (config.reward, *config.watch.metrics):
        for term in describe(text).terms:
            name = f"{term.name}@emoji" if term.source == "emoji" else term.name
            found = state.get(name)
            if found and term.source in (None, "emoji"):
                yield f"reward {name}: {'ready' if found.ready else 'not here yet. ' + found.advice}"
    yield from _downloads(config)
    yield from _forecast(config)


def _prompts(config: RunConfig) -> Iterator[str]:
    try:
        sets = PromptSets(config, new=True)
        lines = [*sets.lines(), *(f"warning: {warning}" for warning in sets.warnings())]
    except UnreachableError as error:  # like a model that is not here: no reason not to plan
        yield f"prompts: not here yet. {error}"
        return
    yield from lines
    if warning := experience_warning(config, sets.train):
        yield f"warning: {warning}"


def _downloads(config: RunConfig) -> Iterator[str]:
    """What has to be fetched before it can start."""
    state = {item.name: item for item in readiness()}
    missing: dict[str, int] = {}
    for text in (config.reward, *config.watch.metrics):
        for term in describe(text).terms:
            item = state.get(term.name)
            if item and term.source is None:
                missing |= {part.where: part.size for part in item.missing}
    if missing:
        yield f"downloads for rewards: {size_in_words(sum(missing.values()))} ({', '.join(missing)})"


def _forecast(config: RunConfig) -> Iterator[str]:
    from kedge.planning import forecast

    found = forecast.forecast(config)
    if found is None:
        yield "memory and time: unknown before the model's own files are here (of a policy of your own, always)"
    else:
        yield from forecast.describe(config, found)


def _samples(config: RunConfig) -> Iterator[str]:
    """How much is sampled and scored, as the algorithm itself counts."""
    training = config.training
    work = workload_of(config)
    batches = work.batches(training.steps)
    samples = batches * work.samples
    yield (
        f"samples: {batches} batches × {work.samples} = {samples} on each process, {samples * config.model.steps} "
        f"sampling steps; optimizer steps on each batch: {work.updates}"
    )
    yield f"reward queries: {batches * work.queries} on each process"
    try:
        check_experience(config)
    except ConfigError as error:
        yield f"refused on one process: {error}"


def _where(model: str) -> str:
    try:
        place = resolve_model(model)
    except FileNotFoundError as error:
        return f"not here yet. {error}"
    return str(place) if isinstance(place, Path) else f"{place}, from the Hugging Face hub or its cache here"
