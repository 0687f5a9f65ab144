"""What ``kedge eval`` does: models, runs and folders of images, scored by the same rewards on the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from kedge.workflows.measurement import Measurement, Metrics, Prompts
from kedge.workflows.target_evaluator import PlainModel, TargetEvaluator
from kedge.workflows.targets import Target

if TYPE_CHECKING:
    from kedge.evaluation.result import Evaluation
    from kedge.evaluation.tables import Table


@dataclass(frozen=True)
class Evaluations(Sequence["Evaluation"]):
    """What :func:`evaluate` found: one evaluation a model, by number or by name; printed, it is the table.

    Attributes:
        evaluations: in the order of the targets, the base of runs first.
        metrics: the columns.
    """

    evaluations: tuple[Evaluation, ...]
    metrics: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.evaluations)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self.evaluations)

    def __getitem__(self, key: Any) -> Any:
        """The evaluation at a place, or of a name.

        Raises:
            KeyError: listing the names.
        """
        if not isinstance(key, str):
            return self.evaluations[key]
        for evaluation in self.evaluations:
            if evaluation.name == key:
                return evaluation
        raise KeyError(f"no {key!r}; there are {', '.join(evaluation.name for evaluation in self.evaluations)}")

    def table(self, *, statistics: bool = False, scales: dict[str, float] | None = None) -> Table:
        """Models down, metrics across.

        Args:
            statistics: add what the pictures look like.
            scales: display factors by metric, such as ``{"hpsv2": 100}``.
        """
        from kedge.evaluation.tables import evaluation_table

        extra = dict.fromkeys(self.evaluations[0].statistics if statistics else ())
        for evaluation in self.evaluations:
            extra |= dict.fromkeys(evaluation.distances)
        return evaluation_table(self.evaluations, [*self.metrics, *extra], scales)

    def grouped(self, runs: Sequence[str], key: str, scales: dict[str, float] | None = None) -> Table:
        """One row for all runs that are alike in ``key`` of their recipes; means and intervals over seeds and prompts.

        Args:
            runs: the targets, in the order of the evaluations; all of them run folders.
            key: dotted, such as ``algorithm.divergence``; its last part is enough where that is unambiguous.

        Raises:
            ValueError: a target is no run, or its recipe has no such key.
        """
        from kedge.evaluation.grouped import grouped_table

        groups: dict[str, list[Evaluation]] = {}
        for run, evaluation in zip(runs, self.evaluations, strict=True):
            groups.setdefault(_value_of(run, key), []).append(evaluation)
        return grouped_table(groups, key.rpartition(".")[2], scales)

    def __str__(self) -> str:
        from kedge.evaluation.rendering import render

        return render(self.table(), "table")


def _value_of(run: str, key: str) -> str:
    from kedge.config import load_config
    from kedge.config.loading import plain
    from kedge.registry import suggest
    from kedge.runs.history import leaves
    from kedge.workflows.targets import run_path

    path = run_path(run)
    if path is None:
        raise ValueError(f"--group {key}: {run} is not a run folder, so it has no recipe")
    keys = dict(leaves(plain(load_config(path / "config.yaml"))))
    fitting = []
    for name in keys:
        if name == key or name.endswith(f".{key}"):
            fitting.append(name)
    if len(fitting) != 1:
        which = f"it may be {', '.join(fitting)}" if fitting else f"there is no such key.{suggest(key, keys)}"
        raise ValueError(f"--group {key}: {which}")
    return str(keys[fitting[0]])


def evaluate(
    targets: Target | Sequence[Target],
    metrics: Metrics | None = None,
    prompts: Prompts | None = None,
    *,
    count: int | None = None,
    seed: int = 0,
    samples: int = 1,
    base: bool = True,
    batch_size: int = 16,
    device: str = "auto",
    encoder: str = "auto",
    fresh: bool = False,
    kind: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    model: Sequence[str] = (),
) -> Evaluations:
    """Score models, runs or folders of images by any rewards, as ``kedge eval`` does.

    Args:
        targets: one or a list of: a run folder, a :class:`TrainedRun`, a model's name, folder or hub id, a folder of
            images with prompts, a policy in memory (beside its base, if it has an adapter).
        metrics: ``"pickscore@emoji,oracle"``, a list of names and functions of your own, or functions by name. None
            takes the first run's.
        prompts: a file, a named set or a hub data set; or a list of prompts. None takes what the run is judged by.
        count: use this many of the prompts, drawn at random.
        seed: of the noise: every model draws from the same.
        samples: pictures for each prompt.
        base: measure the base model of runs and policies too.
        batch_size: pictures at once.
        device: ``auto`` takes a GPU if there is one.
        encoder: by whose features to measure how much pictures vary, as ``watch.encoder``.
        fresh: measure again what a run folder already has.
        kind, steps, guidance: for plain models; None finds out. Runs know their own.
        model: other keys of a recipe's model block as ``key=value``, for plain models.

    Raises:
        ValueError: metrics or prompts are not given and do not follow from the targets, or a name is unknown.
    """
    several: Sequence[Target] = targets if isinstance(targets, list | tuple) else [cast("Target", targets)]
    measurement = Measurement(
        metrics=metrics,
        prompts=prompts,
        count=count,
        seed=seed,
        samples=samples,
        batch_size=batch_size,
        device=device,
        encoder=encoder,
        fresh=fresh,
    )
    options = PlainModel(kind=kind, steps=steps, guidance=guidance, overrides=tuple(model))
    evaluator = TargetEvaluator(measurement, several, options)
    return Evaluations(tuple(evaluator.all(base=base)), tuple(evaluator.names))
