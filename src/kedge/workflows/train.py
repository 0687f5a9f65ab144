"""What ``kedge train`` does: a preset, a file or a mapping, with changes, becomes a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.files import typed
from kedge.lazy_import import heavy_imports
from kedge.waiting import waiting
from kedge.workflows.banner import banner, say
from kedge.workflows.recipes import Recipe, choose

if TYPE_CHECKING:
    from kedge.training.callbacks import Callback
    from kedge.training.trainer import Outcome
    from kedge.workflows.load_run import TrainedRun


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C (or SIGTERM, or SIGHUP) ended a training; everything is saved, and the message says how to go on.

    Attributes:
        signal: the name of what ended it.
    """

    def __init__(self, message: str, signal: str = "SIGINT"):
        super().__init__(message)
        self.signal = signal


def train(
    recipe: Recipe,
    *overrides: str,
    out: str | Path | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **changes: Any,
) -> TrainedRun:
    """Train, as ``kedge train`` does.

    Args:
        recipe: a preset's name, a YAML file, a run folder, a mapping as in YAML, or a :class:`kedge.config.RunConfig`.
        overrides: changes as text, such as ``"optimizer.lr=3e-4"``.
        out: the run folder; ``runs/NAME`` by default, with a number behind it where that is taken.
        resume: go on from the newest checkpoint in ``out``, or in the run folder that ``recipe`` is. What may change
            then: :data:`kedge.runs.resume.MAY_CHANGE`.
        start_from: a run folder: a new run starts from its adapter and remembers it as its parent.
        callbacks: what else is to watch the run, see :class:`kedge.training.callbacks.Callback`.
        changes: the same changes as keywords, ``optimizer={"lr": 3e-4}``; functions and classes of your own as they
            are: ``reward=my_reward``, ``algorithm=ROCM(beta=0)``.

    Returns:
        the run: its folder, files, metrics, and the model: at the step that its judges found best
        (``watch.guard: best``), else at its last checkpoint.

    Raises:
        ConfigError: naming the key and what to write instead, before anything loads.
        FolderTaken: if ``out`` holds a run and ``resume`` is False.
        TrainingFailed: if gradients stay infinite.
        RunFolderLost: if the run folder is removed or renamed meanwhile.
        TrainingInterrupted: by a signal, once everything is saved.
    """
    from kedge.runs.folder import RunFolder, check_parent
    from kedge.runs.ownership import check_folder

    # Before torch: a typo is answered at once.
    _refuse_while_loading()
    if start_from is not None:
        check_parent(Path(start_from), resume)
    config, folder = choose(recipe, overrides, out=out, resume=resume, changes=changes)
    check_folder(RunFolder(folder), resume)
    say(banner(config, folder))
    with waiting("loading libraries"), heavy_imports():
        from kedge.training.run import train as run_training
        from kedge.workflows.load_run import TrainedRun

    outcome = run_training(
        config, folder, resume=resume, start_from=start_from, or_next=out is None and not resume, callbacks=callbacks
    )
    folder = outcome.folder or folder
    if outcome.ended == "interrupted":
        raise _interruption(outcome, folder)
    return TrainedRun(folder, config, outcome=outcome)


def _refuse_while_loading() -> None:
    """Raises ConfigError where a user's module trains as soon as it is imported: it is, to look up a name in it."""
    from kedge.config import ConfigError
    from kedge.registry import loading

    if loading:
        raise ConfigError(
            f"{loading[-1]} starts a training while a name in it is looked up: put what is to run below "
            'if __name__ == "__main__":'
        )


def _interruption(outcome: Outcome, folder: Path) -> TrainingInterrupted:
    """What a signal left, and how to go on."""
    saved = "saved" if outcome.saved == outcome.step else f"saved at step {outcome.saved}"
    how = f"Stopped at step {outcome.step}, {saved}. Go on with: kedge train {typed(folder)} --resume"
    return TrainingInterrupted(how, outcome.reason)


def describe(
    recipe: Recipe,
    *overrides: str,
    out: str | Path | None = None,
    resume: bool = False,
    start_from: str | Path | None = None,
    **changes: Any,
) -> str:
    """What :func:`train` would do with the same arguments: the resolved recipe, the folder and what it does.

    Raises:
        ConfigError, FolderTaken: as :func:`train`, as far as they can be before anything loads.
    """
    from kedge.config import dump
    from kedge.planning.description import describe_run
    from kedge.runs.folder import RunFolder, check_parent
    from kedge.runs.ownership import check_folder

    if start_from is not None:
        check_parent(Path(start_from), resume)
    config, folder = choose(recipe, overrides, out=out, resume=resume, changes=changes)
    check_folder(RunFolder(folder), resume)
    start = [] if start_from is None else [f"from the adapter of {start_from}"]
    if resume and RunFolder(folder).used:
        with waiting("loading libraries"), heavy_imports():
            from kedge.training.going_on import outlook
        start.append(f"it {outlook(config, RunFolder(folder))}")
    facts = [
        f"into {folder}",
        *start,
        *describe_run(config).lines,
        "memory and time: kedge plan, with the same arguments",
    ]
    return "\n".join([dump(config), *(f"# {fact}" for fact in facts)])
