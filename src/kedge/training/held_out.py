"""Held-out evaluation while it trains, and the alarm for reward hacking.

A model that cheats raises the reward it is trained on while rewards it has never seen fall. The guard compares the
same prompts and noise with an earlier evaluation, so that it notices small falls and ignores chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from kedge.evaluation import evaluate
from kedge.evaluation.statistics import paired_difference
from kedge.rewards.base import Reward
from kedge.training.callbacks import Watched, due


@dataclass(frozen=True)
class Guard:
    """When to raise the alarm, and what to do then.

    Attributes:
        action: ``warn``, ``stop`` or ``off``.
        level: confidence of the paired intervals that must exclude zero.
    """

    action: Literal["warn", "stop", "off"] = "warn"
    level: float = 0.99

    def verdict(self, trained: str, now: Mapping[str, list[float]], best: Mapping[str, Mapping[str, list[float]]]) -> str:
        """What has fallen while the trained reward has risen, in words; empty if all is well.

        Args:
            trained: the reward that is trained on.
            now: metric → scores by sample.
            best: metric → all scores at the evaluation where that metric was highest.
        """
        fallen = []
        for metric, before in best.items():
            if metric == trained:
                continue
            risen = paired_difference(now[trained], before[trained], level=self.level)
            change = paired_difference(now[metric], before[metric], level=self.level)
            if risen.low > 0 and change.high < 0:
                fallen.append(f"{metric} has fallen by {-change.value:.3g}")
        return " and ".join(fallen)


@dataclass
class HeldOut:
    """Scores the tuned model on prompts it is not trained on.

    Attributes:
        rewards: name → reward; the first is the one trained on.
        prompts: what to draw.
        seed: of the noise, the same at every evaluation.
        every: steps between evaluations, from step 0.
        best: metric → all scores (metric → list) at the evaluation where that metric was highest.
    """

    rewards: Mapping[str, Reward]
    prompts: Sequence[str]
    seed: int
    every: int
    batch_size: int
    guard: Guard = field(default_factory=Guard)
    best: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    name = "held_out"

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Evaluate if it is time; returns ``held_out/<reward>`` means."""
        if not due(step, self.every):
            return {}
        with run.averaged():
            result = evaluate(run.policy, self.rewards, self.prompts, seed=self.seed, batch_size=self.batch_size)
        scores = {metric: values.tolist() for metric, values in result.scores.items()}
        if self.guard.action != "off" and self.best:
            self._watch(step, scores, run)
        for metric, values in scores.items():
            if metric not in self.best or sum(values) > sum(self.best[metric][metric]):
                self.best[metric] = scores
        return {f"held_out/{metric}": sum(values) / len(values) for metric, values in scores.items()}

    def _watch(self, step: int, scores: dict[str, list[float]], run: Watched) -> None:
        trained = next(iter(self.rewards))
        found = self.guard.verdict(trained, scores, self.best)
        if not found:
            return
        message = (
            f"step {step}: {trained} still rises on held-out prompts, but {found} since its best: the model may be "
            "cheating the reward. More regularisation (algorithm.beta) or fewer steps help"
        )
        run.say(message)
        if self.guard.action == "stop":
            run.stop(message)

    def state_dict(self) -> dict[str, Any]:
        """The best scores so far, as tensors."""
        return {
            metric: {name: torch.tensor(values, dtype=torch.float64) for name, values in scores.items()}
            for metric, scores in self.best.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the best scores."""
        self.best = {
            metric: {name: values.tolist() for name, values in scores.items()} for metric, scores in state.items()
        }
