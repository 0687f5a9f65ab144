"""A whole training run: open the folder, train, export, describe."""

from __future__ import annotations

from pathlib import Path

from kedge.config import RunConfig
from kedge.training.assemble import assemble
from kedge.training.finish import finish
from kedge.training.processes import Processes
from kedge.training.run_folder import RunFolder
from kedge.training.trainer import Outcome


class FolderTaken(ValueError):
    """The run folder already holds a run, and nobody said to resume it."""


def train(config: RunConfig, out: str | Path, *, resume: bool = False) -> Outcome:
    """Train as ``config`` says, into the folder ``out``.

    Args:
        resume: go on from the newest whole checkpoint in ``out``; from the start if there is none.

    Raises:
        FolderTaken: if ``out`` holds a run and ``resume`` is False.
        TrainingFailed: if gradients stay infinite.
    """
    folder = RunFolder(Path(out))
    if folder.used and not resume:
        raise FolderTaken(
            f"{folder.path} already holds a run: add --resume to go on with it, or choose another folder with --out"
        )
    processes = Processes(config.training.device)
    processes.wait()  # nobody writes before everybody has looked
    if processes.main:
        folder.open(config, processes.count, str(processes.device))
    trainer = assemble(config, folder, processes, resume=resume)
    outcome = trainer.fit()
    if processes.main and outcome.ended != "interrupted":
        finish(trainer, config, folder, outcome)
    processes.wait()
    return outcome
