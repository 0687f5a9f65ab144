"""One model with its repetitions, and how it compares with another: over prompts and training seeds at once.

Every ± and every bold number of the pages comes from here. Scores are a table of seeds × pictures; what its mean may be
off by is one rule for all, :mod:`kedge.evaluation.statistics.standard_error`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import (
    Interval,
    mean_interval,
    outcomes_of,
    paired_difference,
    rate_interval,
    spread_of,
)
from kedge_papers.records.run_record import RunRecord


@dataclass(frozen=True)
class Row:
    """Repetitions of one run on the same prompts and noise.

    Attributes:
        title: what tables call it.
        repetitions: training seed → scores.
        trained: False for a model before training, which has one repetition and is compared with every seed of others.
    """

    title: str
    repetitions: Mapping[int, Evaluation]
    trained: bool = True

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt of each picture, ``[N]``."""
        return next(iter(self.repetitions.values())).prompts

    def has(self, metric: str) -> bool:
        """Whether every repetition was scored by it."""
        return all(metric in each.scores for each in self.repetitions.values())

    def metrics(self) -> list[str]:
        """What every repetition was scored by, in order."""
        names = []
        for name in next(iter(self.repetitions.values())).scores:
            if self.has(name):
                names.append(name)
        return names

    def scores(self, metric: str, seeds: Sequence[int] | None = None) -> np.ndarray:
        """``[S, N]``, a row a seed; of the given seeds, or all."""
        return np.array([self.repetitions[seed].scores[metric] for seed in seeds or self.repetitions])

    def deviation(self, metric: str) -> float:
        """Standard deviation of the scores of pictures: the unit in which metrics are compared.

        1 where all pictures score the same but for rounding: in units of that, any change would be without bounds.
        """
        return float(np.mean(list(map(spread_of, self.scores(metric))))) or 1.0

    def mean(self, metric: str) -> Interval:
        """The mean with its 95 % interval."""
        return mean_interval(self.scores(metric), self.prompts)


Naming = Callable[[RunRecord], str]


def title_of(run: RunRecord) -> str:
    """What tables call a run."""
    return run.title


def rows(runs: Sequence[RunRecord], role: str, name: Naming = title_of) -> dict[str, Row]:
    """Name → row, of the runs that were measured in a role; runs of one name are repetitions.

    Raises:
        ValueError: repetitions of one title were measured on different prompts or noise, or a score is no number.
    """
    measured: dict[str, dict[int, Evaluation]] = {}
    trained: dict[str, bool] = {}
    for run in runs:
        if role in run.evaluations:
            measured.setdefault(name(run), {})[run.seed] = run.evaluations[role]
            trained[name(run)] = run.trained
    for title, repetitions in measured.items():
        for seed, evaluation in repetitions.items():
            _check_finite(title, seed, evaluation)
        if len({(each.prompts, each.seed) for each in repetitions.values()}) > 1:
            raise ValueError(f"{title}: repetitions of one run must be measured on the same prompts and noise")
    return {title: Row(title, repetitions, trained[title]) for title, repetitions in measured.items()}


def _check_finite(title: str, seed: int, evaluation: Evaluation) -> None:
    for metric, values in evaluation.scores.items():
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise ValueError(
                f"{title}, seed {seed}: {bad} of {len(values)} scores of {metric} are not numbers. Remove its "
                "evaluation from the run's folder, and the same command measures it anew"
            )


def paired_scores(ours: Row, theirs: Row, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the same prompts, noise and seeds, ``[S, N]`` each, or ``[N]`` of a model before training.

    Two trained models are paired by the seeds that both have: another seed's model says nothing about the seed.

    Raises:
        ValueError: they have no seed in common, or were not measured alike.
    """
    if ours.prompts != theirs.prompts:
        raise ValueError(f"{ours.title} and {theirs.title} were measured on different prompts")
    if not (ours.trained and theirs.trained):
        return _of_all(ours, metric), _of_all(theirs, metric)
    shared = []
    for seed in ours.repetitions:
        if seed in theirs.repetitions:
            shared.append(seed)
    if not shared:
        raise ValueError(f"{ours.title} and {theirs.title} have no training seed in common")
    return ours.scores(metric, shared), theirs.scores(metric, shared)


def _of_all(row: Row, metric: str) -> np.ndarray:
    scores = row.scores(metric)
    return scores if row.trained else scores[0]


def difference(ours: Row, theirs: Row, metric: str) -> Interval:
    """Ours − theirs with its 95 % interval."""
    return paired_difference(*paired_scores(ours, theirs, metric), ours.prompts)


def beats(ours: Row, theirs: Row, metric: str) -> bool:
    """Whether ours is higher beyond chance, see :func:`several_seeds`."""
    return several_seeds(ours, theirs) and difference(ours, theirs, metric).low > 0


def several_seeds(ours: Row, theirs: Row) -> bool:
    """Whether a difference says anything about how the models were trained: with one seed it speaks of that seed.

    A model before training needs none; two trained ones need two seeds in common.
    """
    seeds = [set(row.repetitions) for row in (ours, theirs) if row.trained]
    return not seeds or len(set.intersection(*seeds)) > 1


def win_rate(ours: Row, theirs: Row, metric: str) -> Interval:
    """The share of pictures on which ours scores higher, ties half: of every picture, not of averages over seeds."""
    return rate_interval(outcomes_of(*paired_scores(ours, theirs, metric)), ours.prompts)


def standardised(row: Row, base: Row, metrics: Sequence[str]) -> Row:
    """The row with one metric more, ``mean``: all of them in the base model's standard deviations, averaged."""
    units, repetitions = list(map(base.deviation, metrics)), {}
    for seed, each in row.repetitions.items():
        scores = np.stack([each.scores[metric] for metric in metrics])
        mean = (scores / np.array(units)[:, None]).mean(0)
        repetitions[seed] = Evaluation(each.name, each.prompts, each.seed, {**each.scores, "mean": mean})
    return Row(row.title, repetitions, row.trained)


def unit_note(shown: Sequence[Row]) -> str:
    """What the intervals of a table are over, for its note."""
    counts = {len(set(row.prompts)) for row in shown}
    prompts = " / ".join(map(str, sorted(counts)))
    pictures = max(len(row.prompts) // len(set(row.prompts)) for row in shown)
    drawn = f", {pictures} pictures each" if pictures > 1 else ""
    seeds = [len(row.repetitions) for row in shown if row.trained] or [1]
    if max(seeds) == 1:
        alone = "; one seed, so that nothing is bold" if any(row.trained for row in shown) else ""
        return f"± is half of the 95 % interval over {prompts} prompts{drawn}{alone}."
    return (
        f"± is half of the 95 % interval: {prompts} prompts{drawn}, {spanned(seeds)} training seeds, over both at once."
    )


def spanned(counts: Sequence[int]) -> str:
    """``8``, or ``4 to 8`` where rows have different numbers."""
    few, most = min(counts), max(counts)
    return f"{few}" if few == most else f"{few} to {most}"
