"""``kedge reproduce --queue``: one lane of a queue, or what is known of it so far."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import typer

from kedge.cli.matrix import FAILED, stopped


def work(queue: str, overrides: Sequence[str], out: Path, only_list: bool, draw: bool, folder: str | None) -> None:
    """Do what is left of a queue; the same command once more, beside this one, is a second lane.

    Args:
        queue: one that ships, or a file.
        overrides: ``key=value``, on every training.
        out: where runs, records and what is drawn go.
        only_list, draw, folder: only list the stages; only draw from the records; only add them to this other folder.
    """
    from kedge.config.text import ConfigError, read_yaml
    from kedge.workflows.runner.cell import Interrupted
    from kedge_papers.runner.lane import Lane
    from kedge_papers.runner.publishing import publish
    from kedge_papers.runner.queue import load_queue

    values = {}
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--queue takes no target ({item}): the queue names them")
        values[key] = read_yaml(value, f"the value of {key}")
    lane = Lane(load_queue(queue), out, values)
    if only_list:
        for position, stage in enumerate(lane.queue.stages):
            print(lane.line(position) + (f" · {stage.settles}" if stage.settles else ""))
    elif draw:
        print(*lane.draw(), sep="\n")
    elif folder:
        print(f"{folder}: {', '.join(publish(lane, Path(folder)))}")
    else:
        try:
            failed = lane.go()
        except Interrupted as stop:
            stopped(str(stop), signal.Signals[stop.signal])
        if failed:
            print(f"not done: {', '.join(failed)}; the same command tries them again")
            raise typer.Exit(FAILED)
