"""``kedge watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def watch_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several are overlaid.")],
    host: Annotated[
        str, typer.Option(help="Whom to listen to: 0.0.0.0 for other machines, behind a secret link.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8766,
    device: Annotated[str, typer.Option(help="To draw on: auto, cpu, cuda, …")] = "cpu",
) -> None:
    """Show runs in a browser while they train. Curves, pictures, the alarm, and a slider between base and tuned."""
    from kedge.workflows.watch import live_server

    server = live_server(runs, host, port, device)
    print(f"{server.url}\nCtrl-C stops the page, not the runs.", flush=True)
    server.run()
