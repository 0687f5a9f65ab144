"""One cell: train from where it stands, measure what is not measured yet, write down how it ended."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kedge import files
from kedge.files import write_text
from kedge.runs.folder import RunFolder
from kedge.workflows.runner.runs import Measure, Run

if TYPE_CHECKING:
    from kedge.policies.base import Policy
    from kedge.training.callbacks import Callback, Watched

OUTCOME, MEASURED, FAILURE = "outcome.json", "measured.json", "failure.json"
State = Literal["waiting", "partial", "finished", "stopped", "diverged", "failed"]
BATCH = 16


class Interrupted(Exception):
    """A signal asked for an end; everything so far is saved.

    Attributes:
        signal: its name.
    """

    def __init__(self, message: str, signal: str = "SIGINT"):
        super().__init__(message)
        self.signal = signal


@dataclass(frozen=True)
class Ending:
    """How a training ended: ``finished``, ``stopped`` (by the guard) or ``diverged``."""

    outcome: str
    step: int
    message: str = ""


def read_json(path: Path) -> Any:
    """What a file holds, or None if there is none."""
    return files.read_json(path) if path.is_file() else None


def ending(home: Path) -> Ending | None:
    """How the training in ``home`` ended; None if it has not."""
    outcome = read_json(home / OUTCOME)
    return Ending(**outcome) if outcome else None


def state(run: Run, home: Path) -> State:
    """How far a cell is."""
    ended = ending(home)
    if ended and ended.outcome == "diverged":
        return "diverged"
    if (not run.train or _trained(run, home)) and not _to_measure(run, home):
        return "stopped" if ended and ended.outcome == "stopped" else "finished"
    if (home / FAILURE).is_file():
        return "failed"
    return "partial" if RunFolder(home).used or (home / MEASURED).is_file() else "waiting"


def perform(run: Run, home: Path, callbacks: Sequence[Callback] = ()) -> State:
    """Do what is left of a cell.

    A training without finite gradients ends as ``diverged`` and is not repeated; anything else that goes wrong is
    written down as ``failed`` and is tried again next time.

    Raises:
        Interrupted: by a signal, once everything is saved.
    """
    (home / FAILURE).unlink(missing_ok=True)
    try:
        if run.train and not _trained(run, home):
            _train(run, home, callbacks)
        if (ended := ending(home)) is None or ended.outcome != "diverged":
            _measure(run, home)
    except (ValueError, OSError, RuntimeError) as error:
        home.mkdir(parents=True, exist_ok=True)
        _write(home / FAILURE, {"kind": type(error).__name__, "message": str(error)})
    return state(run, home)


def _trained(run: Run, home: Path) -> bool:
    """Whether its training has ended, or is as far as the run asks for now."""
    return ending(home) is not None or (run.until is not None and steps_done(home) >= run.until)


class Until:
    """A callback of the trainer that stops it at a step, to go on another time."""

    name, reason = "until", "as far as was asked for"

    def __init__(self, step: int):
        self.step = step

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Stop once the step is reached."""
        if step >= self.step:
            run.stop(self.reason)
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""


def _train(run: Run, home: Path, callbacks: Sequence[Callback]) -> None:
    from kedge.training.run import train
    from kedge.training.trainer import TrainingFailed

    config = run.config()
    if run.until is not None and run.until < config.training.steps:  # at its end it ends by itself: finished
        callbacks = [*callbacks, Until(run.until)]
    try:
        outcome = train(config, home, resume=RunFolder(home).used, callbacks=callbacks)
    except TrainingFailed as error:
        step = steps_done(home)
        _write(home / OUTCOME, asdict(Ending("diverged", step, str(error))))
        return
    if outcome.ended == "interrupted":
        raise Interrupted(f"stopped at step {outcome.step}, saved", outcome.reason)
    if outcome.reason == Until.reason and outcome.step < config.training.steps:
        return
    _write(home / OUTCOME, asdict(Ending(outcome.ended, outcome.step, outcome.reason)))


def steps_done(home: Path) -> int:
    """The last step in a run's log, 0 if it has none."""
    from kedge.evaluation.run_log import read_log

    lines = read_log(RunFolder(home).metrics)
    return int(lines[-1]["step"] or 0) if lines else 0


def _measure(run: Run, home: Path) -> None:
    wanted = _to_measure(run, home)
    if wanted and run.until is not None and steps_done(home) > run.until:
        raise ValueError(
            f"{home} went on to step {steps_done(home)}, so it cannot be measured at step {run.until}: remove it"
        )
    for steps, at in dict.fromkeys((measure.steps, measure.at) for measure in wanted.values()):
        policy = _policy(run, home, steps, at)
        for role, measure in wanted.items():
            if (measure.steps, measure.at) == (steps, at):
                _measure_one(run, home, policy=policy, role=role, wanted=measure)


def _to_measure(run: Run, home: Path) -> dict[str, Measure]:
    """What is not measured yet, or lacked a reward that is here by now."""
    done, left = read_json(home / MEASURED) or {}, {}
    for role, measure in run.measures.items():
        record = done.get(role, {})
        same = record.get("asked") == measure.to_dict()
        if not same or any(_loadable(metric) for metric in record.get("missing", ())):
            left[role] = measure
    return left


def _loadable(metric: str) -> bool:
    from kedge.rewards import REWARDS, MissingWeightsError, parse
    from kedge.rewards.sources import locate

    try:
        for term in parse(metric):
            if term.name in REWARDS:
                locate(REWARDS[term.name], term.source)
    except (MissingWeightsError, ValueError):
        return False
    return True


def _measure_one(run: Run, home: Path, policy: Policy, role: str, wanted: Measure) -> None:
    from kedge.evaluation.measure import Plan, measure
    from kedge.evaluation.records import evaluation_folder
    from kedge.rewards import MissingWeightsError, load_reward
    from kedge.workflows.targets import drawn_by

    rewards, missing = {}, {}
    for metric in wanted.metrics:
        try:
            rewards[metric] = load_reward(metric, device=policy.device)
        except MissingWeightsError as error:
            missing[metric] = str(error)
    prompts = _prompts(wanted)
    keep = min(wanted.keep, len(prompts))
    plan = Plan(
        rewards, prompts, seed=wanted.seed, samples_per_prompt=wanted.samples, batch_size=BATCH, keep_images=keep
    )
    model = drawn_by(run.config().model)
    measure(policy, plan, name=run.title, model=model, folder=evaluation_folder(home), role=role)
    notes = read_json(home / MEASURED) or {}
    notes[role] = {"asked": wanted.to_dict(), "missing": missing}
    if wanted.timed:
        notes[role]["seconds_per_picture"] = _seconds_per_picture(policy, prompts)
    _write(home / MEASURED, notes)


def _prompts(wanted: Measure) -> list[str]:
    from kedge.prompts import load_prompts

    prompts = list(wanted.prompts) if isinstance(wanted.prompts, tuple) else load_prompts(wanted.prompts)
    if wanted.count is None or wanted.count >= len(prompts):
        return prompts
    return random.Random(0).sample(prompts, wanted.count)


def _policy(run: Run, home: Path, steps: int | None, at: int | None) -> Policy:
    """The trained model, or the base model of a run that trains nothing."""
    import dataclasses

    from kedge.training.assemble import build_policy
    from kedge.training.processes import Processes
    from kedge.workflows.load_run import load_run

    changed: dict[str, Any] = {} if steps is None else {"steps": steps}
    device = Processes(run.config().training.device).device
    if run.train:
        return load_run(home, device, at, **changed).policy
    return build_policy(dataclasses.replace(run.config().model, **changed), device, lora=False)


def _seconds_per_picture(policy: Policy, prompts: Sequence[str], batch: int = 8, repeats: int = 3) -> float:
    """The median time of a batch, once warm, divided by its size."""
    import statistics

    from kedge.policies.sampling import draw

    texts = [prompts[i % len(prompts)] for i in range(batch)]
    times: list[float] = []
    for repeat in range(repeats + 1):
        with _stopwatch(times):
            draw(policy, texts, range(batch * repeat, batch * (repeat + 1)), batch)
    return statistics.median(times[1:]) / batch


@contextmanager
def _stopwatch(times: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    times.append(time.perf_counter() - began)


def _write(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
