"""What may watch a run, what it gets to see, and held-out evaluation; grids: :mod:`kedge.training.sample_grid`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor

from kedge.evaluation import Evaluation, evaluate
from kedge.evaluation.best_checkpoint import FALLS, BestByJudges, judges_of
from kedge.evaluation.diversity import DIVERSITIES
from kedge.evaluation.encoders import Encoder
from kedge.evaluation.evaluator import ScoringFailed
from kedge.evaluation.guard import Verdict
from kedge.evaluation.repeated_looks import Alarm
from kedge.evaluation.run_log import HELD_OUT, TRAIN_PROMPTS, Role, words
from kedge.policies.base import Policy
from kedge.rewards.base import Reward


@dataclass(frozen=True)
class Watched:
    """A run as a callback sees it.

    Attributes:
        policy: the generator being trained.
        averaged: inside, its weights are those to show: the EMA, if the run keeps one.
        image: sends a picture ``[3, H, W]`` in [0, 1] to the loggers, under a name.
        say: tells the user one line.
        stop: ends the run after this batch, with a reason.
        keep: remembers the averaged weights of this moment: they are the run's result, until others are kept.
    """

    policy: Policy
    averaged: Callable[[], AbstractContextManager[None]]
    image: Callable[[str, Tensor], None]
    say: Callable[[str], None]
    stop: Callable[[str], None]
    keep: Callable[[], None] = lambda: None


class Callback(Protocol):
    """Called by the first process after every optimizer step, and once before the first with step 0.

    It must leave the training's random streams alone: draw from generators of its own.
    """

    name: str

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Look; return numbers for the log."""

    def state_dict(self) -> dict[str, Any]:
        """What to keep across an interruption: tensors and plain data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what was kept."""


def due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps (0: never), from step 0 on, happens at this one."""
    return every > 0 and step % every == 0


@dataclass
class HeldOut:
    """Evaluation while it trains, and the alarm for reward hacking.

    Scores the tuned model, always on the same prompts from the same noise. The alarm takes two evaluations
    in a row, see :mod:`kedge.evaluation.repeated_looks`.

    Attributes:
        rewards: name → reward; the first is the one trained on.
        prompts: what to draw.
        role: what they are to the training: ``tuning`` if it never sees them, or ``train``.
        seed: of the noise.
        every: steps between evaluations, from step 0.
        pictures: for each prompt; two or more show how much they vary within it.
        encoder: by whose features to measure how much pictures vary; None leaves that out.
        guard: what to do when the alarm sounds (:mod:`kedge.evaluation.levels`): ``warn``, ``stop``, ``off``; ``best``
            warns, keeps the weights that judges find best, and stops when they have passed it
            (:mod:`kedge.evaluation.best_checkpoint`).
        looks: how many evaluations after the first are planned.
        base: the evaluation before the first step.
        folder: where to write each evaluation, ``step-00000100.json``; None writes none.
        adapted: whether the run started from another run's adapter (``--from``), which is its base then.
    """

    rewards: Mapping[str, Reward]
    prompts: Sequence[str]
    seed: int
    every: int
    batch_size: int
    role: Role = "tuning"
    guard: Literal["warn", "stop", "best", "off"] = "warn"
    looks: int = 1
    pictures: int = 1
    encoder: Encoder | None = None
    base: Evaluation | None = None
    folder: Path | None = None
    adapted: bool = False
    name = "held_out"

    def __post_init__(self) -> None:
        self._alarm = Alarm(self.looks)
        self._best = BestByJudges(judges_of(self.rewards, [next(iter(self.rewards), "")]))
        self._silent = 0  # looks in a row at which a judge was missing
        self._kept: int | None = None  # the step that is the run's result

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Evaluate if it is time; returns means by ``held_out/<metric>`` or ``train_prompts/<metric>``, and signs."""
        if not due(step, self.every):
            return {}
        if step > 0:
            self._complete_base(run)
        with run.averaged():
            now = self._evaluate(run, tolerant=step > 0)
        signs: dict[str, float] = {}
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            now.save(self.folder / f"step-{step:08d}.json")
        numbers = self._judge(step, now, run) if self.guard == "best" else {}
        if self.base is None:
            self.base = now
        elif self.guard != "off":
            signs = self._watch(step, now, run)
        prefix = TRAIN_PROMPTS if self.role == "train" else HELD_OUT
        values_by_name = dict(now.scores)
        for name in DIVERSITIES:
            if name in now.statistics:
                values_by_name[name] = now.statistics[name]
        for metric, values in values_by_name.items():
            numbers[f"{prefix}/{metric}"] = float(values.mean())
        return numbers | {name: float(values.mean()) for name, values in now.distances.items()} | signs

    def _complete_base(self, run: Watched) -> None:
        """Score the base where a resume has switched the evaluation on, or added rewards to it."""
        known = self.base.scores if self.base else ()
        missing = {name: reward for name, reward in self.rewards.items() if name not in known}
        if not missing or (self.base is not None and self.adapted):  # the adapter that it started from is gone
            return
        more = self._evaluate(run, tolerant=True, reference=True, rewards=missing)
        self.base = replace(self.base, scores={**self.base.scores, **more.scores}) if self.base else more
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.base.save(self.folder / "step-00000000.json")

    def _judge(self, step: int, now: Evaluation, run: Watched) -> dict[str, float]:
        base = self.base or now
        silent = []
        for judge in self._best.judges:
            if judge not in now.scores or judge not in base.scores:
                silent.append(judge)
        self._silent = self._silent + 1 if silent else 0
        if silent:
            why = f"these judges are missing: {', '.join(silent)}"
            run.say(f"step {step} cannot be the best, because {why}")
            if self._silent >= FALLS:  # nobody would see what becomes of the model
                run.stop(f"{self._silent} looks in a row nobody could judge it, because {why}")
            return self._result()
        look = self._best.look(step, now, base)
        if look.best:
            run.keep()
            self._kept = step
        if look.over:
            run.stop(f"past its best at step {self._best.step}, on {words(self.role)}: {look.sentence}")
        elif look.narrowed:
            run.say(f"step {step}, on {words(self.role)}: {look.sentence}")
        return {"judges": look.height, **self._result(), "narrowed": float(bool(look.narrowed))}

    def _result(self) -> dict[str, float]:
        """The step that is the run's result, for the log; nothing while none is kept: then it is wherever it ends."""
        return {} if self._kept is None else {"best_step": self._kept}

    def _evaluate(
        self,
        run: Watched,
        *,
        tolerant: bool,
        reference: bool = False,
        rewards: Mapping[str, Reward] | None = None,
    ) -> Evaluation:
        """Of all rewards, or of these; once it trains, one that only watches and fails is left out: it must not end the
        training."""
        left, trained = dict(rewards or self.rewards), next(iter(self.rewards))
        while True:
            try:
                return evaluate(
                    run.policy,
                    left,
                    self.prompts,
                    seed=self.seed,
                    batch_size=self.batch_size,
                    samples_per_prompt=self.pictures,
                    encoder=self.encoder,
                    reference=reference,
                )
            except ScoringFailed as error:
                if error.metric == trained or not tolerant:
                    raise
                del left[error.metric]
                run.say(f"left out of this evaluation: {error}")

    def _watch(self, step: int, now: Evaluation, run: Watched) -> dict[str, float]:
        """Judge; returns for the log whether the alarm sounds, and which of its inputs fell at this look."""
        assert self.base is not None  # the first evaluation is never judged
        trained = next(iter(self.rewards))
        verdict, signs = self._alarm.ring(now, self.base, trained, step=step, expected=self.rewards)
        if verdict is not None:
            self._sound(step, verdict, run)
        return signs

    def _sound(self, step: int, verdict: Verdict, run: Watched) -> None:
        message = f"step {step}, on {words(self.role)}: {verdict.sentence} {verdict.record.advice}"
        run.say("\n  ".join([message, *verdict.reasons]))
        if self.guard == "stop" and verdict.record.alarm == "stop":
            run.stop(message)

    def _fits(self, base: Evaluation) -> bool:
        prompts: list[str] = []  # the prompt of each sample
        for prompt in self.prompts:
            prompts += [prompt] * self.pictures
        return base.prompts == tuple(prompts) and base.seed == self.seed

    def state_dict(self) -> dict[str, Any]:
        """The base model's scores, what the alarm remembers, and the best so far."""
        base = self.base.to_dict() if self.base else None
        best = {**self._best.state_dict(), "silent": self._silent, "kept": self._kept}
        return {"base": base, **self._alarm.state_dict(), "best": best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them up."""
        self.base = Evaluation.from_dict(state["base"]) if state["base"] else None
        if self.base is not None and not self._fits(self.base):
            raise ValueError(
                "the checkpoint's held-out evaluation is of other prompts, another watch.seed or another "
                "watch.pictures than this run's: resume with the same, or start a new run"
            )
        self._alarm.load_state_dict(state)
        if "best" in state and self.guard == "best":  # else nothing is kept of it: it would start anew
            best = state["best"]
            self._kept = best.get("kept", best["step"] if best["by_prompt"] else None)
            if tuple(best.get("judges", self._best.judges)) == self._best.judges:  # others' H is another
                self._best.load_state_dict(best)
                self._silent = best.get("silent", 0)
