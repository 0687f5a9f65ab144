"""ROCM's Figure 3: people compare the best regularised model of each reward with RLCM's of the same reward.

The paper asked 10 participants about 300 pairs. Here raters are simulated: they see what the emoji world's oracle sees,
blurred and with slips (:mod:`kedge.study.simulate`), and vote over HTTP on the pages that people would use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kedge.evaluation.records import evaluation_folder, load_record
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit, canvas
from kedge_papers.records.result import Result
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.rocm_tables import FINAL, PARTS, bases, trained_on

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS, RATERS, JUDGED_BY = 300, 10, 3  # pairs, raters, and how many of them judge each pair
RULE = (
    "The best of ours is the regularised method whose other learned metrics rose most, in standard deviations of the "
    "base model's scores; neither the oracle nor the raters had a say in it."
)


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """Of Table 1, the first seed: our regularised methods and RLCM, on each reward; and the model before."""
    wanted = ("rlcm", *_regularised(options))
    one = replace(options, seeds=1)
    rows = [run for reward, _ in PARTS.values() for run in trained_on(one, reward)]
    before = [run for run in bases(options) if run.name == "base-consistency"]
    return (*before, *(run for run in rows if run.name.split("--")[0] in wanted))


def _regularised(options: MatrixOptions) -> list[str]:
    chosen = {
        name: method.overrides.get("algorithm.divergence") for name, method in options.experiments.methods.items()
    }
    return [name for name, divergence in chosen.items() if divergence not in (None, "none")]


def best(options: MatrixOptions, matrix: Matrix, reward: str) -> Run | None:
    """The best of ours on a reward, by :data:`RULE`; None if none was trained."""
    base = load_record(evaluation_folder(matrix.folder / "base-consistency"), FINAL)
    scored: list[tuple[float, Run]] = []
    for method in _regularised(options):
        run = matrix.find(f"{method}--{reward}--0")
        ours = load_record(evaluation_folder(matrix.home(run)), FINAL)
        if base is not None and ours is not None and matrix.state(run) == "finished":
            skip = {options.experiments.rewards[reward], options.experiments.truth}
            shared = [metric for metric in ours.scores if metric in base.scores and metric not in skip]
            rises = [(ours.scores[m].mean() - base.scores[m].mean()) / base.scores[m].std() for m in shared]
            scored.append((float(np.mean(rises)) if rises else 0.0, run))
    return max(scored, key=lambda one: one[0])[1] if scored else None


def vote(options: MatrixOptions, matrix: Matrix, folder: Path) -> Mapping[str, Any]:
    """A study for each reward; one that was interrupted goes on where it stood."""
    contests = {}
    for reward, _ in PARTS.values():
        theirs, ours = matrix.find(f"rlcm--{reward}--0"), best(options, matrix, reward)
        if ours is not None and matrix.state(theirs) == "finished":
            contests[reward] = _study(options, matrix, folder / f"study-{reward}", ours, theirs)
    return {"contests": contests, "rule": RULE, "pairs": options.count or PAIRS, "raters": RATERS}


def _study(options: MatrixOptions, matrix: Matrix, folder: Path, ours: Run, theirs: Run) -> dict[str, Any]:
    from kedge.study import analyse, open_study
    from kedge.study.analysis import to_dict
    from kedge.study.records import read_records
    from kedge.study.serving import serving
    from kedge.study.simulate import Habits, oracle_look, simulate

    if not folder.exists():
        _draw_pairs(options, matrix, folder, ours, theirs)
    store = open_study(folder)
    while len(store.links()) < RATERS:
        store.add_rater()
    with serving(store) as links:
        simulate(links, oracle_look(), Habits(), seed=0)
    analysis = analyse(read_records(store), store.facts().questions, [ours.title, theirs.title])
    store.close()
    return to_dict(analysis)


def _draw_pairs(options: MatrixOptions, matrix: Matrix, folder: Path, ours: Run, theirs: Run) -> None:
    from kedge.prompts import load_prompts
    from kedge.study import Design, create_study
    from kedge.study.questions import PAPER, parse_questions
    from kedge.study.sources import ModelSource
    from kedge.workflows.load_run import load_run

    pairs = options.count or PAIRS
    design = Design(pairs, per_rater=max(1, round(pairs * JUDGED_BY / RATERS)))
    sources = [ModelSource(run.title, load_run(matrix.home(run)).policy) for run in (ours, theirs)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    create_study(folder, sources, load_prompts(options.experiments.study), parse_questions(PAPER), design).close()


def show(result: Result) -> Exhibit:
    """Bars as in the paper: for each reward and question, ours preferred, no difference, RLCM preferred."""
    rows, bars = [], []
    for reward, analysis in result.extra["contests"].items():
        titles = {question["key"]: question["title"] for question in analysis["questions"]}
        for contest in analysis["contests"]:
            label = f"{display(result.facts['rewards'][reward]).title}: {titles[contest['question']]}"
            shares = [Interval(**share) for share in contest["shares"]]
            rate = Cell(
                Interval(**contest["crossed"]), style="percent", bold=Interval(**contest["crossed"]).excludes(0.5)
            )
            cells = (*(Cell(share, style="percent") for share in shares), rate)
            rows.append((f"{label} ({contest['ours']})", cells))
            bars.append((label, [share.value for share in shares]))
    if not rows:
        return Exhibit()
    heads = ("Ours preferred", "No difference", "RLCM preferred", "Win rate of ours")
    note = (
        f"{result.extra['pairs']} pairs for each reward, {result.extra['raters']} simulated raters. Intervals: 95 %, "
        "over prompts; that of the win rate (ties count half) over raters and prompts at once. " + result.extra["rule"]
    )
    table = Table("Trained on: question (our method)", heads, ("ours", "tie", "theirs", "rate"), tuple(rows), note=note)
    return Exhibit((table,), _bars(bars))


def _bars(bars: Sequence[tuple[str, Sequence[float]]]) -> Figure:
    figure, (axes,) = canvas(size=(8.0, 0.6 + 0.34 * len(bars)))
    for row, (_, shares) in enumerate(reversed(bars)):
        left = 0.0
        for share, colour in zip(shares, ("#009e73", "#d5d5da", "#d55e00"), strict=True):
            axes.barh(row, 100 * share, left=left, color=colour)
            left += 100 * share
    axes.set_yticks(range(len(bars)), [label for label, _ in reversed(bars)], fontsize=8)
    axes.axvline(50, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 100), xlabel="votes, %: ours (green), no difference (grey), RLCM (orange)")
    return figure


FIG3 = Target("Pairwise study: ours against RLCM", "ROCM, Figure 3", runs, show, vote)
