"""``kedge study serve`` in a process of its own, as users run it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveServer:
    """A running server; ``url`` is where it listens, ``owner`` and ``raters`` are the links that it printed."""

    def __init__(self, folder: Path, port: int | None = None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "kedge", "study", "serve", str(folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._wait()
        lines = []
        assert self.process.stdout is not None
        from kedge.study.store import open_study

        for _ in range(1 + len(open_study(folder).links())):
            lines.append(self.process.stdout.readline().split()[-1])
        self.owner, self.raters = lines[0], lines[1:]

    def _wait(self) -> None:
        for _ in range(1200):
            try:
                if httpx2.get(self.url).status_code == 200:
                    return
            except httpx2.TransportError:
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """kill −9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
