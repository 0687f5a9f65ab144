"""The runs of a matrix on a Ray cluster: each is a task of Ray's that starts ``kedge`` on whatever node has room.

Nodes have to share the folder that the command is given in, under one path, and the Python environment. All else that
a run is lies in its own folder, so a run whose node dies is started again elsewhere and goes on where it was.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kedge.workflows.runner.cell import Interrupted
from kedge.workflows.runner.matrix import POLL, Matrix, Say
from kedge.workflows.runner.progress import Clock
from kedge.workflows.runner.runs import Run

RETRIES = 3  # of a run whose node died
LOOK = 0.2  # seconds between two looks at a run's process, and at whether Ray wants it ended


@dataclass(frozen=True)
class Share:
    """What Ray sets aside for each run.

    Attributes:
        cpus: threads of torch, too.
        gpus: may be a part of one, for several runs on it; None takes one where the cluster has any.
    """

    cpus: float = 1.0
    gpus: float | None = None


def check_ray() -> None:
    """Refuse the launcher where Ray is not installed.

    Raises:
        ValueError: saying what to install.
    """
    if find_spec("ray") is None:
        raise ValueError("--launcher ray: Ray is not installed here: pip install ray")


def spread_on_ray(
    matrix: Matrix,
    command: Callable[[Run], Sequence[str]],
    share: Share,
    jobs: int | None = None,
    say: Say = print,
) -> None:
    """Do what is left on the cluster that ``RAY_ADDRESS`` names, or that runs on this machine, or on one of its own.

    Args:
        command: does one run.
        jobs: runs at once; None as many as there is room for.

    Raises:
        ConfigError: a folder holds another run under one of the names.
        Interrupted: by a signal, once all runs have saved and ended.
        ValueError: no node could ever run one, or Ray is not installed.
    """
    check_ray()
    matrix.check()
    with _cluster() as ray:
        room = ray.cluster_resources()
        gpus = float(bool(room.get("GPU"))) if share.gpus is None else share.gpus
        _check_room([node["Resources"] for node in ray.nodes() if node["Alive"]], share.cpus, gpus)
        say(f"Ray: {room.get('CPU', 0):g} CPUs, {room.get('GPU', 0):g} GPUs; {share.cpus:g} and {gpus:g} for each run")
        remote = ray.remote(num_cpus=share.cpus, num_gpus=gpus, max_retries=RETRIES)(one_run)
        waiting, clock, running = matrix.left(), Clock(matrix), dict[Any, Run]()
        try:
            while waiting or running:
                while waiting and (jobs is None or len(running) < jobs):
                    run = waiting.pop(0)
                    log = (matrix.folder / f"{run.name}.log").absolute()
                    task = remote.options(name=run.name).remote(list(command(run)), str(Path.cwd()), str(log))
                    running[task] = run
                for task in ray.wait(list(running), timeout=POLL)[0]:
                    run = running.pop(task)
                    say(f"{clock.line()} · {run.name}: {_ended(ray, task, matrix, run)}".rstrip())
        except KeyboardInterrupt:
            for task in running:
                ray.cancel(task)
            ray.wait(list(running), num_returns=len(running))
            raise Interrupted(f"{len(running)} runs stopped and saved") from None


def one_run(command: Sequence[str], folder: str, log: str) -> int:
    """On a node: ``kedge`` with these arguments, until it ends or Ray interrupts; returns its exit status.

    Raises:
        FileNotFoundError: the node does not have the folder.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is not on {socket.gethostname()}: all nodes have to share it")
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "kedge", *command], cwd=folder, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:  # Ray's interrupt is noticed between two steps of Python alone
                time.sleep(LOOK)
        finally:
            if process.poll() is None:
                process.terminate()  # finishes its batch and saves
                process.wait()
    return process.returncode


def _ended(ray: Any, task: Any, matrix: Matrix, run: Run) -> str:
    """How a run ended, and why, if it did not finish."""
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        return f"failed on the cluster. {cause or str(error).strip().splitlines()[-1]}"
    return f"{matrix.state(run)}. {matrix.reason(run)}"


def _check_room(nodes: Sequence[Mapping[str, float]], cpus: float, gpus: float) -> None:
    """A run is on one node, which has to have both."""
    for node in nodes:
        if cpus <= node.get("CPU", 0) and gpus <= node.get("GPU", 0):
            return
    have = "; ".join(sorted({f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes}))
    raise ValueError(
        f"each run is to have {cpus:g} CPUs (--cpus) and {gpus:g} GPUs (--gpus), but no node of Ray has both: they "
        f"have {have}"
    )


@contextmanager
def _cluster() -> Iterator[Any]:
    import logging

    import ray

    if ray.is_initialized():  # a notebook's own
        yield ray
        return
    ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()
