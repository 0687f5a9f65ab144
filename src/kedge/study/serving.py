"""A study served from inside a program: for simulated raters, who vote over HTTP as people do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedge.study.store import Store


@contextmanager
def serving(store: Store) -> Iterator[Sequence[str]]:
    """The study's server on a free port, in a thread; yields the raters' links."""
    import uvicorn

    from kedge.study import make_app

    config = uvicorn.Config(make_app(store), port=0, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise OSError("the study's server could not be started")
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield [f"http://127.0.0.1:{port}/r/{token}/" for _, token in store.links()]
    finally:
        server.should_exit = True
        thread.join()
