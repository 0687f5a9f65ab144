"""What the alarm is worth: whom it warned while they trained, and what the truth, which it never sees, says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kedge.evaluation.comparison import compare
from kedge.evaluation.guard import judge_comparison
from kedge.evaluation.statistics import Interval
from kedge.evaluation.statistics.rates import wilson
from kedge.evaluation.tables import Cell, Table, display
from kedge_papers.records.rows import Row, difference, rows
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import point
from kedge_papers.targets.hacking_tables import FINAL, HELD_OUT, Rewards, fixed, signed

Outcome = tuple[bool, bool]  # of a run: whether the truth fell, and whether that was noticed without it
LOOKS_THAT_AGREE = 2
ACCUSING = ("warn", "bad")  # tones of a verdict
FELL = (
    "The truth of a finished run fell if the 95 % interval of its difference to the base, over test prompts and "
    "paired, lies below 0. Shares of runs with Wilson's 95 % interval, as if runs were independent: those of one "
    "reward are alike."
)
# Looks were not kept with the first runs.
AS_IT_WAS = (
    "Of runs whose looks were not kept, as it sounded while they trained, by an older rule: it knew no best look of a "
    "run, and not always the verdict *damaged* where the judges fell and the trained reward did not rise."
)
WITHOUT_ENCODER = (
    "Here only the other rewards sound the alarm, on one picture of each prompt; with an encoder (watch.encoder) both "
    f"diversities do, too (`kedge reproduce alarm`). {AS_IT_WAS}"
)


def alarm_table(rewards: Rewards, truth: str) -> Table | None:
    """How often the alarm sounded, when first, and what became of the truth."""
    lines = []
    for reward, runs in rewards.items():
        for title, same in fixed(runs).items():
            first, changes = [], []
            for run in filter(could_be_warned, same):
                _, truths = run.series("step", f"{HELD_OUT}{truth}")
                warning = first_warning(run)
                first += [] if warning is None else [warning]
                changes += [truths[-1] - truths[0]] if len(truths) else []
            if changes:
                when = point(float(np.mean(first)), digits=0) if first else None
                cells = (point(len(first), digits=0), point(len(changes), digits=0), when, signed(changes))
                lines.append((f"{display(reward).title}, {title}", cells))
    heads = ("Warned", "of runs", "first at step", "Truth by the end")
    note = (
        "The alarm sees rewards that were not trained on, never the truth; where the truth fell it should have "
        f"sounded, where it rose it should not. {AS_IT_WAS} Bold: not 0 beyond chance."
    )
    return Table("Trained on, β", heads, heads, tuple(lines), "The alarm", note) if lines else None


def was_warned(run: RunRecord) -> bool:
    """Whether its alarm ever sounded."""
    return first_warning(run) is not None


def worth_table(
    rewards: Rewards,
    base: Row | None,
    truth: str,
    *,
    title: str = "What the alarm is worth",
    seen: str = WITHOUT_ENCODER,
    warned: Callable[[RunRecord], bool] = was_warned,
) -> Table | None:
    """How many of the runs whose truth fell were warned while they trained, and how many of the others were not.

    Args:
        seen: what sounded the alarm of these runs, for the note.
        warned: what counts as a warning.
    """
    outcomes = {}
    for reward, runs in rewards.items():
        watched = [(run, fell) for run, fell in _measured(runs, base, truth) if could_be_warned(run)]
        outcomes[reward] = [(fell, warned(run)) for run, fell in watched]
    heads = ("Truth fell", "of these, warned", "Truth did not fall", "of these, not warned")
    return _worth_table(title, heads, f"{FELL} {seen}", outcomes)


def verdict_table(rewards: Rewards, base: Row | None, truth: str) -> Table | None:
    """How many of the finished models whose truth fell a verdict on them accuses, and how many of the others not."""
    outcomes = {}
    for reward, runs in rewards.items():
        seen = _measured(runs, base, truth)
        outcomes[reward] = [(fell, _is_accused(run, base, reward)) for run, fell in seen]
    heads = ("Truth fell", "of these, accused", "Truth did not fall", "of these, not accused")
    note = (
        f"{FELL} Accused: by the verdict on base → tuned (kedge compare), which never sees the truth, from the same "
        "pictures: learnt to cheat, damaged, worse, collapsed or more alike. How much pictures vary was not measured "
        "here."
    )
    return _worth_table("What the verdict on a finished model is worth", heads, note, outcomes)


def could_be_warned(run: RunRecord) -> bool:
    """Whether it was looked at twice: two looks in a row have to agree."""
    _, alarms = run.series("step", "alarm")
    return len(alarms) >= LOOKS_THAT_AGREE


def _measured(runs: Sequence[RunRecord], base: Row | None, truth: str) -> list[tuple[RunRecord, bool]]:
    """Those with a β that was chosen, of whose finished model the truth is known; and whether it fell."""
    known = []
    for same in fixed(runs).values():
        for run in same:
            row = rows([run], FINAL).get(run.title)
            if base is not None and row is not None and row.has(truth):
                known.append((run, difference(row, base, truth).high < 0))
    return known


def first_warning(run: RunRecord) -> float | None:
    """The step at which its alarm first sounded; None if it never did."""
    steps, alarms = run.series("step", "alarm")
    warned = steps[alarms > 0]
    return float(warned[0]) if len(warned) else None


def _is_accused(run: RunRecord, base: Row | None, reward: str) -> bool:
    assert base is not None  # of those that were measured
    (before,) = base.repetitions.values()
    verdict = judge_comparison(compare(run.evaluations[FINAL], before), [reward])
    return verdict.record.tone in ACCUSING


def _worth_table(
    title: str, heads: Sequence[str], note: str, outcomes: Mapping[str, Sequence[Outcome]]
) -> Table | None:
    """A line for each reward, and one for all."""
    lines, everything = [], list[Outcome]()
    for reward, seen in outcomes.items():
        everything += seen
        if seen:
            lines.append((display(reward).title, _worth(seen)))
    if len(lines) > 1:
        lines.append(("all", _worth(everything)))
    return Table("Trained on", tuple(heads), tuple(heads), tuple(lines), title, note) if lines else None


def _worth(outcomes: Sequence[Outcome]) -> tuple[Cell | None, ...]:
    noticed = [noticed for fell, noticed in outcomes if fell]
    silent = [not noticed for fell, noticed in outcomes if not fell]
    return (point(len(noticed), digits=0), _share(noticed), point(len(silent), digits=0), _share(silent))


def _share(right: Sequence[bool]) -> Cell | None:
    """None of nothing."""
    if not right:
        return None
    count, whole = sum(right), len(right)
    return Cell(Interval(count / whole, *wilson(count, whole), whole), style="percent", digits=0)
