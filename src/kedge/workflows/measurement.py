"""By which rewards and on which prompts models are measured: those given, else those of a run or of the emoji world."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from kedge.registry import object_path
from kedge.rewards.expression import split_rewards
from kedge.workflows.targets import run_path

if TYPE_CHECKING:
    from kedge.config import RunConfig
    from kedge.evaluation.encoders import Encoder
    from kedge.prompts.sets import PromptSet, PromptSets
    from kedge.rewards.base import Reward

log = logging.getLogger(__name__)
EMOJI_METRICS = ("pickscore@emoji", "imagereward@emoji", "blipscore@emoji", "clipscore@emoji", "oracle")
EMOJI_PROMPTS = "emoji-held-out"

Metric: TypeAlias = "str | tuple[str, Callable[..., Any]]"
Metrics: TypeAlias = "str | Sequence[str | Callable[..., Any]] | Mapping[str, Callable[..., Any]]"
Prompts: TypeAlias = "str | Path | Sequence[str]"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How every target is measured.

    Attributes:
        metrics: rewards, comma-separated or as a sequence, which may hold functions of your own; or rewards by name.
            None takes those of the first run, or of the emoji world.
        prompts: a file, a named set, a hub data set or a list. None takes what the first run is judged by, or the emoji
            world's.
        count: use this many of them, drawn at random.
        seed: of the noise.
        samples: pictures for each prompt.
        batch_size: pictures at once.
        device: ``auto`` takes a GPU if there is one.
        encoder: by whose features to measure how much pictures vary, as ``watch.encoder``.
        fresh: measure again what a run folder already has. Functions of your own always are: they may have changed.
    """

    metrics: Metrics | None = None
    prompts: Prompts | None = None
    count: int | None = None
    seed: int = 0
    samples: int = 1
    batch_size: int = 16
    device: str = "auto"
    encoder: str = "auto"
    fresh: bool = False


def load_metrics(metrics: Sequence[Metric], device: str) -> dict[str, Reward]:
    """The rewards by name, loaded; functions of your own under ``module:name``, as a recipe would name them."""
    from kedge.rewards import load_reward
    from kedge.rewards.composition import Custom

    rewards: dict[str, Reward] = {}
    for metric in metrics:
        if isinstance(metric, str):
            rewards[metric] = load_reward(metric, device=device)
        else:
            name, reward = metric
            rewards[name] = cast("Reward", reward) if hasattr(reward, "name") else Custom(name, reward)
    return rewards


def choose_metrics(metrics: Metrics | None, targets: Sequence[str]) -> list[Metric]:
    """The metrics asked for, each once; else those of the first run among the targets, or of the emoji world.

    Raises:
        ValueError: there are none.
    """
    if isinstance(metrics, Mapping):
        return list(metrics.items())
    if isinstance(metrics, str):
        metrics = split_rewards(metrics)
    if metrics:
        chosen: list[Metric] = []
        for item in dict.fromkeys(metrics):
            chosen.append(item if isinstance(item, str) else (_name(item), item))
        return chosen
    config = first_config(targets)
    if config is not None:
        extra = config.watch.metrics or (EMOJI_METRICS if config.model.name.startswith("emoji-") else ())
        return list(dict.fromkeys([config.reward, *extra]))
    if any(target.startswith("emoji-") for target in targets):
        return list(EMOJI_METRICS)
    raise ValueError("which rewards? Give --metrics, for example --metrics pickscore,hpsv2 (kedge doctor lists them)")


def check_scales(scales: Iterable[str], metrics: Metrics | None, targets: Sequence[str]) -> None:
    """Refuse display factors of what is not shown, before anything is measured.

    Raises:
        ValueError: with the nearest name.
    """
    from kedge.evaluation.image_statistics import STATISTICS
    from kedge.registry import suggest
    from kedge.rewards import single

    known = dict.fromkeys(STATISTICS)
    for metric in choose_metrics(metrics, targets):
        name = metric if isinstance(metric, str) else metric[0]
        term = single(name)
        known |= dict.fromkeys((name, term.name) if term else (name,))
    for name in scales:
        if name not in known:
            raise ValueError(f"--scale {name}: no such metric here.{suggest(name, known)} Shown are {', '.join(known)}")


def _name(reward: Callable[..., Any]) -> str:
    """Of a reward object, its own; of a function, what a recipe would call it."""
    own = getattr(reward, "name", None)
    if isinstance(own, str):
        return own
    function = reward if hasattr(reward, "__qualname__") else type(reward)
    return object_path(function) or f"{function.__module__}:{function.__qualname__}"


def choose_encoder(text: str, targets: Sequence[str], device: str) -> Encoder | None:
    """The encoder asked for, loaded; ``auto`` takes what suits the first run or model.

    Raises:
        MissingWeightsError: it is not on this machine.
    """
    from kedge.evaluation import encoders

    config = first_config(targets)
    model = config.model.name if config else next(iter(targets), "")
    name = encoders.choose_encoder(text, model)
    return encoders.load_encoder(name, device) if name else None


def choose_prompts(prompts: Prompts | None, count: int | None, targets: Sequence[str]) -> PromptSet:
    """The prompts asked for; else those that the first run is judged by, or the emoji world's; and what they are to it.

    Raises:
        ValueError: there are none.
    """
    from kedge.prompts import load_prompts
    from kedge.prompts.sets import PromptSet

    if prompts:
        source = str(prompts) if isinstance(prompts, Path) else prompts
        return _as_they_are(PromptSet(load_prompts(source, count=count), "given"), targets)
    for target in targets:
        run = run_path(target)
        if run is not None:
            others = [other for other in targets if other != target]
            return _as_they_are(sets_of(run).drawn(count), others)
    if any(target.startswith("emoji-") for target in targets):
        return PromptSet(load_prompts(EMOJI_PROMPTS, count=count), "given")
    raise ValueError("which prompts? Give --prompts: a text, CSV, JSONL or Parquet file, a named set or a hub data set")


def sets_of(run: Path) -> PromptSets:
    """A run's three sets of prompts.

    Raises:
        ValueError: the prompts that it was trained on are no longer what its recipe leads to, so that nobody can tell
            which it never saw.
    """
    from kedge.config import load_config
    from kedge.hashing import text_hash
    from kedge.prompts.sets import PromptSets
    from kedge.runs.folder import RunFolder

    sets = PromptSets(load_config(run / "config.yaml", to_train=False))
    trained = RunFolder(run).trained_prompts
    if trained is not None and trained != text_hash(sets.train):
        source = sets.config.prompts.local or sets.config.prompts.source
        raise ValueError(
            f"{run} was trained on other prompts than {source if isinstance(source, str) else 'its recipe'} holds now, "
            "so that those it never saw cannot be told from the others: put the file back as it was, or say which to "
            "take with --prompts"
        )
    return sets


def _as_they_are(chosen: PromptSet, targets: Sequence[str]) -> PromptSet:
    """The prompts, called what they are to all runs: those that one was trained on are not held out, and told."""
    from kedge.prompts.sets import PromptSet, same

    role, prompts = chosen.role, list(map(same, chosen.prompts))
    for target in targets:
        run = run_path(target)
        known = _trained_on(run) if run is not None else set()
        seen = sum(prompt in known for prompt in prompts)
        if seen and role != "train":
            log.warning("%s was trained on %d of these %d prompts", target, seen, len(prompts))
            role = "train" if seen == len(prompts) else "given"
    return PromptSet(chosen.prompts, role)


def _trained_on(run: Path) -> set[str]:
    """A run's training prompts; none where they cannot be had any more, or not without the hub."""
    from kedge.config import load_config
    from kedge.prompts import NAMED
    from kedge.prompts.sets import same

    block = load_config(run / "config.yaml", to_train=False).prompts
    if isinstance(block.source, str) and not block.local:
        named = NAMED.get(block.source)
        elsewhere = ":" not in block.source and not Path(block.source).expanduser().exists()
        if named.hub if named else elsewhere:
            return set()
    try:
        return set(map(same, sets_of(run).learnt))
    except ValueError as error:
        log.warning("whether %s was trained on these prompts is not known: %s", run, error)
        return set()


def first_config(targets: Sequence[str]) -> RunConfig | None:
    """The config of the first run among the targets."""
    from kedge.config import load_config

    for target in targets:
        run = run_path(target)
        if run is not None:
            return load_config(run / "config.yaml")
    return None
