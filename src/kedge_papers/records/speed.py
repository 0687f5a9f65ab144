"""How much sooner one method reaches a level than another: levels named beforehand, seed by seed, within the budget.

A level is a rise above a run's own start, in standard deviations of the base model's scores. Not the largest rise that
both reach: that is where the slower of two stops, and there every ratio tends to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from kedge.evaluation.run_log import HELD_OUT
from kedge.evaluation.statistics import Interval, Reached, Speedup, first_reaching, mean_interval, speedup
from kedge_papers.records.run_record import RunRecord

LEVELS = (0.25, 0.5)  # standard deviations of the base model's scores
TIMED_BY = ("device", "processor", "accelerators", "threads")  # of a record's machine


def reaching(run: RunRecord, x: str, curve: str, rise: float, budget: float | None = None) -> Reached | None:
    """Where a curve has first risen by ``rise``; None without a curve of at least two points.

    Nor of a run whose look before its first step is lost: it would be measured from where it had risen to already.
    Between two looks the curve is a straight line, but not before the first look after the start: a level that had been
    passed by then counts as reached there, as nothing says how much earlier.

    Args:
        x: ``queries`` or ``seconds``.
        curve: a column of the record, ``held_out/pickscore`` for example.
        rise: in the curve's own units.
        budget: what a run that does not get there is censored at; its own last x by default.
    """
    where, values = run.series(x, curve)
    if len(where) < 2 or (curve.startswith(f"{HELD_OUT}/") and run.series("step", curve)[0][0] > 0):
        return None
    places, risen = _once_each(where, values - values[0])
    reached = first_reaching(places, risen, rise, budget=budget)
    seen = places[1] if len(places) > 1 and not reached.censored else 0.0
    return replace(reached, x=max(reached.x, float(seen)))


def _once_each(where: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the values at each x: several optimizer steps of one batch have asked for equally many queries."""
    places, index = np.unique(where, return_inverse=True)
    return places, np.bincount(index, values) / np.bincount(index)


def sooner(ours: Sequence[RunRecord], theirs: Sequence[RunRecord], x: str, curve: str, rise: float) -> Speedup | None:
    """How many times more of x theirs took than ours, over the seeds that both have; None if they share none.

    Seconds are compared between runs on hardware of one name alone: other seeds are left out.
    """
    first, second = _by_seed(ours, x, curve, rise), _by_seed(theirs, x, curve, rise)
    our_machines, their_machines = _machines(ours), _machines(theirs)
    shared = []
    for seed in first:
        if seed in second and (x != "seconds" or our_machines[seed] == their_machines[seed]):
            shared.append(seed)
    if not shared:
        return None
    our_times, their_times = [], []
    for seed in shared:
        our_time, their_time = _comparable(first[seed], second[seed])
        our_times.append(our_time)
        their_times.append(their_time)
    return speedup(our_times, their_times)


def timed_alike(runs: Sequence[RunRecord]) -> bool:
    """Whether seconds of these runs may stand on one axis: all of hardware of one name."""
    return len(set(map(_machine, runs))) <= 1


def _machines(runs: Sequence[RunRecord]) -> dict[int, tuple[str, ...]]:
    """Seed → what it was timed on."""
    return {run.seed: _machine(run) for run in runs}


def _machine(run: RunRecord) -> tuple[str, ...]:
    return tuple(str(run.machine.get(key)) for key in TIMED_BY)


def _comparable(ours: Reached, theirs: Reached) -> tuple[Reached, Reached]:
    """Who did not get there is never the sooner of two, however little its own budget took: then the ratio is 1.

    Budgets are equal in one unit alone: of equal reward queries, the method with the cheaper ones has less time.
    """
    longest = Reached(max(ours.x, theirs.x), censored=True)
    return longest if ours.censored else ours, longest if theirs.censored else theirs


def shown_ratio(speed: Speedup) -> Interval | None:
    """The ratio as tables print it: over the seeds where one of the two got there, open to the side that is a bound.

    None if hardly anybody got there, if it is a bound from above in one seed and from below in another, or a bound of
    one seed alone, beside which no interval would show that it is one.
    """
    known = []
    for ratio, tied in zip(speed.log_ratios, speed.neither, strict=True):
        if not tied:
            known.append(ratio)
    lost = len(speed.log_ratios) - len(known)
    from_above, from_below = speed.ours_censored > lost, speed.theirs_censored > lost
    bounds = int(from_above) + int(from_below)
    if speed.ours_censored + speed.theirs_censored > len(speed.log_ratios) or len(known) <= bounds or bounds == 2:
        return None
    log = mean_interval(known, level=speed.log_ratio.level)
    high = math.inf if from_below else math.exp(log.high)
    low = 0.0 if from_above else math.exp(log.low)
    return Interval(math.exp(log.value), low, high, units=log.units, level=log.level)


def _by_seed(runs: Sequence[RunRecord], x: str, curve: str, rise: float) -> Mapping[int, Reached]:
    # A run that broke off early did not get there any sooner: it counts as what its method had to spend.
    whole = max((_last(run, "step", curve) for run in runs), default=0.0)
    budget = max((_last(run, x, curve) for run in runs), default=0.0)
    reached = {}
    for run in runs:
        broke_off = _last(run, "step", curve) < whole
        reached[run.seed] = reaching(run, x, curve, rise, budget if broke_off else None)
    by_seed = {}
    for seed, each in reached.items():
        if each is not None:
            by_seed[seed] = each
    return by_seed


def _last(run: RunRecord, x: str, curve: str) -> float:
    return float(run.series(x, curve)[0].max(initial=0.0))
