"""``kedge reproduce``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kedge.cli.matrix import FAILED, go_one, spread

if TYPE_CHECKING:
    from kedge.workflows.runner.matrix import Matrix
    from kedge_papers.runner.command_call import CommandCall


def reproduce_command(
    target: Annotated[str | None, typer.Argument(help="What to make; none lists the targets.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes to every run, such as training.device=cuda."),
    ] = None,
    world: Annotated[
        str, typer.Option(help="emoji (bundled), papers (the published models), or of the second study.")
    ] = "emoji",
    config: Annotated[str | None, typer.Option(help="An experiment set of your own: a YAML file.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions of every run.")] = 1,
    budget: Annotated[
        float | None,
        typer.Option(min=1, help="Of a run: network passes (ROCM) or reward queries (RLCM)."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=2, help="Measure on this many prompts.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
    out: Annotated[
        str | None, typer.Option(help="Where runs and results go; runs/reproduce/NAME of world or queue by default.")
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Print each run as a command instead of running it.")
    ] = False,
    run: Annotated[str | None, typer.Option(help="Do this one of the runs, and nothing else.")] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Only draw again, from the records.")] = False,
    publish: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Only add the recorded result to the records there."),
    ] = None,
    queue: Annotated[
        str | None,
        # Named: Typer 0.27 calls an option by a metavar that is its name.
        typer.Option(
            "--queue", metavar="QUEUE", help="Runs of many targets in one order: evidence, again, or a YAML file."
        ),
    ] = None,
) -> None:
    """Make a table or a figure of the papers. Every run it needs, resumable, then the result from their records.

    For example: kedge reproduce table4, kedge reproduce table1 --seeds 3 --jobs 4, kedge reproduce fig4 --list.
    """
    from pathlib import Path

    from kedge_papers import TARGETS

    if publish is not None:
        _check_folder(publish)
    if queue is not None:
        from kedge_papers.queue_command import work

        _check_alone(world=world != "emoji", config=config, seeds=seeds > 1, budget=budget, count=count, run=run)
        _check_alone(jobs=jobs > 1, why="start the same command once more, beside it, for a second lane")
        pairs = [*([target] if target else []), *(overrides or [])]
        work(queue, pairs, Path(out or f"runs/reproduce/{Path(queue).stem}"), only_list, draw, publish)
        return
    if target is None:
        for name in TARGETS:
            print(f"{name:<12} {TARGETS.get(name).title}")
        return
    call = _call(target, overrides or [], world=world, config=config, seeds=seeds, budget=budget, count=count, out=out)
    if only_list:
        print("\n".join(call.commands()))
    elif run is not None:
        go_one(call.matrix, run)
    elif draw or publish:
        print(*(call.publish(Path(publish)) if publish else call.draw()), sep="\n")
    else:
        _all(call, jobs)


def _check_folder(publish: str) -> None:
    """Before anything is trained for it."""
    from pathlib import Path

    from kedge.config.text import ConfigError

    if not publish:  # an unset variable of the shell
        raise ConfigError("--publish needs the folder of the records that are added to")
    if Path(publish).exists() and not Path(publish).is_dir():
        raise ConfigError(f"--publish {publish}: this is a file; the records that are added to are a folder")


def _check_alone(why: str = "its stages say that", **options: object) -> None:
    """Beside ``--queue`` none of these options has a meaning.

    Args:
        why: what says or does it instead.
        options: name → a value that is true if it was given.
    """
    from kedge.config.text import ConfigError

    for name, value in options.items():
        if value:
            raise ConfigError(f"--queue takes no --{name}: {why}")


def _call(
    target: str,
    overrides: list[str],
    *,
    world: str,
    config: str | None,
    seeds: int,
    budget: float | None,
    count: int | None,
    out: str | None,
) -> CommandCall:
    """The call that the command line describes, and the arguments by which it is repeated."""
    from pathlib import Path

    from kedge.config.text import read_yaml
    from kedge_papers.runner.command_call import CommandCall
    from kedge_papers.runner.experiment_set import load_experiment_set
    from kedge_papers.runner.options import MatrixOptions

    pairs = [item.partition("=")[::2] for item in overrides]
    values = {key: read_yaml(value, f"the value of {key}") for key, value in pairs}
    name = Path(config).stem if config else world
    arguments = [*overrides, *(["--config", config] if config else ["--world", world] if world != "emoji" else [])]
    for option, value in (("--seeds", seeds if seeds > 1 else None), ("--budget", budget), ("--count", count)):
        arguments += [option, f"{value:g}"] if value is not None else []
    options = MatrixOptions(load_experiment_set(config or world), name, seeds, budget, count, values)
    return CommandCall(target, options, Path(out or f"runs/reproduce/{name}"), arguments)


def _all(call: CommandCall, jobs: int) -> None:
    """The matrix, whatever follows from it, then the result."""

    def work(matrix: Matrix) -> None:
        spread(matrix, jobs, lambda run: call.command("--run", run.name))

    matrix = call.matrix
    print("\n".join(call.estimate()))
    work(matrix)
    while (longer := call.matrix).runs != matrix.runs:  # its runs decided which others go on
        matrix = longer
        work(matrix)
    print(*call.finish(), sep="\n")
    if failed := [run.name for run in matrix.left()]:
        print(f"not done: {', '.join(failed)}; the same command tries them again")
        raise typer.Exit(FAILED)
