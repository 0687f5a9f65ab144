"""An alarm that is asked again and again, and yet seldom sounds by chance.

Each evaluation of a run tests the same question anew. At 95 % each, ten of them accuse every fifth run whose held-out
rewards never moved. Two rules keep all looks of a run together at about 5 % (simulated in
tests/unit/evaluation/test_repeated_looks.py, whatever the looks have in common):

* within a look, Holm's adjusted p-values, because each held-out reward is a chance of its own to err;
* over the looks, two in a row must agree, each at α = min(0.04, 0.4 / planned looks).

Judges that fell are heard in two ways: below the base, which is the verdict's own test, and below the best look so far,
by a margin and beyond chance, whichever of the looks before it was the best. A model that has learnt what everybody
likes and goes on to lose it again is past its best long before it is worse than the base. Both together err in 4 to 6 %
of runs.

Two looks in a row at one α err in about 0.1 α of the runs for each look, most when neighbouring looks correlate by 0.8
to 0.9: with less, the second look seldom agrees; with more, there is little to look at anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kedge.evaluation.change_words import sigma
from kedge.evaluation.comparison import Comparison, compare, mean_change
from kedge.evaluation.diversity import DIVERSITIES
from kedge.evaluation.guard import JURY, MARGIN, Verdict, judge_comparison
from kedge.evaluation.judges import standing
from kedge.evaluation.levels import LEVELS
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Floats, mean_interval, paired_p
from kedge.evaluation.tables import display

ALPHA = 0.04
SPENT = 0.4  # Σ α over the looks, a tenth of which is the share of false alarms


@dataclass(frozen=True, eq=False)
class Peak:
    """The look that the judges liked best so far.

    Attributes:
        step: when it was.
        judges: who judged, in the order of their names.
        heights: their mean change from the base there, in standard deviations of its scores, prompt by prompt.
        tried: looks that it was the best of.
    """

    step: int
    judges: tuple[str, ...]
    heights: Floats
    tried: int = 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "judges": list(self.judges), "heights": self.heights.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Peak:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**data, "judges": tuple(data["judges"]), "heights": np.asarray(data["heights"], dtype=float)})


@dataclass
class Alarm:
    """Judges one run at a number of looks.

    Attributes:
        looks: how many are planned.
        suspected: whether the last look's level sounds the alarm.
        last: the verdict of the last look, whether the one before agreed or not.
        peak: the best look so far; None before the first that anybody judged.
    """

    looks: int
    suspected: bool = False
    last: Verdict | None = None
    peak: Peak | None = None

    @property
    def alpha(self) -> float:
        """What an adjusted p-value must be below at each look."""
        return min(ALPHA, SPENT / max(1, self.looks))

    def look(
        self, comparison: Comparison, trained: Sequence[str], *, step: int = 0, blind: bool = False
    ) -> Verdict | None:
        """The verdict, if it and the one before both sound the alarm; else None.

        Args:
            step: of the run, to be told.
            blind: whether somebody is missing who could have sounded it: then calm acquits nobody, and what was
                suspected stays so.
        """
        verdict = judge_comparison(comparison, trained, self.alpha)
        verdict = self._beside_the_best(verdict, comparison, trained, step=step, blind=blind)
        self.last = verdict
        if blind and not verdict.record.alarm:
            return None
        before, self.suspected = self.suspected, bool(verdict.record.alarm)
        return verdict if before and self.suspected else None

    def _beside_the_best(
        self, verdict: Verdict, comparison: Comparison, trained: Sequence[str], *, step: int, blind: bool
    ) -> Verdict:
        """The verdict with what judges say beside their best look: *past its best*, unless it sounds the alarm anyway.

        Only those are asked who share nothing with what was trained on and see damage. A look whose pictures vary less
        than the base's is never the best: judges like a model that always draws the same good one.
        """
        jury = []
        for change in comparison.rewards:
            if change.metric in verdict.judges and change.spread > 0 and standing(change.metric, trained).clears:
                jury.append(change)
        heights, best = mean_change(jury), self.peak
        names = tuple(sorted(change.metric for change in jury))
        if heights is None or JURY in verdict.lost:
            return verdict
        narrowed = bool(verdict.lost)
        if best is None or best.judges != names or len(best.heights) != len(heights):
            if not narrowed and (best is None or not blind):
                self.peak = Peak(step, names, heights)
            return verdict
        apart = mean_interval(heights - best.heights)
        # Any of the looks before could have been the best: as many chances to err (Bonferroni).
        p, tried = paired_p(heights, best.heights) * best.tried, best.tried + 1
        higher = apart.value >= 0 and not narrowed
        self.peak = Peak(step, names, heights, tried) if higher else replace(best, tried=tried)
        if apart.value > -MARGIN or not p < self.alpha:
            return verdict
        titles = ", ".join(display(change.metric).title for change in jury)
        fell = f"judges fell{sigma(apart.value)} since step {best.step}, their best look: {titles}"
        clauses = (verdict.clauses[0], fell, verdict.clauses[2])
        record = verdict.record if verdict.record.alarm else LEVELS["past"]
        return replace(verdict, record=record, clauses=clauses, lost=(JURY, *verdict.lost))

    def ring(
        self, now: Evaluation, base: Evaluation, trained: str, *, step: int, expected: Iterable[str]
    ) -> tuple[Verdict | None, dict[str, float]]:
        """:meth:`look` at an evaluation of a run, and what its log says of it.

        Args:
            trained: what was trained on.
            expected: rewards that a look has; one that the base has and this look lacks may be who would have accused.
        """
        missing = [name for name in expected if name in base.scores and name not in now.scores]
        blind = any(not standing(name, [trained]).truth for name in missing)
        verdict = self.look(compare(now, base), [trained], step=step, blind=blind)
        assert self.last is not None
        signs = {"alarm": float(verdict is not None)}
        for name in (JURY, *DIVERSITIES):
            signs[f"alarm/{name}"] = float(name in self.last.lost)
        return verdict, signs

    def state_dict(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {"suspected": self.suspected, "peak": self.peak.to_dict() if self.peak else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; checkpoints of earlier versions know less."""
        self.suspected = state.get("suspected", False)
        peak = state.get("peak")
        self.peak = Peak.from_dict(peak) if peak else None
