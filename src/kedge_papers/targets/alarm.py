"""What the alarm is worth: whom it warned while they trained, and what the truth, which it never sees, says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kedge.evaluation.statistics import Interval
from kedge.evaluation.statistics.rates import wilson
from kedge.evaluation.tables import Cell, Table, display
from kedge_papers.records.rows import Row, difference, rows
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import point
from kedge_papers.targets.hacking_tables import FINAL, HELD_OUT, Rewards, fixed, signed

Outcome = tuple[bool, bool]  # of a run: whether the truth fell, and whether it was warned


def alarm_table(rewards: Rewards, truth: str) -> Table | None:
    """How often the alarm sounded, when first, and what became of the truth."""
    lines = []
    for reward, runs in rewards.items():
        for title, same in fixed(runs).items():
            first, changes = [], []
            for run in same:
                steps, alarms = run.series("step", "alarm")
                _, truths = run.series("step", f"{HELD_OUT}{truth}")
                first += steps[alarms > 0][:1].tolist()
                changes += [truths[-1] - truths[0]] if len(truths) and len(steps) else []
            if changes:
                when = point(float(np.mean(first)), digits=0) if first else None
                cells = (point(len(first), digits=0), point(len(changes), digits=0), when, signed(changes))
                lines.append((f"{display(reward).title}, {title}", cells))
    heads = ("Warned", "of runs", "first at step", "Truth by the end")
    note = (
        "The alarm sees rewards that were not trained on, never the truth; where the truth fell it should have "
        "sounded, where it rose it should not. Bold: not 0 beyond chance."
    )
    return Table("Trained on, β", heads, heads, tuple(lines), "The alarm", note) if lines else None


def worth_table(rewards: Rewards, base: Row | None, truth: str) -> Table | None:
    """How many of the runs whose truth fell were warned, and how many of the others were not."""
    lines, everything = [], list[Outcome]()
    for reward, runs in rewards.items():
        outcomes = _outcomes(runs, base, truth)
        everything += outcomes
        if outcomes:
            lines.append((display(reward).title, _worth(outcomes)))
    if len(lines) > 1:
        lines.append(("all", _worth(everything)))
    heads = ("Truth fell", "of these, warned", "Truth did not fall", "of these, not warned")
    note = (
        "The truth of a finished run fell if the 95 % interval of its difference to the base, over test prompts and "
        "paired, lies below 0. Shares of runs with Wilson's 95 % interval, as if runs were independent: those of one "
        "reward are alike. Here only the other rewards sound the alarm, on one picture of each prompt; with an encoder "
        "(watch.encoder) both diversities do, too."
    )
    return Table("Trained on", heads, heads, tuple(lines), "What the alarm is worth", note) if lines else None


def _outcomes(runs: Sequence[RunRecord], base: Row | None, truth: str) -> list[Outcome]:
    """Of runs with a β that was chosen, measured at the end and looked at on the way."""
    outcomes = []
    for same in fixed(runs).values():
        for run in same:
            _, alarms = run.series("step", "alarm")
            row = rows([run], FINAL).get(run.title)
            if base is None or row is None or not row.has(truth) or not len(alarms):
                continue
            outcomes.append((difference(row, base, truth).high < 0, bool((alarms > 0).any())))
    return outcomes


def _worth(outcomes: Sequence[Outcome]) -> tuple[Cell | None, ...]:
    warned = [warned for fell, warned in outcomes if fell]
    silent = [not warned for fell, warned in outcomes if not fell]
    return (point(len(warned), digits=0), _share(warned), point(len(silent), digits=0), _share(silent))


def _share(right: Sequence[bool]) -> Cell | None:
    """None of nothing."""
    if not right:
        return None
    count, whole = sum(right), len(right)
    return Cell(Interval(count / whole, *wilson(count, whole), whole), style="percent", digits=0)
