"""``kedge sweep``: several values for some keys, several seeds, one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kedge.cli.matrix import FAILED, go_one, spread
from kedge.cli.options import Samples

if TYPE_CHECKING:
    from kedge.workflows.runner.ray_launcher import Share
    from kedge.workflows.sweep import Sweep

LAUNCHERS = ("here", "ray")


def sweep_command(
    recipe: Annotated[str, typer.Argument(help="A preset (kedge presets) or a YAML file.")],
    values: Annotated[
        list[str],
        typer.Argument(metavar="KEY=A,B|FIRST..LAST...", help="What varies, and changes that all runs share."),
    ],
    out: Annotated[Path | None, typer.Option(help="Runs, table and figure; runs/sweep-NAME by default.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Rewards, comma-separated. By default the recipe's.")] = None,
    count: Annotated[int | None, typer.Option(min=2, help="Judge on this many of the test prompts.")] = None,
    samples: Samples = 1,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at once: 1 here, all there is room for on Ray.")] = None,
    launcher: Annotated[str, typer.Option(help="Where runs run: here, or ray for a Ray cluster.")] = "here",
    cpus: Annotated[float | None, typer.Option(help="On Ray: CPUs for each run; 1 by default.")] = None,
    gpus: Annotated[
        float | None,
        typer.Option(help="On Ray: GPUs for each run, or a part of one; 1 by default where there are any."),
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Print each run as a command, run nothing.")] = False,
    format: Annotated[str, typer.Option(help="Of --list: commands, or slurm for a job array.")] = "commands",
    run: Annotated[str | None, typer.Option(help="Do this one of the runs, and nothing else.")] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Only make table and figure, of what is there.")] = False,
) -> None:
    """Train a recipe with several values and seeds, judge all alike, and make one table with intervals over seeds.

    For example: kedge sweep my.yaml algorithm.divergence=kl,hellinger training.seed=0..2. Stopped, it goes on by the
    same command.
    """
    from kedge.workflows.sweep import read_sweep, slurm_script

    if format not in ("commands", "slurm"):
        raise ValueError(f"--format must be commands or slurm, not {format!r}")
    if format == "slurm" and not only_list:
        raise ValueError("--format slurm writes a job array instead of running anything: add --list")
    share = _share(launcher, cpus, gpus)
    sweep = read_sweep(recipe, values, out=out, count=count, samples=samples, metrics=metrics)
    if only_list:
        print(slurm_script(sweep) if format == "slurm" else "\n".join(sweep.commands()), end="\n")
    elif run is not None:
        go_one(sweep.matrix, run)
    else:
        if not draw:
            _all(sweep, jobs, share)
        _print(sweep)
        if not draw and sweep.matrix.counts()["failed"]:
            raise typer.Exit(FAILED)


def _share(launcher: str, cpus: float | None, gpus: float | None) -> Share | None:
    """What each run has of a Ray cluster; None where runs run here."""
    from kedge.registry import suggest
    from kedge.workflows.runner.ray_launcher import Share, check_ray

    if launcher not in LAUNCHERS:
        choices = " or ".join(LAUNCHERS)
        raise ValueError(f"--launcher must be {choices}, not {launcher!r}.{suggest(launcher, LAUNCHERS)}")
    if launcher == "ray":
        check_ray()
        return Share(cpus or 1.0, gpus)
    if cpus is not None or gpus is not None:
        raise ValueError("--cpus and --gpus say what Ray sets aside for each run: add --launcher ray")
    return None


def _all(sweep: Sweep, jobs: int | None, share: Share | None) -> None:
    from kedge.workflows.sweep import save_facts

    matrix = sweep.matrix
    save_facts(sweep)
    spread(matrix, jobs, lambda run: sweep.command("--run", run.name), share)


def _print(sweep: Sweep) -> None:
    from kedge.cli.tables import write_table
    from kedge.workflows.sweep_result import write_results

    table, files = write_results(sweep)
    write_table(table, "table", None)
    print(f"table    {files[0].with_suffix('')}.* (txt, md, csv, json, tex)\nfigure   {files[-1]}")
