"""A whole training run: load, open the folder, train, export, describe."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kedge import __version__
from kedge.config import RunConfig, resolve
from kedge.config.compatibility import check_experience
from kedge.config.loading import plain
from kedge.evaluation.run_log import read_log
from kedge.export.card import model_card
from kedge.files import write_text
from kedge.policies.fingerprint import Fingerprint
from kedge.prompts.sets import PromptSets
from kedge.runs.checkpoint import CheckpointStore
from kedge.runs.folder import RunFolder, check_parent, forget_after
from kedge.runs.history import History, in_words
from kedge.runs.own_code import keep_code
from kedge.runs.ownership import FolderTaken as FolderTaken
from kedge.runs.ownership import owned
from kedge.training.assemble import assemble
from kedge.training.before_loading import check_guard
from kedge.training.callbacks import Callback
from kedge.training.going_on import as_before, checked_past, stretch
from kedge.training.loggers import unused
from kedge.training.meter import spent
from kedge.training.optimizer import schedule_jump
from kedge.training.parent import Parent, read_parent
from kedge.training.processes import Processes
from kedge.training.trackers import check_trackers
from kedge.training.trainer import Outcome, Trainer

log = logging.getLogger(__name__)


def train(
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    start_from: str | Path | None = None,
    or_next: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Outcome:
    """Train as ``config`` says, into the folder ``out``, which no other process can take meanwhile.

    Args:
        resume: go on from the newest whole checkpoint in ``out``; from the start if there is none.
        start_from: a run whose adapter a new run starts from.
        or_next: take ``out-2``, ``out-3``, … where ``out`` is taken.
        callbacks: further callbacks, besides those of ``config.watch``.

    Raises:
        FolderTaken: if ``out`` holds a run and ``resume`` is False, is in use, or holds others' files.
        ConfigError: if nothing could be learnt (one sample has no advantage, for example), or a resumed run would
            learn something else than before.
        TrainingFailed: if gradients stay infinite.
        RunFolderLost: if the folder is removed or renamed meanwhile.
    """
    config = resolve(config)  # one made in Python may leave the kind of its model open
    if start_from is not None:
        check_parent(Path(start_from), resume)
    processes = Processes(config.training.device)
    check_experience(config, processes.count)
    check_trackers(config)
    check_guard(config)
    with ExitStack() as stack:
        # One process takes the folder for all; where it cannot, all of them say so.
        taken, refusal = None, ""
        if processes.main:
            try:
                taken = stack.enter_context(owned(Path(out), resume=resume, or_next=or_next))
            except FolderTaken as error:
                refusal = str(error)
        if refusal := processes.first(refusal):
            raise FolderTaken(refusal)
        folder, used = processes.first((taken.folder.path, taken.used) if taken else None)
        if processes.main and folder != Path(out):
            log.warning("%s was taken meanwhile: this run is %s", out, folder)
        run = _Run(
            config,
            RunFolder(folder),
            used=used,
            processes=processes,
            start_from=Path(start_from) if start_from else None,
        )
        try:
            return replace(run.train(callbacks), folder=folder)
        except ValueError:
            if taken and (run.trainer is None or run.trainer.step == 0):  # nothing was trained yet
                taken.give_up()
            raise


@dataclass
class _Run:
    """One run in a folder that is ours.

    Attributes:
        used: whether the folder held the run before.
        trainer: once everything is loaded.
    """

    config: RunConfig
    folder: RunFolder
    used: bool
    processes: Processes
    start_from: Path | None = None
    trainer: Trainer | None = None

    def train(self, callbacks: Sequence[Callback]) -> Outcome:
        """Load, open the folder, train, export, describe."""
        folder, processes = self.folder, self.processes
        sets = PromptSets(as_before(self.config, folder) if self.used else self.config, new=not self.used)
        config = sets.config
        if processes.main and not self.used:
            for line in sets.warnings():
                log.warning(line)
        parent = read_parent(self.start_from) if self.start_from else None
        history = self._history(config, sets, parent)
        trainer = assemble(
            config,
            folder,
            processes,
            sets=sets,
            resume=self.used,
            parent=parent,
            history=history,
            callbacks=callbacks,
        )
        if processes.main:  # only now: what cannot be loaded leaves no folder behind
            folder.open(config, processes.count, str(processes.device), trainer.base, history)
            keep_code(config, folder.code)
            forget_after(folder, trainer.step)
        processes.wait()  # nobody trains before the folder is open
        self.trainer = trainer
        if processes.main and self.used and trainer.step >= trainer.steps:
            log.warning(
                "%s is trained to its end already, step %d of %d: training.steps=N trains on to N",
                folder.path,
                trainer.step,
                trainer.steps,
            )
        outcome = trainer.fit()
        if processes.main and outcome.ended != "interrupted":
            finish(trainer, config, folder, outcome)
        processes.wait()
        return outcome

    def _history(self, config: RunConfig, sets: PromptSets, parent: Parent | None) -> History:
        """How the run was trained up to its checkpoint, and how it is to go on.

        Raises:
            ResumeRefused: if it would learn something else than before, or is trained further than it is to be.
        """
        saved = CheckpointStore(self.folder.checkpoints).newest() if self.used else None
        now = stretch(saved.step if saved else 0, config, sets, parent)
        if saved is None:
            if self.used and self.processes.main:
                start_over(self.folder)
            return History((now,))
        past = checked_past(saved, config, now, self.folder)
        changed = past.stretches[-1].differences(now) if past.stretches else {}
        if self.processes.main and changed:
            log.warning("from step %d on: %s", saved.step + 1, in_words(changed))
            if sentence := schedule_jump(past.stretches[-1], now):
                log.warning(sentence)
        return past.gone_on(now)


def start_over(folder: RunFolder) -> None:
    """Warn that a run without a whole checkpoint starts over, and keep its log."""
    steps = [int(line["step"] or 0) for line in read_log(folder.metrics)]
    if not any(steps):
        return
    beside = unused(folder.path / "metrics-before.jsonl")
    folder.metrics.rename(beside)
    for looks in (folder.watched, folder.samples):
        if looks.is_dir():
            looks.rename(unused(folder.path / f"{looks.name}-before"))
    log.warning(
        "%s has no whole checkpoint: it starts at step 0 again. Its log of %d steps is %s (looks and grids: beside it)",
        folder.path,
        max(steps),
        beside,
    )


def finish(trainer: Trainer, config: RunConfig, folder: RunFolder, outcome: Outcome) -> None:
    """Export the adapter (the best that judges found, else the last), write the card and the report.

    A policy of the user's own (``model.kind=module:function``) has no adapter that other programs know.
    """
    from kedge.evaluation import write_report
    from kedge.evaluation.report import latest_grid

    if config.model.family is not None:
        from kedge.export.lora import save_lora

        with trainer.result() as step:
            about = metadata(config, step, trainer.base, trainer.history)
            save_lora(trainer.context.evaluated, folder.lora, about)
    ended = {"ended": outcome.ended, "step": outcome.step, "reason": outcome.reason}
    write_text(folder.ended, json.dumps(ended, ensure_ascii=False) + "\n")  # the report tells by it what is outdated
    write_report(folder.path)
    log = read_log(folder.metrics)
    step = trainer.chosen["step"] if trainer.chosen else outcome.step
    grid = latest_grid(folder.path, step)
    card = model_card(
        config,
        step,
        log=log,
        name=folder.path.name,
        spent=spent(log),
        base=trainer.base,
        history=trainer.history.sentences(),
        shown=f"{folder.samples.name}/{grid.name}" if grid else None,
    )
    write_text(folder.card, card)


def metadata(config: RunConfig, step: int, base: Fingerprint | None, history: History | None = None) -> dict[str, Any]:
    """What the adapter's file says about itself."""
    past = {"history": " ".join(history.sentences())} if history and history.sentences() else {}
    return past | {
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
