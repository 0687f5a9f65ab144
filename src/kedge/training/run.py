"""A whole training run: load, open the folder, train, export, describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kedge.config import RunConfig
from kedge.training.assemble import assemble
from kedge.training.callbacks import Callback
from kedge.training.finish import finish
from kedge.training.processes import Processes
from kedge.training.run_folder import RunFolder
from kedge.training.trainer import Outcome


class FolderTaken(ValueError):
    """The run folder already holds a run, and nobody said to resume it."""


def train(config: RunConfig, out: str | Path, *, resume: bool = False, callbacks: Sequence[Callback] = ()) -> Outcome:
    """Train as ``config`` says, into the folder ``out``.

    Args:
        resume: go on from the newest whole checkpoint in ``out``; from the start if there is none.
        callbacks: what else is to watch the run, besides what ``config.watch`` asks for.

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
    trainer = assemble(config, folder, processes, resume=resume, callbacks=callbacks)
    if processes.main:  # only now: what cannot be loaded leaves no folder behind
        folder.open(config, processes.count, str(processes.device))
    outcome = trainer.fit()
    if processes.main and outcome.ended != "interrupted":
        finish(trainer, config, folder, outcome)
    processes.wait()
    return outcome
