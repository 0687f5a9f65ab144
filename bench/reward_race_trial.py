"""One training of time_to_reward: seconds of one core, looked at on the way, resumable stretch by stretch."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.reward_race_space import Candidate
from kedge.config import RunConfig
from kedge.evaluation.comparison import compare
from kedge.evaluation.evaluator import evaluate
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics.reaching import Reached, first_reaching
from kedge.policies.base import Policy
from kedge.rewards.base import Reward
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble, build_policy
from kedge.training.processes import Processes
from kedge.training.trainer import Trainer

UNWATCHED = (
    *("watch.samples_every=0", "watch.evaluate_every=0", "watch.metrics=[]", "watch.tensorboard=false"),
    *("watch.trackers=[]", "watch.guard=warn", "checkpoint.every=0", "checkpoint.keep=1", "training.device=cpu"),
)
PATIENCE = 5  # steps in a row without a finite gradient


class Plain:
    """A policy without what an evaluation would compute beside its pictures: the distance to its base."""

    def __init__(self, policy: Policy):
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def trainable(self) -> list[Any]:
        """Nothing that could have moved away from a base."""
        return []


@dataclass
class Judge:
    """Looks at a training: pictures of the same prompts from the same noise, by the preset's own number of steps.

    Attributes:
        policy: of the preset; it is lent the weights of whatever is looked at.
        rewards: the trained one first; then judges and the truth.
        level: those of the prompts that rises are measured on; whether a reward fell is asked of all.
        base: the base model's scores of the same pictures.
    """

    policy: Policy
    rewards: Mapping[str, Reward]
    prompts: Sequence[str]
    level: Sequence[str]
    seed: int
    base: Evaluation = field(init=False)

    def __post_init__(self) -> None:
        self.base = self._evaluation(reference=True)

    @classmethod
    def of(
        cls, config: RunConfig, rewards: Mapping[str, Reward], prompts: Sequence[str], level: Sequence[str], seed: int
    ) -> Judge:
        """For trainings of ``config``."""
        return cls(build_policy(config.model, torch.device("cpu")), rewards, prompts, level, seed)

    def look(self, weights: Sequence[torch.Tensor]) -> dict[str, Any]:
        """How far each reward has risen, in σ of the base's scores, prompt by prompt, and whether it fell."""
        with torch.no_grad():
            for ours, theirs in zip(self.policy.trainable(), weights, strict=True):
                ours.copy_(theirs)
        now, rises = self._evaluation(reference=False), {}
        fell = {change.metric: change.fell for change in compare(now, self.base).rewards}
        for change in compare(of_prompts(now, self.level), of_prompts(self.base, self.level)).rewards:
            difference = change.by_prompt[:, 0] - change.by_prompt[:, 1]
            scaled = np.round(difference / max(change.spread, 1e-12), 4).tolist()
            rises[change.metric] = {"rise": scaled, "fell": fell[change.metric]}
        return rises

    def _evaluation(self, *, reference: bool) -> Evaluation:
        policy: Any = self.policy if reference else Plain(self.policy)
        batch = min(24, len(self.prompts))
        return evaluate(policy, self.rewards, self.prompts, seed=self.seed, batch_size=batch, reference=reference)


def of_prompts(evaluation: Evaluation, prompts: Sequence[str]) -> Evaluation:
    """The scores of these prompts' pictures alone."""
    among = np.isin(evaluation.prompts, list(prompts))
    of_each = tuple(np.array(evaluation.prompts)[among].tolist())
    scores = {name: values[among] for name, values in evaluation.scores.items()}
    return replace(evaluation, prompts=of_each, scores=scores, statistics={}, images=None, distances={})


@dataclass
class Trial:
    """A candidate's training with one seed, and what was seen of it.

    Attributes:
        seconds: of the processor, that it has trained for.
        looks: what was seen, with ``seconds`` and ``queries`` of training until then, and when it was ``due``.
        ended: why it does not go on: ``diverged``, or ``finished`` where the recipe's own end was reached.
    """

    candidate: Candidate
    seed: int
    seconds: float = 0.0
    looks: list[dict[str, Any]] = field(default_factory=list)
    ended: str = ""

    @property
    def key(self) -> str:
        """Of its folder and its record."""
        text = f"{self.candidate.name} {self.candidate.overrides} {self.seed}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def trained(self) -> str:
        """The name of the reward that is trained on."""
        return next(iter(self.looks[0]["rises"]))

    def curve(self, metric: str) -> list[float]:
        """The mean rise at each look, in σ."""
        return [float(np.mean(look["rises"][metric]["rise"])) for look in self.looks]

    def reaching(self, level: float, budget: float, unit: str = "seconds") -> Reached:
        """Where the trained reward first is ``level`` σ above the base, on the isotonic curve through the looks."""
        x = [0.0, *(float(look[unit]) for look in self.looks)]
        return first_reaching(x, [0.0, *self.curve(self.trained)], level, budget=budget)

    def seen_by(self, moment: float) -> Trial:
        """What was known of it when it had trained for so many seconds."""
        looks = [look for look in self.looks if look["due"] <= moment]
        whole = bool(looks) and looks[-1]["due"] >= moment
        return replace(self, looks=looks, ended="" if whole else self.ended)

    def look_after(self, seconds: float) -> dict[str, Any]:
        """The first look not before, or the last."""
        later = [look for look in self.looks if look["seconds"] >= seconds]
        return later[0] if later else self.looks[-1]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        candidate = {"name": self.candidate.name, "changes": self.candidate.changes}
        return {
            "candidate": candidate,
            "seed": self.seed,
            "seconds": self.seconds,
            "looks": self.looks,
            "ended": self.ended,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """The inverse of :meth:`to_dict`."""
        candidate = Candidate(data["candidate"]["name"], data["candidate"]["changes"])
        return cls(candidate, data["seed"], data["seconds"], list(data["looks"]), data["ended"])


def train_until(trial: Trial, config: RunConfig, times: Sequence[float], judge: Judge, folder: Path) -> None:
    """Train until the last of ``times`` (seconds of the processor), looking at each of them.

    A stretch that is interrupted is done again from the checkpoint of the one before.
    """
    left = [moment for moment in times if moment > trial.seconds]
    if trial.ended or not left:
        return
    if trial.seconds == 0:
        shutil.rmtree(folder, ignore_errors=True)  # of a race that is not remembered
    home = RunFolder(folder)
    home.checkpoints.mkdir(parents=True, exist_ok=True)
    trainer = assemble(config, home, Processes("cpu"), resume=trial.seconds > 0)
    clock, skipped, queries = trial.seconds, 0, trial.looks[-1]["queries"] if trial.looks else 0
    looks: list[dict[str, Any]] = []
    while left and not trial.ended:
        began = time.process_time()
        skipped = advance(trainer, skipped)
        clock += time.process_time() - began
        queries += trainer.meter.read()["queries"]
        if skipped >= PATIENCE or not trainer.optimizer.finite():
            trial.ended = "diverged"
        elif trainer.step >= config.training.steps:
            trial.ended = "finished"
        if trial.ended != "diverged" and (clock >= left[0] or trial.ended):
            with trainer.optimizer.averaged():
                rises = judge.look(list(trainer.context.policy.trainable()))
            due = [moment for moment in left if moment <= clock or trial.ended]
            looks.append({"due": due[-1], "seconds": round(clock, 3), "queries": int(queries), "rises": rises})
            left = [moment for moment in left if moment > clock]
    if trial.ended != "diverged":
        trainer.save()
    trial.seconds, trial.looks = clock, [*trial.looks, *looks]


def advance(trainer: Trainer, skipped: int) -> int:
    """One batch of experience, learnt from; how many steps in a row were skipped."""
    for losses in trainer.algorithm.updates(trainer.context):
        result = trainer.optimizer.step(losses)
        trainer.step += 1
        skipped = skipped + 1 if result.skipped else 0
    return skipped
