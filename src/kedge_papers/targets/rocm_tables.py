"""ROCM's Table 1 (nine methods, four rewards, judged by what they were not trained on) and Table 4 (base models)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kedge.evaluation.tables import Table, display
from kedge.workflows.runner.runs import Run
from kedge_papers.pages.save import save_tables
from kedge_papers.records.records import Result
from kedge_papers.records.tables import scores_table
from kedge_papers.runner.options import Settings
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
PICTURES = 6  # of each model, for Figure 2


def bases(settings: Settings) -> tuple[Run, ...]:
    """Diffusion and consistency model before training."""
    measures = {FINAL: settings.measure(keep=PICTURES)}
    return tuple(settings.base(kind, measures) for kind in settings.world.bases)


def trained_on(settings: Settings, reward: str) -> tuple[Run, ...]:
    """All methods, all seeds."""
    measures = {FINAL: settings.measure(keep=PICTURES)}
    seeds, methods = settings.repetitions(), settings.world.methods
    return tuple(settings.row(method, reward, seed, measures) for method in methods for seed in seeds)


def table1(parts: str) -> Callable[[Settings], tuple[Run, ...]]:
    """The runs of some parts of Table 1."""

    def runs(settings: Settings) -> tuple[Run, ...]:
        rewards = [PARTS[part][0] for part in parts]
        return (*bases(settings), *(run for reward in rewards for run in trained_on(settings, reward)))

    return runs


def part_of(result: Result, part: str) -> Table:
    """One part of Table 1; the model that consistency methods start from comes last."""
    reward, columns = PARTS[part]
    ours = result.facts["rewards"]
    metrics = [ours[name] for name in columns] + ([result.facts["truth"]] if result.facts["truth"] else [])
    runs = [run for run in result.runs if f"--{reward}--" in run.name]
    before = [run for run in result.runs if run.name.startswith("base-")]
    title = f"({part}) Trained using {display(ours[reward]).title} as reward model"
    return scores_table(result, [*runs, *before], FINAL, metrics, title)


def show_table1(result: Result, folder: Path) -> list[Path]:
    """Its parts, as far as there are runs."""
    parts = [part for part, (reward, _) in PARTS.items() if any(f"--{reward}--" in run.name for run in result.runs)]
    return save_tables([part_of(result, part) for part in parts], folder, result.target)


def show_table4(result: Result, folder: Path) -> list[Path]:
    """Two rows."""
    ours = result.facts["rewards"]
    metrics = [ours[name] for name in TABLE4] + ([result.facts["truth"]] if result.facts["truth"] else [])
    title = "Baseline models for diffusion and consistency based methods"
    return save_tables([scores_table(result, result.runs, FINAL, metrics, title)], folder, result.target)


TABLE1 = Target("Nine methods by four rewards, judged by the others", "ROCM, Table 1", table1("abcd"), show_table1)
TABLE1A, TABLE1B, TABLE1C, TABLE1D = (
    Target(f"Table 1, part {part}: trained on {PARTS[part][0]}", f"ROCM, Table 1{part}", table1(part), show_table1)
    for part in PARTS
)
AS_THEY_ARE = "None: nothing is trained."
TABLE4_TARGET = Target("The base models", "ROCM, Table 4", bases, show_table4, protocol=AS_THEY_ARE)
