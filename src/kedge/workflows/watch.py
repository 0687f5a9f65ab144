"""What ``kedge watch`` does: serve a page of runs to this machine, and draw with their models on request."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from PIL import Image
    from starlette.applications import Starlette

LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")


class Drawer:
    """Draws with the newest checkpoint of each run, one picture at a time; a model is loaded when first asked for.

    Args:
        runs: the folders.
        device: where.
    """

    def __init__(self, runs: Sequence[Path], device: str):
        self._runs, self._device = tuple(runs), device
        self._lock = threading.Lock()
        self._loaded: dict[int, tuple[tuple[int, ...], Any]] = {}  # by run: its checkpoints then, and the policy

    def __call__(self, run: int, prompt: str, seed: int, strength: float) -> Image.Image:
        """A picture with the adapter ``strength`` times as strong as it was trained.

        Raises:
            CheckpointError: the run has no whole checkpoint yet.
            ValueError: its model has no adapter whose strength could be changed.
        """
        from PIL import Image

        from kedge.pixels import to_uint8
        from kedge.policies.sampling import draw

        with self._lock:
            policy = self._policy(run)
            adapter = getattr(policy, "adapter", None)
            if adapter is None and strength not in (0.0, 1.0):
                raise ValueError("this model is a policy of your own: only strengths 0 and 1 are known to it")
            if adapter is None:
                with policy.reference() if strength == 0 else _nothing():
                    images = draw(policy, [prompt], [seed])
            else:
                with adapter.scaled(strength):
                    images = draw(policy, [prompt], [seed])
        return Image.fromarray(to_uint8(images)[0].numpy())

    def _policy(self, run: int) -> Any:
        from kedge.runs.checkpoint import CheckpointStore
        from kedge.runs.folder import RunFolder
        from kedge.workflows.load_run import load_run

        steps = tuple(CheckpointStore(RunFolder(self._runs[run]).checkpoints).steps())
        if run not in self._loaded or self._loaded[run][0] != steps:
            self._loaded[run] = steps, load_run(self._runs[run], self._device).policy
        return self._loaded[run][1]


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


@dataclass(frozen=True)
class LiveServer:
    """A page that listens already.

    Attributes:
        url: where it is; with the token, if it has one.
    """

    app: Starlette
    listening: socket.socket
    url: str

    def run(self) -> None:
        """Serve until interrupted."""
        import uvicorn

        config = uvicorn.Config(self.app, log_level="error", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[self.listening])


def live_server(runs: Sequence[Path], host: str = "127.0.0.1", port: int = 8766, device: str = "auto") -> LiveServer:
    """Listen, behind a token where others may reach it.

    Raises:
        ValueError: a folder is no run, the port is taken, or the web server's packages are not installed.
    """
    from kedge.live.runs import check_runs

    folders = check_runs(runs)
    try:
        from kedge.live.server import make_app
        from kedge.study.server import listen
    except ImportError as error:
        raise ValueError("kedge watch needs starlette and uvicorn: pip install starlette uvicorn") from error
    token = "" if host in LOCAL else secrets.token_urlsafe(18)
    listening = listen(host, port)
    name = "THIS-MACHINE" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    place = f"http://{name}:{listening.getsockname()[1]}/"
    hosts = ("127.0.0.1", "localhost", "[::1]") if not token else ("*",)
    app = make_app(folders, _names(folders), draw=Drawer(folders, device), token=token, hosts=hosts)
    return LiveServer(app, listening, f"{place}{token}/" if token else place)


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, or as much of their paths as tells them apart."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))
