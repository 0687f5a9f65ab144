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

        extra = tuple(self.evaluations[0].statistics) if statistics else ()
        extra += tuple(dict.fromkeys(name for evaluation in self.evaluations for name in evaluation.distances))
        return evaluation_table(self.evaluations, [*self.metrics, *extra], scales)

    def __str__(self) -> str:
        from kedge.evaluation.rendering import render

        return render(self.table(), "table")


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
        metrics: ``"pickscore@emoji,oracle"``, a list of names and functions of one's own, or functions by name. None
            takes the first run's.
        prompts: a file, a named set or a hub data set; or a list of prompts. None takes the run's held-out prompts.
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
