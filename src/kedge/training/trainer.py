"""The loop. It knows no algorithm: losses come out of ``algorithm.updates``, and everything done with them is here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kedge.algorithms.base import Algorithm, Context, Loss
from kedge.policies.fingerprint import Fingerprint, check_base
from kedge.runs.checkpoint import CheckpointError, CheckpointStore, random_state, restore_random_state
from kedge.runs.history import History
from kedge.training.callbacks import Callback, Watched
from kedge.training.interrupt import StopOnSignal
from kedge.training.loggers import Logger
from kedge.training.meter import Meter
from kedge.training.optimizer import Optimizer, holding
from kedge.training.processes import Processes
from kedge.training.progress import Display

EMPTY_BATCHES = 100  # batches of experience in a row without an update before giving up


class TrainingFailed(RuntimeError):
    """The run cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: optimizer steps done.
        ended: ``finished`` (all steps done), ``interrupted`` (a signal) or ``stopped`` (by a callback).
        reason: for people; of an interrupted run, the signal's name.
        saved: the step of the last checkpoint, -1 if there is none.
        folder: the run's.
    """

    step: int
    ended: Literal["finished", "interrupted", "stopped"]
    reason: str = ""
    saved: int = field(default=-1, compare=False)
    folder: Path | None = field(default=None, compare=False)


@dataclass
class Trainer:
    """Runs an algorithm until ``steps`` optimizer steps are done.

    Attributes:
        meter: reads off what was spent on each step; it counts the queries of a reward that ``context`` lends.
        steps: the run ends with the first batch of experience that reaches them.
        patience: how many steps in a row may be skipped for want of a finite gradient.
        checkpoint_every: steps between checkpoints; 0 saves at the end only.
        callbacks, loggers: used on the first process only.
        base: what is trained; a checkpoint of another base is refused.
        history: how it was trained so far, which each checkpoint keeps.
        save_first: whether to write a checkpoint before the first step, for an adapter that starts from another's.
        chosen: ``step`` and ``weights`` that a callback made the run's result; None is wherever the run ends.
    """

    algorithm: Algorithm
    context: Context
    optimizer: Optimizer
    meter: Meter
    processes: Processes
    store: CheckpointStore
    display: Display
    steps: int
    patience: int = 5
    checkpoint_every: int = 0
    callbacks: Sequence[Callback] = ()
    loggers: Sequence[Logger] = ()
    base: Fingerprint | None = None
    history: History = field(default_factory=History)
    save_first: bool = False
    chosen: dict[str, Any] | None = field(default=None, init=False)
    step: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    _in_a_row: int = field(default=0, init=False)
    _saved: int = field(default=-1, init=False)
    _stop_reason: str = field(default="", init=False)

    def fit(self) -> Outcome:
        """Train to the end, to a signal, or until a callback stops it; a checkpoint is saved in each case.

        Raises:
            TrainingFailed: if gradients stay infinite, or the algorithm yields no updates.
        """
        self.display.start(self.step, self.steps)
        self.context.say = self.display.say
        try:
            for logger in self.loggers:
                logger.start(self.step)
            with StopOnSignal(self._announce_stop) as signals:
                if self.step == 0:
                    if self.save_first:
                        self.save()
                    self._report({})
                self.meter.start()
                ended = self._loop(lambda: self.processes.any(signals.requested))
                if ended != "interrupted" or self._sound():  # what was skipped is done again by a resume
                    self.save()
        finally:
            self.display.close()
            for logger in self.loggers:
                logger.close()
        return Outcome(self.step, ended, signals.name if ended == "interrupted" else self._stop_reason, self._saved)

    def _loop(self, interrupted: Callable[[], bool]) -> Literal["finished", "interrupted", "stopped"]:
        empty = 0
        while self.step < self.steps:
            before = self.step
            for losses in self.algorithm.updates(self.context):
                self._advance(losses)
            empty = empty + 1 if self.step == before else 0
            if empty == EMPTY_BATCHES:
                raise TrainingFailed(
                    f"{EMPTY_BATCHES} batches in a row gave nothing to learn from: does the reward tell images apart?"
                )
            if self.processes.any(bool(self._stop_reason)):
                return "stopped"
            if interrupted():
                return "interrupted"
            due = self.checkpoint_every and self.step // self.checkpoint_every > before // self.checkpoint_every
            if due and self._sound():
                self.save()
        return "finished"

    def _sound(self) -> bool:
        """Whether this moment is worth a checkpoint.

        While steps are being skipped the adapter may have exploded already: what is saved would push out the last
        good one.
        """
        return self._in_a_row == 0 and self.optimizer.finite()

    def _advance(self, losses: Iterable[Loss]) -> None:
        """One optimizer step."""
        result = self.optimizer.step(losses)
        self.step += 1
        if result.skipped:
            self._count_skip(result.metrics)
        else:
            self._in_a_row = 0
            if self.step == 1 and result.metrics.get("gradient_norm") == 0:
                reward = self.context.reward.name
                self.display.say(
                    f"step 1: the gradient is exactly 0, so nothing moved: does {reward!r} tell these pictures apart, "
                    "and does its gradient reach them?"
                )
        self._report({**result.metrics, "skipped": self.skipped, **self.meter.read()})
        self.meter.start()  # watching is not counted

    def _count_skip(self, metrics: dict[str, float]) -> None:
        self.skipped += 1
        self._in_a_row += 1
        self.display.say(f"step {self.step}: the gradient is not finite (loss {metrics.get('loss')}): step skipped")
        if self._in_a_row >= self.patience:
            raise TrainingFailed(
                f"{self._in_a_row} steps in a row had no finite gradient, the last at step {self.step}. They did not "
                f"change the adapter, and no checkpoint was written since they began. {self._advice(metrics)}"
            )

    def _advice(self, metrics: dict[str, float]) -> str:
        """What to change: where the loss itself is no number, the reward comes first."""
        reward = self.context.reward.name
        suspect = f"The loss itself is not finite: look at the reward {reward!r} first. "
        return (
            f"{'' if math.isfinite(metrics.get('loss', 0.0)) else suspect}Lower optimizer.lr, keep optimizer.clip "
            "above 0, use model.dtype=float32, or backpropagate through fewer steps (backprop.last_steps); --resume "
            "goes on from the last checkpoint with what you change"
        )

    def _report(self, metrics: dict[str, float]) -> None:
        """Callbacks, log, display."""
        if not self.processes.main:
            return
        watched = Watched(
            policy=self.context.evaluated,
            averaged=self.optimizer.averaged,
            image=self._image,
            say=self.display.say,
            stop=self._stop,
            keep=self._keep,
        )
        numbers = dict(metrics)
        for callback in self.callbacks:
            numbers |= callback(self.step, watched)
        if numbers:
            for logger in self.loggers:
                logger.log(self.step, numbers)
        self.display.update(self.step, {name: value for name, value in numbers.items() if math.isfinite(value)})

    def _image(self, name: str, image: Any) -> None:
        for logger in self.loggers:
            logger.image(self.step, name, image)

    def _keep(self) -> None:
        with self.optimizer.averaged():
            weights = [parameter.detach().clone() for parameter in self.optimizer.parameters]
        self.chosen = {"step": self.step, "weights": weights}

    @contextmanager
    def result(self) -> Iterator[int]:
        """Inside, the policy has the weights that the run is to be judged by; yields their step."""
        if self.chosen is None:
            with self.optimizer.averaged():
                yield self.step
        else:
            with holding(self.optimizer.parameters, self.chosen["weights"]):
                yield self.chosen["step"]

    def _stop(self, reason: str) -> None:
        self._stop_reason = reason

    def _announce_stop(self, signal_name: str) -> None:
        self.display.say(f"{signal_name}: finishing this batch, then saving; once more to stop at once")

    def save(self) -> None:
        """Write a checkpoint of this moment, which must lie between two batches of experience.

        Raises:
            TrainingFailed: if the adapter holds numbers that are not finite.
            DiskFullError: if there is no room for it.
        """
        if self.step == self._saved:
            return
        if not self.optimizer.finite():
            raise TrainingFailed(f"the adapter holds numbers that are not finite: not saved. {self._advice({})}")
        parts = self.processes.gather([self._own_state()])
        if self.processes.main:
            self.store.save(self.step, {**self._shared_state(), "processes": parts}, self.history)
        self._saved = self.step
        self.processes.wait()

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint; False if there is none.

        Raises:
            ValueError: if it does not fit this run: another number of processes, another base model, other prompts.
        """
        latest = self.store.latest()
        if latest is None:
            return False
        try:
            self._restore(*latest)
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"the newest checkpoint in {self.store.folder} does not hold what this version of Kedge expects "
                f"({type(error).__name__}: {error}): remove it to go on from the one before"
            ) from error
        return True

    def _restore(self, step: int, state: dict[str, Any]) -> None:
        """Take up everything that :meth:`save` wrote."""
        check_base(state.get("base"), self.base, str(self.store.folder.parent))
        if len(state["processes"]) != self.processes.count:
            raise ValueError(
                f"the checkpoint was written by {len(state['processes'])} processes, this run has "
                f"{self.processes.count}: start it with the same number"
            )
        self.optimizer.load_state_dict(state["optimizer"])
        self.skipped, self._in_a_row = state["skipped"], state["in_a_row"]
        self.chosen = state.get("chosen")
        for callback in self.callbacks:
            if callback.name in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][callback.name])
        own = state["processes"][self.processes.index]
        self.meter.load_state_dict(own["spent"], [part["spent"] for part in state["processes"]])
        self.context.prompts.load_state_dict(own["prompts"])
        self.context.state.clear()
        self.context.state.update(own["algorithm"])
        self.context.generator.set_state(own["noise"])
        restore_random_state(own["random"])
        self.step = self._saved = step

    def _shared_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "skipped": self.skipped,
            "in_a_row": self._in_a_row,
            "callbacks": {callback.name: callback.state_dict() for callback in self.callbacks},
            "base": self.base.to_dict() if self.base else None,
            "chosen": self.chosen,
        }

    def _own_state(self) -> dict[str, Any]:
        """What differs from process to process."""
        return {
            "spent": self.meter.state_dict(),
            "prompts": self.context.prompts.state_dict(),
            "algorithm": self.context.state,
            "noise": self.context.generator.get_state(),
            "random": random_state(),
        }
