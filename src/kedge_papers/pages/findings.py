"""What a result says about a claim: a sentence with its numbers, and a verdict.

A claim holds if the 95 % interval of the difference that it speaks of lies above zero, does not hold if it lies below,
and cannot be told here if it includes zero. Where there is no such difference, the sentence names its test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import display
from kedge_papers.records.curves import sooner
from kedge_papers.records.result import Result, merged
from kedge_papers.records.tables import difference, grouped, repeated
from kedge_papers.targets.rocm_tables import FINAL

HOLDS, FAILS, OPEN, MISSING = "holds", "does not hold", "cannot tell here", "not measured yet"
Results = Mapping[str, Result]
Judge = Callable[[Results], "Finding | None"]


@dataclass(frozen=True)
class Finding:
    """What was measured, in a sentence, and what follows."""

    measured: str
    verdict: str


def verdict(difference: Interval) -> str:
    """By the interval of a difference that the claim says is positive."""
    return HOLDS if difference.low > 0 else FAILS if difference.high < 0 else OPEN


def told(difference: Interval, digits: int = 3) -> str:
    """A difference with half its interval, as the pages print it."""
    return f"{difference.value:+.{digits}g} ± {difference.half_width:.{2}g}".replace("-", "−")


def rows_of(result: Result) -> dict[str, Evaluation]:
    """Title → scores, averaged over seeds."""
    return {title: merged(found, title) for title, found in repeated(result.runs, FINAL).items()}


def row_difference(result: Result, ours: str, theirs: str, metric: str) -> Interval:
    """Of two rows, by their titles: over prompts; with several seeds over seeds, if they lie further apart."""
    found = repeated(result.runs, FINAL)
    return difference(found[ours], found[theirs], metric)


def against(ours: str, theirs: str) -> Judge:
    """Two methods of ``methods``: the paired difference of the trained reward, and how much sooner."""

    def judge(results: Results) -> Finding | None:
        result = results.get("methods")
        rows = rows_of(result) if result else {}
        if result is None or ours not in rows or theirs not in rows:
            return None
        metric = next(iter(rows[ours].scores))
        apart = row_difference(result, ours, theirs, metric)
        groups, text = grouped(result.runs), f"after equal reward queries, {ours} − {theirs}: {told(apart)}"
        curve = f"held_out/{metric}"
        queries, time = (sooner(groups[ours], groups[theirs], x, curve) for x in ("queries", "seconds"))
        text += (
            f"; to rise by {queries.rise:.2g}, {theirs} took {queries.times:.2g} times the queries and "
            f"{time.times:.2g} times the time"
            if queries and time
            else "; one of them did not rise"
        )
        return Finding(f"{text} ({display(metric).title}, held-out prompts)", verdict(apart))

    return judge


def consistency_is_faster(results: Results) -> Finding | None:
    """RLCM against DDPO by time."""
    result = results.get("methods")
    groups = grouped(result.runs) if result else {}
    if result is None or not {"RLCM", "DDPO"} <= set(groups):
        return None
    metric = f"held_out/{aesthetic(result)}"
    found = sooner(groups["RLCM"], groups["DDPO"], "seconds", metric)
    spent = {name: groups[name][0] for name in ("RLCM", "DDPO")}
    per_query = {name: run.seconds / max(1.0, run.series("step", "queries")[1][-1]) for name, run in spent.items()}
    text = f"a reward query took DDPO {per_query['DDPO'] / per_query['RLCM']:.2g} times as long as RLCM"
    if found is None:
        return Finding(f"{text}; one of them did not rise", OPEN)
    text += f"; to rise by {found.rise:.2g}, DDPO took {found.times:.2g} times as long"
    times = round(found.times, 2)
    return Finding(text, OPEN if times == 1 else HOLDS if times > 1 else FAILS)


def ablation(name: str, ours: str, theirs: str, metric: Callable[[Result], str]) -> Judge:
    """Two rows of an ablation: the paired difference."""

    def judge(results: Results) -> Finding | None:
        result = results.get(name)
        rows = rows_of(result) if result else {}
        if result is None or ours not in rows or theirs not in rows:
            return None
        what = metric(result)
        apart = row_difference(result, ours, theirs, what)
        return Finding(f"{display(what).title}, {ours} − {theirs}: {told(apart)}", verdict(apart))

    return judge


def aesthetic(result: Result) -> str:
    """The metric that the world calls aesthetic."""
    return str(result.facts["rewards"]["aesthetic"])


def truth_of(result: Result) -> str:
    """The metric that is the true preference."""
    return str(result.facts["truth"])
