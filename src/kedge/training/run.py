"""A whole training run: load, open the folder, train, export, describe."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kedge import __version__
from kedge.config import RunConfig, load_config, resolve
from kedge.config.compatibility import check_experience
from kedge.config.loading import plain
from kedge.export.card import model_card
from kedge.files import write_text
from kedge.policies.fingerprint import Fingerprint
from kedge.training.assemble import assemble
from kedge.training.callbacks import Callback
from kedge.training.loggers import read_log
from kedge.training.meter import spent
from kedge.training.processes import Processes
from kedge.training.prompt_sets import PromptSets
from kedge.training.run_folder import RunFolder
from kedge.training.trainer import Outcome, Trainer

log = logging.getLogger(__name__)


class FolderTaken(ValueError):
    """The run folder already holds a run, and nobody said to resume it."""


def train(config: RunConfig, out: str | Path, *, resume: bool = False, callbacks: Sequence[Callback] = ()) -> Outcome:
    """Train as ``config`` says, into the folder ``out``.

    Args:
        resume: go on from the newest whole checkpoint in ``out``; from the start if there is none.
        callbacks: what else is to watch the run, besides what ``config.watch`` asks for.

    Raises:
        FolderTaken: if ``out`` holds a run and ``resume`` is False.
        ConfigError: if nothing could be learnt: one sample, for example, has no advantage.
        TrainingFailed: if gradients stay infinite.
    """
    config = resolve(config)  # one made in Python may leave the kind of its model open
    folder = RunFolder(Path(out))
    used = folder.used
    if used and not resume:
        raise FolderTaken(
            f"{folder.path} already holds a run: add --resume to go on with it, or choose another folder with --out"
        )
    processes = Processes(config.training.device)
    check_experience(config, processes.count)
    processes.wait()  # nobody writes before everybody has looked
    sets = PromptSets(as_before(config, folder) if used else config, new=not used)
    config = sets.config
    if processes.main and not used:
        for line in sets.warnings():
            log.warning(line)
    trainer = assemble(config, folder, processes, sets=sets, resume=resume, callbacks=callbacks)
    if processes.main:  # only now: what cannot be loaded leaves no folder behind
        folder.open(config, processes.count, str(processes.device), trainer.base)
    outcome = trainer.fit()
    if processes.main and outcome.ended != "interrupted":
        finish(trainer, config, folder, outcome)
    processes.wait()
    return outcome


def as_before(config: RunConfig, folder: RunFolder) -> RunConfig:
    """A resumed run's config with as many prompts kept from training as when it started, where it leaves this open."""
    started = load_config(folder.config).prompts if folder.config.is_file() else None
    if started is None or config.prompts.tuning is not None or config.prompts.test is not None:
        return config
    return replace(config, prompts=replace(config.prompts, tuning=started.tuning, test=started.test))


def finish(trainer: Trainer, config: RunConfig, folder: RunFolder, outcome: Outcome) -> None:
    """Export the adapter (its EMA, if there is one), write the card and the report.

    A policy of the user's own (``model.kind=module:function``) has no adapter that other programs know.
    """
    from kedge.evaluation import write_report

    if config.model.family is not None:
        from kedge.export.lora import save_lora

        with trainer.optimizer.averaged():
            save_lora(trainer.context.policy, folder.lora, metadata(config, outcome.step, trainer.base))
    write_report(folder.path)
    log = read_log(folder.metrics)
    write_text(folder.card, model_card(config, outcome.step, log, folder.path.name, spent(log), trainer.base))


def metadata(config: RunConfig, step: int, base: Fingerprint | None) -> dict[str, Any]:
    """What the adapter's file says about itself."""
    return {
        "kedge_version": __version__,
        "base_model": config.model.name,
        "base": base.to_dict() if base else None,
        "kind": config.model.kind,
        "algorithm": plain(config.algorithm),
        "reward": config.reward,
        "steps_trained": step,
        "sampling_steps": config.model.steps,
        "guidance": config.model.omega,
        "seed": config.training.seed,
    }
