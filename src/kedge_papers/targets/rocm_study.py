"""ROCM's Figure 3: people compare ROCM with KL and RLCM, trained on the same reward.

The paper asked 10 participants about 300 pairs of one model each. Here raters are simulated: they see what the emoji
world's oracle sees, blurred and with slips (:mod:`kedge.study.simulate`), and vote over HTTP on the pages that people
would use; and there are several models of each kind, because a pair of models says nothing about their methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kedge.evaluation.statistics import Interval, crossed_rate
from kedge.evaluation.tables import Cell, Table, display
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit, canvas
from kedge_papers.records.result import Result
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target
from kedge_papers.targets.rocm_tables import FINAL, PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS, THEIRS = "kl", "rlcm"  # named beforehand: no model is chosen by what it is judged on
PAIRS, RATERS, JUDGED_BY = 40, 10, 3  # of each study: pairs, raters, and how many of them judge each pair


def runs(options: MatrixOptions) -> tuple[Run, ...]:
    """Of Table 1: ROCM with KL and RLCM, on each reward that it has for the experiment set."""
    measures = {FINAL: options.measure(keep=6)}
    matrix = []
    for reward in judged_rewards(options):
        for method in (OURS, THEIRS):
            for seed in options.repetitions():
                matrix.append(options.row(method, reward, seed, measures))
    return tuple(matrix)


def judged_rewards(options: MatrixOptions) -> list[str]:
    """The rewards of Table 1 that both methods are trained on."""
    rewards = []
    for reward, _ in PARTS.values():
        in_table = not options.experiments.rows or reward in options.experiments.rows
        if in_table and {OURS, THEIRS} <= set(options.experiments.rows_of(reward)):
            rewards.append(reward)
    return rewards


def vote(options: MatrixOptions, matrix: Matrix, folder: Path) -> Mapping[str, Any]:
    """A study for each reward and seed; one that was interrupted goes on where it stood."""
    votes: dict[str, dict[str, list[Any]]] = {}
    titles: dict[str, str] = {}
    for reward in judged_rewards(options):
        for seed in options.repetitions():
            pair = [matrix.find(f"{method}--{reward}--{seed}") for method in (OURS, THEIRS)]
            if all(matrix.state(run) == "finished" for run in pair):
                titles |= _study(options, matrix, folder / f"study-{reward}-{seed}", pair, votes.setdefault(reward, {}))
    methods = options.experiments.methods
    return {
        "votes": votes,
        "questions": titles,
        "ours": methods[OURS].title,
        "theirs": methods[THEIRS].title,
        "pairs": options.count or PAIRS,
        "raters": RATERS,
    }


def _study(
    options: MatrixOptions, matrix: Matrix, folder: Path, pair: Sequence[Run], votes: dict[str, list[Any]]
) -> dict[str, str]:
    """Let raters vote; adds what they said to ``votes``, a column for each of its facts. Returns the questions."""
    from kedge.study import open_study
    from kedge.study.records import read_records
    from kedge.study.serving import serving
    from kedge.study.simulate import Habits, oracle_look, simulate

    if not folder.exists():
        _draw_pairs(options, matrix, folder, pair)
    store, seed = open_study(folder), pair[0].seed
    while len(store.links()) < RATERS:
        store.add_rater()
    with serving(store) as links:
        simulate(links, oracle_look(), Habits(), seed=seed)
    for record in read_records(store):
        if not record.repeat:
            row = (record.question, seed, record.prompt, f"{seed}/{record.rater}", record.outcome)
            for column, value in zip(("question", "seed", "prompt", "rater", "outcome"), row, strict=True):
                votes.setdefault(column, []).append(value)
    titles = {question.key: question.title for question in store.facts().questions}
    store.close()
    return titles


def _draw_pairs(options: MatrixOptions, matrix: Matrix, folder: Path, pair: Sequence[Run]) -> None:
    from kedge.prompts import load_prompts
    from kedge.study import Design, create_study
    from kedge.study.questions import PAPER, parse_questions
    from kedge.study.sources import ModelSource
    from kedge.workflows.load_run import load_run

    pairs = options.count or PAIRS
    design = Design(pairs, per_rater=max(1, round(pairs * JUDGED_BY / RATERS)), seed=pair[0].seed)
    sources = [ModelSource(run.title, load_run(matrix.home(run)).policy) for run in pair]
    folder.parent.mkdir(parents=True, exist_ok=True)
    prompts = load_prompts(options.experiments.study)
    # Programs rate it: without a secret, the same seed gives the same study.
    create_study(folder, sources, prompts, parse_questions(PAPER), design, secret="").close()


@dataclass(frozen=True)
class Preference:
    """What raters said of one reward's models under one question.

    Attributes:
        shares: of votes for ours, for neither, for theirs.
        rate: win rate of ours, a tie as half a win.
        seeds: pairs of models that were compared.
    """

    reward: str
    question: str
    title: str
    shares: tuple[float, float, float]
    rate: Interval
    seeds: int


def preferences(result: Result) -> list[Preference]:
    """Every reward under every question."""
    rows = []
    for reward, votes in result.extra.get("votes", {}).items():
        for key, title in result.extra["questions"].items():
            chosen = np.array(votes["question"]) == key
            outcomes = np.array(votes["outcome"], dtype=float)[chosen]
            seeds = np.array(votes["seed"])[chosen].tolist()
            prompts, raters = np.array(votes["prompt"])[chosen].tolist(), np.array(votes["rater"])[chosen].tolist()
            rate = crossed_rate(outcomes, [seeds, prompts, raters])
            won, tied, lost = np.mean(outcomes == np.array([[1.0], [0.5], [0.0]]), axis=1).tolist()
            rows.append(Preference(reward, key, title, (won, tied, lost), rate, len(set(seeds))))
    return rows + _of_one_pair(result)


def _of_one_pair(result: Result) -> list[Preference]:
    """Of records that hold the analysis of one pair of models for each reward in place of the votes."""
    rows = []
    for reward, analysis in result.extra.get("contests", {}).items():
        titles = {question["key"]: question["title"] for question in analysis["questions"]}
        for contest in analysis["contests"]:
            won, tied, lost = (float(share["value"]) for share in contest["shares"])
            rate, key = Interval(**contest["crossed"]), contest["question"]
            rows.append(Preference(reward, key, titles[key], (won, tied, lost), rate, 1))
    return rows


def show(result: Result) -> Exhibit:
    """Bars as in the paper: for each reward and question, ours preferred, no difference, RLCM preferred."""
    rows, bars = [], []
    for each in preferences(result):
        label = f"{display(result.facts['rewards'][each.reward]).title}: {each.title}"
        shares = [Cell(Interval(share, -np.inf, np.inf, 1), digits=0, scale=100) for share in each.shares]
        sure = each.seeds > 1 and each.rate.excludes(0.5)
        rows.append((label, (*shares, Cell(each.rate, style="percent", bold=sure))))
        bars.append((label, each.shares))
    if not rows:
        return Exhibit()
    seeds = max(each.seeds for each in preferences(result))
    heads = ("Ours preferred, %", "No difference, %", "RLCM preferred, %", "Win rate of ours")
    over = f"{seeds} seeds, prompts and raters at once" if seeds > 1 else "prompts and raters"
    note = (
        f"{result.extra['pairs']} pairs for each reward and pair of models, {result.extra['raters']} simulated raters. "
        f"The win rate counts ties half; its 95 % interval is over {over}. "
    )
    note += "Bold: not one half beyond chance." if seeds > 1 else "One pair of models: says nothing about the methods."
    table = Table("Trained on: question", heads, ("ours", "tie", "theirs", "rate"), tuple(rows), note=note)
    return Exhibit((table,), _bars(bars))


def _bars(bars: Sequence[tuple[str, Sequence[float]]]) -> Figure:
    figure, (axes,) = canvas(size=(8.0, 0.6 + 0.34 * len(bars)))
    labels = []
    for row, (label, shares) in enumerate(reversed(bars)):
        labels.append(label)
        left = 0.0
        for share, colour in zip(shares, ("#009e73", "#d5d5da", "#d55e00"), strict=True):
            axes.barh(row, 100 * share, left=left, color=colour)
            left += 100 * share
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.axvline(50, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 100), xlabel="votes, %: ours (green), no difference (grey), RLCM (orange)")
    return figure


FIG3 = Target("Pairwise study: ROCM with KL against RLCM", "ROCM, Figure 3", runs, show, vote)
