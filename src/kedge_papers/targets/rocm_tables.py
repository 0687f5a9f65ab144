"""ROCM's Table 1 (nine methods, four rewards, judged by what they were not trained on) and Table 4 (base models)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from kedge.evaluation.tables import Table, display
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.exhibit import Exhibit
from kedge_papers.records.result import Result
from kedge_papers.records.tables import scores_table
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.target import Target

# Table 1: what each part is trained on, and its columns, in the paper's order.
PARTS = {
    "a": ("hpsv2", ("pickscore", "aesthetic", "clipscore", "blipscore", "imagereward")),
    "b": ("pickscore", ("hpsv2", "aesthetic", "clipscore", "blipscore", "imagereward")),
    "c": ("clipscore", ("pickscore", "aesthetic", "hpsv2", "blipscore", "imagereward")),
    "d": ("aesthetic", ("pickscore", "hpsv2", "clipscore", "blipscore", "imagereward")),
}
TABLE4 = ("pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward")
FINAL = "final"
UNREGULARISED, REGULARISED = "none", "kl"
AT_EQUAL_QUERIES = f"{UNREGULARISED}-equal-queries"
ONE_ROW = "JS and Hellinger per dimension are KL's regulariser at any drift that occurs: its row stands for theirs."
PICTURES = 6  # of each model, for Figure 2


def bases(options: MatrixOptions) -> tuple[Run, ...]:
    """Diffusion and consistency model before training."""
    measures = {FINAL: options.measure(keep=PICTURES)}
    return tuple(options.base(kind, measures) for kind in options.experiments.bases)


def consistency_base(options: MatrixOptions) -> Run:
    """The consistency model before training."""
    return options.base("consistency", {FINAL: options.measure(keep=PICTURES)})


def trained_on(options: MatrixOptions, reward: str) -> tuple[Run, ...]:
    """The methods of a reward, all seeds; the unregularised one also for as many queries as the regularised ones."""
    measures = {FINAL: options.measure(keep=PICTURES)}
    matrix = []
    for method in options.experiments.rows_of(reward):
        for seed in options.repetitions():
            matrix.append(options.row(method, reward, seed, measures))
            if method == UNREGULARISED:
                matrix.append(_at_equal_queries(options, matrix[-1], reward))
    return tuple(matrix)


def _at_equal_queries(options: MatrixOptions, run: Run, reward: str) -> Run:
    """No regularisation needs fewer passes for a picture: for equal passes it scores more, a comparison of its own."""
    regularised = options.row(REGULARISED, reward, run.seed, {}).config()
    name = f"{AT_EQUAL_QUERIES}--{reward}--{run.seed}"
    queries = step_cost(regularised).queries * regularised.training.steps
    return options.with_queries(replace(run, name=name, label=f"{run.label}, equal queries"), queries)


def table1(parts: str) -> Callable[[MatrixOptions], tuple[Run, ...]]:
    """The runs of some parts of Table 1."""

    def runs(options: MatrixOptions) -> tuple[Run, ...]:
        matrix = list(bases(options))
        for part in parts:
            matrix += trained_on(options, PARTS[part][0])
        return tuple(matrix)

    return runs


def part_of(result: Result, part: str) -> Table:
    """One part of Table 1; the model that consistency methods start from comes last."""
    reward, columns = PARTS[part]
    ours = result.facts["rewards"]
    runs = result.on(reward)
    title = f"({part}) Trained using {display(ours[reward]).title} as reward model"
    table = scores_table(result, [*runs, *result.starting("base-")], FINAL, _metrics(result, columns), title)
    families = {run.family.split("--")[0] for run in runs}
    return replace(table, note=f"{table.note} {ONE_ROW}") if families and "js" not in families else table


def _metrics(result: Result, columns: Sequence[str]) -> list[str]:
    """Ours for the paper's columns; the true preference last, where there is one."""
    metrics = [result.facts["rewards"][name] for name in columns]
    if result.facts["truth"]:
        metrics.append(result.facts["truth"])
    return metrics


def show_table1(result: Result) -> Exhibit:
    """Its parts, as far as there are runs."""
    return Exhibit(tuple(part_of(result, part) for part, (reward, _) in PARTS.items() if result.on(reward)))


def show_table4(result: Result) -> Exhibit:
    """Two rows."""
    title = "Baseline models for diffusion and consistency based methods"
    return Exhibit((scores_table(result, result.runs, FINAL, _metrics(result, TABLE4), title),))


TABLE1 = Target("Nine methods by four rewards, judged by the others", "ROCM, Table 1", table1("abcd"), show_table1)
TABLE1A, TABLE1B, TABLE1C, TABLE1D = (
    Target(f"Table 1, part {part}: trained on {PARTS[part][0]}", f"ROCM, Table 1{part}", table1(part), show_table1)
    for part in PARTS
)
AS_THEY_ARE = "None: nothing is trained."
TABLE4_TARGET = Target("The base models", "ROCM, Table 4", bases, show_table4, protocol=AS_THEY_ARE)
