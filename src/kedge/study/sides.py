"""Which side raters chose, once for each pair that a rater was shown: its questions are answered on one look at it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kedge.study.records import Record

LEAN = {"left": 1, "right": -1, "tie": 0}


def sides_chosen(records: Iterable[Record]) -> tuple[int, int]:
    """On how many showings most answers were for the left picture, and for the right one.

    Answers to several questions about one pair mostly agree: counted one by one, raters without any bias would be
    called biased in 20 to 25 % of studies of three questions.
    """
    leans: defaultdict[tuple[str, int], int] = defaultdict(int)
    for record in records:
        leans[record.rater, record.pair] += LEAN[record.choice]
    left = right = 0
    for lean in leans.values():
        left += lean > 0
        right += lean < 0
    return left, right
