"""What ``kedge eval`` and ``kedge compare`` share: from targets on the command line to evaluations."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.training.run_folder import is_run

if TYPE_CHECKING:
    from kedge.evaluation.evaluator import Progress
    from kedge.evaluation.measure import Plan
    from kedge.evaluation.result import Evaluation
    from kedge.rewards.base import Reward

EMOJI_METRICS = ("pickscore@emoji", "clipscore@emoji", "aesthetic@emoji", "oracle")
EMOJI_PROMPTS = "emoji-held-out"


@dataclass(frozen=True)
class Request:
    """The options of both commands.

    Attributes:
        metrics: as given, comma-separated; None takes those of the first run, or of the emoji world.
        prompts: a file, a named set or a hub id; None takes the held-out prompts of the first run.
        count: use this many of them.
        kind, steps, guidance, settings: for plain models; runs know their own.
    """

    metrics: str | None
    prompts: str | None
    count: int | None
    seed: int
    samples: int
    batch_size: int
    device: str
    fresh: bool
    kind: str | None = None
    steps: int | None = None
    guidance: float | None = None
    settings: tuple[str, ...] = ()


class Evaluating:
    """Evaluates targets one after another by the same rewards, prompts and noise.

    Raises:
        ValueError: metrics or prompts are not given and do not follow from the targets.
    """

    def __init__(self, request: Request, targets: list[str]):
        from kedge.devices import find_device

        self.request, self.targets = request, targets
        self.device = str(find_device(request.device))
        self.metrics = _metrics(request, targets)

    @cached_property
    def rewards(self) -> dict[str, Reward]:
        """Loaded once, for all targets."""
        from kedge.rewards import load_reward

        return {name: load_reward(name, device=self.device) for name in self.metrics}

    @cached_property
    def plan(self) -> Plan:
        """For targets that draw."""
        from kedge.evaluation.measure import Plan

        prompts, request = _prompts(self.request, self.targets), self.request
        return Plan(self.rewards, prompts, request.seed, request.samples, request.batch_size)

    def run(self, target: str, *, base: bool = True, keep_in: Path | None = None, role: str | None = None) -> Pair:
        """A run's tuned model and its base, kept in the run's own folder or in ``keep_in`` under ``role``."""
        from kedge.evaluation.measure import measure
        from kedge.evaluation.records import BASE, TUNED, evaluation_folder

        plan = self.plan  # what is missing is told before a model is loaded
        loaded, folder = self._load(target), keep_in or evaluation_folder(Path(target))
        model = f"{loaded.model.name} {loaded.model.kind} guidance {loaded.model.omega:g} eta {loaded.model.eta:g}"
        done: list[Evaluation | None] = []
        for reference in (True, False):
            if reference and not base:
                done.append(None)
                continue
            name = Path(loaded.model.name).name if reference else loaded.name
            with progress_bar(name) as progress:
                done.append(
                    measure(
                        loaded.policy,
                        plan,
                        name=name,
                        model=model,
                        reference=reference,
                        folder=folder,
                        role=role or (BASE if reference else TUNED),
                        fresh=self.request.fresh,
                        progress=progress,
                    )
                )
        assert done[1] is not None
        return Pair(done[0], done[1])

    def model(self, target: str) -> Evaluation:
        """A model without a trained adapter; nothing is kept."""
        from kedge.evaluation.measure import measure

        plan, loaded = self.plan, self._load(target)
        with progress_bar(loaded.name) as progress:
            return measure(loaded.policy, plan, name=loaded.name, model=target, progress=progress)

    def images(self, target: str) -> Evaluation:
        """A folder of images."""
        from kedge.evaluation import evaluate_images
        from kedge.evaluation.image_folder import read_image_folder
        from kedge.prompts import load_prompts

        given = load_prompts(self.request.prompts) if self.request.prompts else None
        paths, prompts = read_image_folder(Path(target), given)
        size, name = self.request.batch_size, Path(target).resolve().name
        with progress_bar(name) as progress:
            return evaluate_images(
                paths, prompts, self.rewards, name=name, batch_size=size, device=self.device, progress=progress
            )

    def all(self, *, base: bool) -> list[Evaluation]:
        """Every target; the base of runs first, each base once."""
        from kedge.evaluation.image_folder import is_image_folder

        found: list[Evaluation] = []
        for target in self.targets:
            path = Path(target)
            if is_run(path):
                pair = self.run(target, base=base)
                found += [e for e in (pair.base, pair.tuned) if e is not None]
            elif is_image_folder(path):
                found.append(self.images(target))
            else:
                found.append(self.model(target))
        return _distinct(found)

    def _load(self, target: str):
        from kedge.workflows.targets import load_target

        if is_run(Path(target)):
            return load_target(target, device=self.device)
        request = self.request
        return load_target(
            target,
            kind=request.kind,
            steps=request.steps,
            guidance=request.guidance,
            device=self.device,
            settings=request.settings,
        )


@dataclass(frozen=True)
class Pair:
    """A run's base (if asked for) and tuned model."""

    base: Evaluation | None
    tuned: Evaluation


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """A bar on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        yield None
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _distinct(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Each base once; equal names made different, so that rows can be told apart."""
    kept: list[Evaluation] = []
    for evaluation in evaluations:
        key = evaluation.facts.get("key")
        if key is not None and any(key == other.facts.get("key") for other in kept):
            continue
        taken = {other.name for other in kept}
        names = (f"{evaluation.name} ({i})" for i in range(2, len(evaluations) + 2))
        name = evaluation.name if evaluation.name not in taken else next(n for n in names if n not in taken)
        kept.append(replace(evaluation, name=name))
    return kept


def _config(targets: list[str]):
    """The config of the first run among the targets, or None."""
    from kedge.config import load_config

    run = next((Path(target) for target in targets if is_run(Path(target))), None)
    return None if run is None else load_config(run / "config.yaml")


def _metrics(request: Request, targets: list[str]) -> list[str]:
    if request.metrics:
        return list(dict.fromkeys(part.strip() for part in request.metrics.split(",") if part.strip()))
    config = _config(targets)
    if config is not None:
        extra = config.watch.metrics or (EMOJI_METRICS if config.model.name.startswith("emoji-") else ())
        return list(dict.fromkeys([config.reward, *extra]))
    if any(target.startswith("emoji-") for target in targets):
        return list(EMOJI_METRICS)
    raise ValueError("which rewards? Give --metrics, for example --metrics pickscore,hpsv2 (kedge doctor lists them)")


def _prompts(request: Request, targets: list[str]) -> list[str]:
    from kedge.prompts import load_prompts
    from kedge.training.assemble import prompts_of

    config = _config(targets)
    if request.prompts:
        return load_prompts(request.prompts, count=request.count)
    if config is not None:
        block = config.watch.held_out or config.prompts
        return prompts_of(replace(block, count=request.count) if request.count else block)
    if any(target.startswith("emoji-") for target in targets):
        return load_prompts(EMOJI_PROMPTS, count=request.count)
    raise ValueError("which prompts? Give --prompts: a text, CSV, JSONL or Parquet file, a named set or a hub data set")
