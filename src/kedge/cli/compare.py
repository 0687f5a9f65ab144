"""``kedge compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kedge.evaluation.result import Evaluation
    from kedge.workflows.evaluate import Evaluating


def compare_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    against: Annotated[str, typer.Option(help="base, or another run folder.")] = "base",
    metrics: Annotated[str | None, typer.Option(help="Rewards, comma-separated. By default the run's.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="A file, a named set or a hub data set. By default the run's held-out prompts.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Use this many of the prompts.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise, the same for both.")] = 0,
    samples: Annotated[int, typer.Option(min=1, help="Pictures for each prompt.")] = 1,
    format: Annotated[
        str | None, typer.Option(help="table, markdown, json, csv or latex; by default from --out's ending.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table here instead of printing it.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what the run folder already has.")] = False,
) -> None:
    """Compare a run with its base or with another run. Sample by sample: differences, win rates, grid and report."""
    from kedge.cli.eval import table_format, write_table
    from kedge.evaluation.tables import comparison_table
    from kedge.training.run_folder import is_run
    from kedge.workflows.evaluate import Evaluating, Request

    chosen = table_format(format, out)
    for target in [run] if against == "base" else [run, against]:
        if not is_run(Path(target)):
            raise ValueError(f"{target} is not a run folder: it has no config.yaml (kedge train makes one)")
    work = Evaluating(Request(metrics, prompts, count, seed, samples, batch_size, device, fresh), [run])
    ours, theirs, role = both(work, run, against)
    comparison, lines = summarise(Path(run), ours, theirs, role)
    write_table(comparison_table(comparison), chosen, out)
    print("\n".join(lines), file=sys.stdout if chosen == "table" else sys.stderr)


def both(work: Evaluating, run: str, against: str) -> tuple[Evaluation, Evaluation, str]:
    """Ours, theirs, and the name under which theirs is kept in the run folder."""
    from dataclasses import replace

    from kedge.evaluation.records import BASE, evaluation_folder

    if against == "base":
        pair = work.run(run)
        assert pair.base is not None
        return replace(pair.tuned, name="tuned"), replace(pair.base, name=BASE), BASE
    ours = work.run(run, base=False).tuned
    role = Path(against).resolve().name
    other = work.run(against, base=False, keep_in=evaluation_folder(Path(run)), role=role)
    return ours, other.tuned, role


def summarise(run: Path, ours: Evaluation, theirs: Evaluation, role: str) -> tuple:
    """The comparison, and lines for the user: the verdict and where grid, report and adapter are."""
    from kedge.config import load_config
    from kedge.evaluation.guard import judge_comparison
    from kedge.evaluation.measure import conclude
    from kedge.evaluation.records import BASE, evaluation_folder
    from kedge.evaluation.report import trained_on, write_report

    folder, suffix = evaluation_folder(run), "" if role == BASE else f"-against-{role}"
    comparison = conclude(folder, ours, theirs, suffix)
    trained = trained_on(load_config(run / "config.yaml").reward, [change.metric for change in comparison.rewards])
    lines = [judge_comparison(comparison, trained).sentence, ""] if trained and role == BASE else []
    lines += [f"grid     {folder / f'grid{suffix}.png'}", f"report   {write_report(run, role)}"]
    return comparison, lines
