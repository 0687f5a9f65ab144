"""An alarm that is asked again and again, and yet seldom sounds by chance.

Each evaluation of a run tests the same question anew. At 95 % each, ten of them accuse every fifth run whose held-out
rewards never moved. Two rules keep all looks of a run together below 5 % (simulated in
tests/unit/evaluation/test_repeated_looks.py, whatever the looks have in common):

* within a look, Holm's adjusted p-values, because each held-out reward is a chance of its own to err;
* over the looks, two in a row must agree, each at α = min(0.04, 0.4 / planned looks).

Two looks in a row at one α err in about 0.1 α of the runs for each look, most when neighbouring looks correlate by 0.8
to 0.9: with less, the second look seldom agrees; with more, there is little to look at anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kedge.evaluation.comparison import Comparison
from kedge.evaluation.guard import Verdict, judge_comparison

ALPHA = 0.04
SPENT = 0.4  # Σ α over the looks, a tenth of which is the share of false alarms


@dataclass
class Alarm:
    """Judges one run at a number of looks.

    Attributes:
        looks: how many are planned.
        suspected: whether the last look's level sounds the alarm.
        last: the verdict of the last look, whether the one before agreed or not.
    """

    looks: int
    suspected: bool = False
    last: Verdict | None = None

    @property
    def alpha(self) -> float:
        """What an adjusted p-value must be below at each look."""
        return min(ALPHA, SPENT / max(1, self.looks))

    def look(self, comparison: Comparison, trained: Sequence[str], *, blind: bool = False) -> Verdict | None:
        """The verdict, if it and the one before both sound the alarm; else None.

        Args:
            blind: whether somebody is missing who could have sounded it: then calm acquits nobody, and what was
                suspected stays so.
        """
        verdict = judge_comparison(comparison, trained, self.alpha)
        self.last = verdict
        if blind and not verdict.record.alarm:
            return None
        before, self.suspected = self.suspected, bool(verdict.record.alarm)
        return verdict if before and self.suspected else None
