"""Targets of any sort (runs, models, folders of images), evaluated by the same rewards, prompts and noise."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.files import check_writable
from kedge.workflows.measurement import Measurement, choose_encoder, choose_metrics, choose_prompts, load_metrics
from kedge.workflows.progress_bar import progress_bar
from kedge.workflows.targets import LoadedModel, Stored, Target, is_policy, load_target, run_path

if TYPE_CHECKING:
    from kedge.evaluation.encoders import Encoder
    from kedge.evaluation.measure import Plan
    from kedge.evaluation.result import Evaluation
    from kedge.policies.base import Policy
    from kedge.rewards.base import Reward


log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PlainModel:
    """How to load targets that are neither runs nor images; None finds out."""

    kind: str | None = None
    steps: int | None = None
    guidance: float | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A run's base (if asked for) and tuned model."""

    base: Evaluation | None
    tuned: Evaluation


class TargetEvaluator:
    """Evaluates targets one after another by the same rewards, prompts and noise.

    Raises:
        ValueError: metrics or prompts are not given and do not follow from the targets.
    """

    def __init__(self, measurement: Measurement, targets: Sequence[Target], plain: PlainModel | None = None):
        from kedge.devices import find_device

        self.measurement, self.targets, self.plain = measurement, targets, plain or PlainModel()
        self.device = str(find_device(measurement.device))
        self._paths = [str(run_path(target) or target) for target in targets if not is_policy(target)]
        if ":" not in (self.plain.kind or ""):
            _check_exist(self._paths)
        self._check_plain()
        self._metrics = choose_metrics(measurement.metrics, self._paths)
        self.names: list[str] = []
        self._fresh = measurement.fresh
        for metric in self._metrics:
            self.names.append(metric if isinstance(metric, str) else metric[0])
            if not isinstance(metric, str):  # an object may be another than last time's of the same name
                self._fresh = True

    def _check_plain(self) -> None:
        """Refuse what is said of plain models where there is none: a table at other steps than one thinks misleads."""
        from kedge.evaluation.image_folder import is_image_folder

        for path in self._paths:
            if run_path(path) is None and not is_image_folder(Path(path)):
                return
        plain = self.plain
        for name, value in (("kind", plain.kind), ("steps", plain.steps), ("guidance", plain.guidance)):
            if value is not None:
                known = ", ".join(self._paths) or "what is in memory"
                raise ValueError(f"{name} is for models by name; {known} knows its own: leave it out")

    @cached_property
    def rewards(self) -> dict[str, Reward]:
        """Loaded once, for all targets."""
        return load_metrics(self._metrics, self.device)

    @cached_property
    def encoder(self) -> Encoder | None:
        """Loaded once, too."""
        return choose_encoder(self.measurement.encoder, self._paths, self.device)

    @cached_property
    def plan(self) -> Plan:
        """For targets that draw."""
        from kedge.evaluation.measure import Plan

        wanted = self.measurement
        chosen = choose_prompts(wanted.prompts, wanted.count, self._paths)
        return Plan(
            self.rewards,
            chosen.prompts,
            role=chosen.role,
            seed=wanted.seed,
            samples_per_prompt=wanted.samples,
            batch_size=wanted.batch_size,
            encoder=self.encoder,
            contents=self._contents(),
        )

    def prepare(self) -> None:
        """Load prompts, rewards and encoder now, so that a missing one is reported before any model is loaded."""
        _ = self.plan

    def _contents(self) -> dict[str, str]:
        """What the numbers of rewards and encoder depend on besides their names."""
        from kedge.hashing import place_hash
        from kedge.rewards.contents import reward_contents

        hashes = {}
        for metric in self._metrics:
            if isinstance(metric, str):
                hashes[metric] = reward_contents(metric)
        source = Path(self.encoder.name.partition("@")[2] or ".") if self.encoder else Path()
        return hashes | ({"encoder": place_hash(source)} if source != Path() and source.exists() else {})

    def run(self, target: Stored, *, base: bool = True, keep_in: Path | None = None, role: str | None = None) -> Pair:
        """A run's tuned model and its base, kept in the run's own folder or in ``keep_in`` under ``role``."""
        from kedge.evaluation.records import BASE, TUNED, evaluation_folder

        self.prepare()
        place = keep_in or evaluation_folder(Path(str(run_path(target))))
        folder: Path | None = place
        try:
            check_writable(place / "scores.json")
        except ValueError as error:
            if keep_in is not None:
                raise
            log.warning("%s: the evaluation is not kept", error)
            folder = None
        loaded = self._load(target)
        theirs = None
        if base:
            theirs = self.measure(loaded, Path(loaded.model.name).name, folder, role or BASE, reference=True)
        return Pair(theirs, self.measure(loaded, loaded.name, folder, role or TUNED, reference=False))

    def measure(
        self, loaded: LoadedModel, name: str, folder: Path | None, role: str, *, reference: bool, further: str = ""
    ) -> Evaluation:
        """A loaded model, or its base, kept in ``folder`` under ``role`` and found there again.

        Args:
            further: what its pictures depend on besides.
        """
        from kedge.evaluation.measure import measure
        from kedge.workflows.targets import drawn_by

        with progress_bar(name) as progress:
            return measure(
                loaded.policy,
                self.plan,
                name=name,
                model=drawn_by(loaded.model) + further,
                reference=reference,
                folder=folder,
                role=role,
                fresh=self._fresh,
                step=None if reference else loaded.step,
                progress=progress,
            )

    def model(self, target: Stored) -> Evaluation:
        """A model without a trained adapter; nothing is kept."""
        from kedge.evaluation.measure import measure

        plan, loaded = self.plan, self._load(target)
        with progress_bar(loaded.name) as progress:
            return measure(loaded.policy, plan, name=loaded.name, model=str(target), progress=progress)

    def policy(self, target: Policy, *, base: bool) -> list[Evaluation]:
        """A generator in memory: ``policy``, or, with an adapter, its ``base`` and ``tuned``; nothing is kept."""
        from kedge.evaluation.measure import measure

        names = {"tuned": False} if list(target.trainable()) else {"policy": False}
        if base and "tuned" in names:
            names = {"base": True, **names}
        evaluations = []
        for name, reference in names.items():
            with progress_bar(name) as progress:
                model = type(target).__name__
                evaluations.append(
                    measure(target, self.plan, name=name, model=model, reference=reference, progress=progress)
                )
        return evaluations

    def images(self, folder: Path) -> Evaluation:
        """A folder of images."""
        from kedge.evaluation import evaluate_images
        from kedge.evaluation.image_folder import read_image_folder

        wanted = self.measurement
        if wanted.count is not None:
            log.warning("%s: all of its pictures are scored, for count is of models that draw", folder)
        own_prompts = choose_prompts(wanted.prompts, None, ()).prompts if wanted.prompts else None
        paths, prompts = read_image_folder(folder, own_prompts)
        name = folder.resolve().name
        with progress_bar(name) as progress:
            return evaluate_images(
                paths,
                prompts,
                self.rewards,
                name=name,
                batch_size=wanted.batch_size,
                device=self.device,
                encoder=self.encoder,
                progress=progress,
            )

    def all(self, *, base: bool) -> list[Evaluation]:
        """Every target; the base of runs first, each base once."""
        from kedge.evaluation.image_folder import is_image_folder

        evaluations: list[Evaluation] = []
        for target in self.targets:
            if is_policy(target):
                evaluations += self.policy(target, base=base)
            elif run_path(target) is not None:
                pair = self.run(target, base=base)
                known = {each.facts.get("key") for each in evaluations} - {None}
                if pair.base is not None and pair.base.facts.get("key") not in known:
                    evaluations.append(pair.base)
                evaluations.append(pair.tuned)
            elif is_image_folder(Path(str(target))):
                evaluations.append(self.images(Path(str(target))))
            else:
                evaluations.append(self.model(target))
        return named_apart(evaluations)

    def _load(self, target: Stored) -> LoadedModel:
        if run_path(target) is not None:
            return load_target(target, device=self.device)
        plain = self.plain
        return load_target(
            target,
            kind=plain.kind,
            steps=plain.steps,
            guidance=plain.guidance,
            device=self.device,
            overrides=plain.overrides,
        )


def _check_exist(names: Sequence[str]) -> None:
    """Refuse what is neither a run, nor pictures, nor a model, before anything else is asked of the user.

    Raises:
        UnknownNameError: saying what it may be.
    """
    from kedge.evaluation.image_folder import is_image_folder
    from kedge.models import resolve_model
    from kedge.registry import UnknownNameError

    for name in names:
        if run_path(name) is None and not is_image_folder(Path(name)):
            try:
                resolve_model(name)
            except UnknownNameError as error:
                raise UnknownNameError(f"{error}; or a run folder, or a folder of images with prompts") from error
            except FileNotFoundError:  # a bundled model that is not built yet says so when it is loaded
                continue


def named_apart(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Equal names made different, so that no two rows have one name."""
    different: list[Evaluation] = []
    for evaluation in evaluations:
        taken = {other.name for other in different}
        name, number = evaluation.name, 1
        while name in taken:
            number += 1
            name = f"{evaluation.name} ({number})"
        different.append(replace(evaluation, name=name))
    return different
