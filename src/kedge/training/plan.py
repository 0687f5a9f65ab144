"""What a run would do, told before any weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kedge.config import RunConfig
from kedge.models import resolve_model
from kedge.rewards import readiness
from kedge.rewards.description import describe
from kedge.training.prompt_sets import prompts_of


def plan(config: RunConfig) -> Iterator[str]:
    """One line for each fact: model, prompts, samples, network calls, and what is not on this machine yet.

    Raises:
        ValueError: for a model or prompts that cannot be.
    """
    training, model = config.training, config.model
    prompts = prompts_of(config.prompts)
    if ":" not in model.kind:
        yield f"model: {_where(model.name)}"
    samples = training.steps * training.batch_size * training.accumulation
    yield f"prompts: {len(prompts)} of {config.prompts.source}, for example {prompts[0]!r}"
    yield (
        f"samples: {training.steps} steps × {training.batch_size} × {training.accumulation} = {samples} on each "
        f"process, {samples * model.steps} sampling steps"
    )
    state = {item.name: item for item in readiness()}
    for text in (config.reward, *config.watch.metrics):
        for term in describe(text).terms:
            name = f"{term.name}@emoji" if term.source == "emoji" else term.name
            found = state.get(name)
            if found and term.source in (None, "emoji"):
                yield f"reward {name}: {'ready' if found.ready else 'not here yet. ' + found.advice}"


def _where(model: str) -> str:
    try:
        place = resolve_model(model)
    except FileNotFoundError as error:
        return f"not here yet. {error}"
    return str(place) if isinstance(place, Path) else f"{place}, from the Hugging Face hub or its cache here"
