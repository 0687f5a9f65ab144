"""What the sweep over β says in numbers: where the truth peaks, and where each judge does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kedge.evaluation.over_optimisation import Peak as FittedPeak
from kedge.evaluation.over_optimisation import fit_peak
from kedge.evaluation.statistics import Interval, mean_interval
from kedge.evaluation.tables import Cell, Table, display
from kedge_papers.records.curves import points_over_seeds
from kedge_papers.records.peaks import Peak, cross_fitted
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import point

FINAL, AUTO = "final", "auto"
PATH_KL, HELD_OUT = "path_kl", "held_out/"
FEWEST = 2  # seeds without which nothing is compared
Rewards = Mapping[str, Sequence[RunRecord]]  # what was trained on → its runs


def strength(run: RunRecord) -> float:
    """A run's β, in the reward's own numbers."""
    algorithm = run.config["algorithm"]
    return float(algorithm["beta"] or 0.0) * float(algorithm.get("beta_unit", 1.0))


def by_strength(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Title → repetitions, from the strongest anchor to none; the anchor that finds itself last."""
    groups: dict[str, list[RunRecord]] = {}
    for run in sorted(runs, key=lambda run: (run.title == AUTO, -strength(run), run.seed)):
        groups.setdefault(run.title, []).append(run)
    return groups


def fixed(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Those with a β that was chosen."""
    groups = by_strength(runs)
    groups.pop(AUTO, None)
    return groups


def drift_column(runs: Sequence[RunRecord]) -> str:
    """Which column holds the KL of a trajectory to the base: on the test prompts if it was measured there."""
    return PATH_KL if any(PATH_KL in run.curve for run in runs) else "kl"


def peak_table(rewards: Rewards, truth: str) -> Table:
    """How far the truth and the trained reward go after the truth's peak; the peak's step is the other seeds'."""
    lines = []
    for reward, runs in rewards.items():
        for title, same in fixed(runs).items():
            peak = cross_fitted(same, f"{HELD_OUT}{reward}", f"{HELD_OUT}{truth}")
            if peak is not None:
                lines.append((f"{display(reward).title}, {title}", _peak_cells(peak)))
    heads = ("Seeds", "Peak, step", "Truth to its peak", "Truth after it", "Trained reward after it")
    note = (
        "Changes on test prompts from one noise, with the 95 % interval over seeds. The step of a seed's peak is that "
        "at which the mean of the other seeds is highest, so that chance makes no peak; with one seed it is its own, "
        "and proves nothing. Bold: not 0 beyond chance."
    )
    return Table("Trained on, β", heads, heads, tuple(lines), note=note)


def _peak_cells(peak: Peak) -> tuple[Cell | None, ...]:
    changes = [signed(values) for values in (peak.rise, peak.truth_after, peak.reward_after)]
    return point(len(peak.steps), digits=0), point(float(np.mean(peak.steps)), digits=0), *changes


def signed(values: Sequence[float]) -> Cell:
    """Their mean, with its interval over seeds; bold if it is not 0 beyond chance."""
    interval = mean_interval(list(values))
    return Cell(interval, style="signed", bold=interval.excludes(0))


def unanchored(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The repetitions without an anchor; none if there are not enough to fit a curve to."""
    _, same = next(reversed(fixed(runs).items()), ("", []))
    return same if len(same) >= FEWEST and strength(same[0]) == 0 else []


def drift_peak(runs: Sequence[RunRecord], column: str) -> FittedPeak | None:
    """The curve of Gao et al. 2022 through one column of repetitions; None where there is nothing to fit."""
    drift, values = points_over_seeds(runs, drift_column(runs), column)
    if len(drift) < FEWEST:
        return None
    return fit_peak(np.sqrt(np.maximum(drift, 0)), (values - values[:, :1]).T)


def fit_table(rewards: Rewards) -> Table | None:
    """Where each judge peaks as a run without an anchor drifts away, by the curve of Gao et al. 2022."""
    lines = []
    for reward, runs in rewards.items():
        same = unanchored(runs)
        for column in same[0].curve if same else ():
            if not column.startswith(HELD_OUT):
                continue
            peak = drift_peak(same, column)
            if peak is not None:
                around = Interval(peak.distance, peak.low, peak.high, len(same))
                where = Cell(around, style="range") if peak.seen else None
                cells = (point(peak.alpha), point(peak.beta), where, point(100 * peak.peaked, digits=0))
                metric = column.removeprefix(HELD_OUT)
                lines.append((f"{display(reward).title}: {display(metric).title}", cells))
    if not lines:
        return None
    heads = ("α", "β", "Peak, √nats", "Draws that peak, %")
    note = (
        "R(d) = d (α − β ln d), d = √KL to the base (Gao et al. 2022), of runs without an anchor; in brackets "
        "Fieller's 95 % interval over seeds, cut off at the farthest look; draws are of seeds with replacement. A "
        "dash: no peak between the first look after the base and the farthest: beyond it the curve still rises, before "
        "it the reward was past its peak when it was first looked at."
    )
    return Table("Trained on: judged by", heads, heads, tuple(lines), "Where each judge peaks", note)
