"""What the alarm is worth as it ships, judged on runs by which none of its thresholds was set.

The sweep over β once more, from other seeds and on other noise, watched as a user's run is by default: two pictures of
each prompt, and the bundled encoder for how much they vary. Every look is judged by others than the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kedge.evaluation.diversity import DIVERSITIES, WHERE, WITHIN
from kedge.evaluation.guard import JURY
from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.curves import by_step
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import point
from kedge_papers.runner.experiment_set import SEEDS_APART
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.alarm import could_be_warned, first_warning, worth_table
from kedge_papers.targets.hacking import base_row, by_reward, sweep
from kedge_papers.targets.hacking_tables import FINAL, HELD_OUT, Rewards, fixed, signed

FIRST_SEED, NOISE_SEED = 3 * SEEDS_APART, 60  # of no run by which a threshold was set
SIGNS = (JURY, *DIVERSITIES)
NOTE = (
    "The alarm as it ships: two pictures of each of 66 prompts at a look; judges and both diversities are its inputs, "
    "and two looks in a row must agree. It is asked anew at the looks that the runs kept. Its rule and thresholds were "
    "set by other runs, those of the page on reward hacking among them, before any of these was looked at; seeds and "
    "noise are other ones. A review of the code came after that and found two faults of the rule, mended since: a look "
    "with collapsed pictures could be the best, and alikeness hid that judges fell. As it stood before, judges warned "
    "of 88 % in the second table."
)
ALL = (
    "All warnings count here, those that pictures are more alike too. Of that the truth says nothing: it looks at one "
    "picture at a time. How much variety was left is in the last table."
)
OF_JUDGES = (
    "Here a warning counts if it says that judges fell, below the base or since the run's best look: what the truth "
    "may do, too. To tell these from warnings of alikeness was decided after a look at the table above."
)
AS_IT_SHIPS: Mapping[str, Any] = {"watch.encoder": "auto", "watch.pictures": 2}


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """Every reward at every β; ``budget`` is in optimizer steps."""
    first, truth = options.experiments.first_seed + FIRST_SEED, options.experiments.truth
    fresh = replace(options, experiments=replace(options.experiments, first_seed=first, noise_seed=NOISE_SEED))
    final = {FINAL: fresh.measure(metrics=(truth,)) if truth else fresh.measure()}
    matrix = [fresh.base("consistency", final, "alarm")]
    for reward in options.experiments.sweep.rewards:
        for run in sweep(fresh, reward):
            overrides = {**run.overrides, **AS_IT_SHIPS, **(options.overrides or {})}
            matrix.append(replace(run, name=f"alarm-{run.name}", overrides=overrides, measures=final))
    return tuple(matrix)


def show(result: Result) -> Exhibit:
    """Whom it warned, what the truth says of them, and what it heard first."""
    truth = result.facts["truth"]
    if not truth:
        return Exhibit(notes=("No model of this world knows the truth: there is nothing to judge the alarm by.",))
    rewards, base = by_reward(result.runs), base_row(result)
    fallen = "What a warning is worth that judges fell"
    tables = [
        worth_table(rewards, base, truth, seen=f"{NOTE} {ALL}"),
        worth_table(rewards, base, truth, title=fallen, seen=OF_JUDGES, warned=warned_of_judges),
        heard_table(rewards, truth),
    ]
    return Exhibit(tuple(filter(None, tables)))


def warned_of_judges(run: RunRecord) -> bool:
    """Whether its alarm ever sounded at a look at which judges had fallen."""
    alarm, fallen = by_step(run, "alarm"), by_step(run, f"alarm/{JURY}")
    return any(sounded > 0 and fallen.get(step, 0) > 0 for step, sounded in alarm.items())


def heard_table(rewards: Rewards, truth: str) -> Table | None:
    """Of each reward at each β: how many runs were warned, when, by what, and where the truth stood then."""
    lines = []
    for reward, runs in rewards.items():
        for title, same in fixed(runs).items():
            watched = [run for run in same if could_be_warned(run)]
            if watched:
                lines.append((f"{display(reward).title}, {title}", _heard(watched, truth)))
    signs = ("Judges fell", *(f"Less varied {WHERE[name]}" for name in DIVERSITIES))
    then = ("Truth at the warning", "Truth by the end", "Variety within a prompt by the end, %")
    heads = ("Warned", "of runs", "first at step", *signs, *then)
    note = (
        "What had fallen when the alarm first sounded, in so many runs; of one run several things may have. The truth "
        "is of the test prompts that were looked at, its change from the base, ± half of its 95 % interval over seeds. "
        "Bold: not 0 beyond chance. Variety: of the base's, the mean over seeds."
    )
    return Table("Trained on, β", heads, heads, tuple(lines), title="What it heard first", note=note) if lines else None


def _heard(runs: Sequence[RunRecord], truth: str) -> tuple[Cell | None, ...]:
    steps, heard, at_warning, by_end, shares = [], dict.fromkeys(SIGNS, 0), [], [], []
    for run in runs:
        _, variety = run.series("step", f"{HELD_OUT}{WITHIN}")
        shares += [variety[-1] / variety[0]] if len(variety) else []
        truths = by_step(run, f"{HELD_OUT}{truth}")
        first = first_warning(run)
        if truths:
            by_end.append(truths[max(truths)] - truths[min(truths)])
        if first is None:
            continue
        steps.append(first)
        for sign in SIGNS:
            heard[sign] += int(by_step(run, f"alarm/{sign}").get(first, 0) > 0)
        if first in truths:
            at_warning.append(truths[first] - truths[min(truths)])
    when = point(float(np.mean(steps)), digits=0) if steps else None
    cells: list[Cell | None] = []
    for count in heard.values():
        cells.append(point(count, digits=0) if steps else None)
    for changes in (at_warning, by_end):
        cells.append(signed(changes) if changes else None)
    share = point(100 * float(np.mean(shares)), digits=0) if shares else None
    return (point(len(steps), digits=0), point(len(runs), digits=0), when, *cells, share)


ALARM = Target("What the alarm is worth", "beyond the papers", runs, show, points=1)
