"""``kedge study serve`` and ``raters``: the links, and who answers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder.")]
PORT = 8765


def serve(
    study: Folder,
    host: Annotated[str, typer.Option(help="Whom to listen to: 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = PORT,
    address: Annotated[
        str | None, typer.Option(help="How raters reach it, for the links: https://study.example.org")
    ] = None,
) -> None:
    """Serve a study to its raters, until Ctrl-C; print everybody's link."""
    from kedge.workflows.study import links, study_server

    server = study_server(study, host, port, address)
    print("\n".join(links(server.store, server.base)), flush=True)
    if server.local and host != "127.0.0.1":
        print("note: these links work on this machine; for others give --address http://NAME-OF-THIS-MACHINE:PORT")
    print("Running. Ctrl-C stops the server and loses nothing: every answer is on disk.", flush=True)
    server.run()


def raters(
    study: Folder,
    add: Annotated[list[str] | None, typer.Option(help="Admit a rater of this name; may be repeated.")] = None,
    address: Annotated[str, typer.Option(help="How raters reach the server.")] = f"http://127.0.0.1:{PORT}",
) -> None:
    """Print everybody's link; admit new raters."""
    from kedge.study import open_study
    from kedge.workflows.study import links

    store = open_study(study)
    for name in add or []:
        store.add_rater(name)
    print("\n".join(links(store, address)))
