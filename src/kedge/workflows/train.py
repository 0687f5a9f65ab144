"""What ``kedge train`` does: a preset, a file or a mapping, with changes, becomes a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.workflows.recipes import Recipe, choose

if TYPE_CHECKING:
    from kedge.training.callbacks import Callback
    from kedge.workflows.load_run import TrainedRun


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C (or SIGTERM) ended a training; everything is saved, and the message says how to go on."""


def train(
    recipe: Recipe,
    *overrides: str,
    out: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    **changes: Any,
) -> TrainedRun:
    """Train, as ``kedge train`` does.

    Args:
        recipe: a preset's name, a YAML file, a run folder, a mapping as in YAML, or a :class:`kedge.config.RunConfig`.
        overrides: changes as text, such as ``"optimizer.lr=3e-4"``.
        out: the run folder; ``runs/NAME`` by default, with a number behind it where that is taken.
        resume: go on from the newest checkpoint in ``out``, or in the run folder that ``recipe`` is.
        callbacks: what else is to watch the run, see :class:`kedge.training.callbacks.Callback`.
        changes: the same changes as keywords, ``optimizer={"lr": 3e-4}``; functions and classes of one's own as they
            are: ``reward=my_reward``, ``algorithm=ROCM(beta=0)``.

    Returns:
        the run: its folder, files, metrics, and the model at its last checkpoint.

    Raises:
        ConfigError: naming the key and what to write instead, before anything loads.
        FolderTaken: if ``out`` holds a run and ``resume`` is False.
        TrainingFailed: if gradients stay infinite.
        TrainingInterrupted: by a signal, once everything is saved.
    """
    from kedge.config import ConfigError
    from kedge.registry import loading
    from kedge.training.run import train as run_training
    from kedge.workflows.load_run import TrainedRun

    if loading:
        raise ConfigError(
            f"{loading[-1]} starts a training while a name in it is looked up: put what is to run below "
            'if __name__ == "__main__":'
        )
    config, folder = choose(recipe, overrides, out, resume, changes)
    outcome = run_training(config, folder, resume=resume, callbacks=callbacks)
    if outcome.ended == "interrupted":
        raise TrainingInterrupted(f"Stopped at step {outcome.step}, saved. Go on with: kedge train {folder} --resume")
    return TrainedRun(folder, config, outcome=outcome)


def describe(
    recipe: Recipe, *overrides: str, out: str | Path | None = None, resume: bool = False, **changes: Any
) -> str:
    """What :func:`train` would do with the same arguments: the resolved recipe, the folder and the plan, as YAML."""
    from kedge.config import dump
    from kedge.planning.plan import plan

    config, folder = choose(recipe, overrides, out, resume, changes)
    facts = [f"into {folder}", *plan(config)]
    return "\n".join([dump(config), *(f"# {fact}" for fact in facts)])
