"""What a run would do, a line for each fact. Importable without torch, so that it answers at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.config import ConfigError, RunConfig
from kedge.config.compatibility import check_experience, experience_warning
from kedge.config.workload import workload_of
from kedge.models import resolve_model
from kedge.planning.looks import Looks, looks_of
from kedge.policies.families import network_calls
from kedge.prompts import UnreachableError
from kedge.prompts.sets import PromptSets
from kedge.rewards import REWARDS, Readiness, Term, readiness
from kedge.rewards.description import describe
from kedge.rewards.sources import looks_like_a_path, size_in_words

if TYPE_CHECKING:
    from kedge.algorithms.workload import Workload


@dataclass(frozen=True)
class Description:
    """What a run would do.

    Attributes:
        lines: model, prompts, samples, network passes, and what is not on this machine yet.
        looks: how often it is evaluated and shown; None if the prompts are not here.
        known: how many different prompts its training uses; None likewise.
        longest: of them; None likewise.
    """

    lines: tuple[str, ...]
    looks: Looks | None
    known: int | None = None
    longest: str | None = None


def describe_run(config: RunConfig) -> Description:
    """Describe the run that ``config`` asks for.

    Raises:
        ValueError: for a model or prompts that cannot be.
    """
    sets, prompts = _prompts(config)
    lines = [] if config.model.family is None else [f"model: {_where(config.model.name)}"]
    lines += [*prompts, *_samples(config)]
    looks = None if sets is None else looks_of(config, sets)
    if looks is not None:
        lines.append(_watching(config, looks))
    lines += _rewards(config)
    if sets is None:
        return Description(tuple(lines), looks)
    prompts_used = sets.of_training
    return Description(tuple(lines), looks, known=len(prompts_used), longest=max(prompts_used, key=len, default=None))


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
    terms: list[Term] = []
    for text in (config.reward, *config.watch.metrics):
        terms += describe(text).terms
    names = []
    for term in terms:
        names.append(f"{term.name}@emoji" if term.source else term.name)
    state = {item.name: item for item in readiness(names)}
    missing: dict[str, int] = {}
    for term, name in zip(terms, names, strict=True):
        if term.source in (None, "emoji"):
            yield from _reward(state.get(name))
        elif term.name in REWARDS and looks_like_a_path(term.source) and not Path(term.source).expanduser().exists():
            yield f"reward {term.name}@{term.source}: not here, there is no such file or folder"
        if term.source is None and term.name in state:
            missing |= {part.where: part.size for part in state[term.name].missing}
    if missing:
        yield f"downloads for rewards: {size_in_words(sum(missing.values()))} ({', '.join(missing)})"


def _reward(item: Readiness | None) -> Iterator[str]:
    if item is not None:
        yield f"reward {item.name}: {'ready' if item.ready else 'not here yet. ' + item.advice}"
