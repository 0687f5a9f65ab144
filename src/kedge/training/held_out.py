"""Held-out evaluation while it trains, and the alarm for reward hacking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kedge.evaluation import Evaluation, compare, evaluate
from kedge.evaluation.guard import judge_comparison
from kedge.rewards.base import Reward
from kedge.training.callbacks import Watched, due


@dataclass
class HeldOut:
    """Scores the tuned model on prompts it is not trained on, always from the same noise.

    Attributes:
        rewards: name → reward; the first is the one trained on.
        prompts: what to draw.
        seed: of the noise.
        every: steps between evaluations, from step 0.
        guard: what to do when the trained reward rises and the others fall: ``warn``, ``stop`` or ``off``.
        base: the evaluation before the first step.
    """

    rewards: Mapping[str, Reward]
    prompts: Sequence[str]
    seed: int
    every: int
    batch_size: int
    guard: Literal["warn", "stop", "off"] = "warn"
    base: Evaluation | None = None
    name = "held_out"

    def __call__(self, step: int, run: Watched) -> dict[str, float]:
        """Evaluate if it is time; returns ``held_out/<reward>`` means."""
        if not due(step, self.every):
            return {}
        with run.averaged():
            now = evaluate(run.policy, self.rewards, self.prompts, seed=self.seed, batch_size=self.batch_size)
        if self.base is None:
            self.base = now
        elif self.guard != "off":
            self._watch(step, now, run)
        return {f"held_out/{metric}": float(values.mean()) for metric, values in now.scores.items()}

    def _watch(self, step: int, now: Evaluation, run: Watched) -> None:
        trained = next(iter(self.rewards))
        assert self.base is not None  # the first evaluation is never judged
        verdict = judge_comparison(compare(now, self.base), [trained])
        if verdict.level != "hacking":
            return
        message = f"step {step}, on held-out prompts: {verdict.sentence} More regularisation or fewer steps help."
        run.say("\n  ".join([message, *verdict.reasons]))
        if self.guard == "stop":
            run.stop(message)

    def state_dict(self) -> dict[str, Any]:
        """The base model's scores."""
        return {"base": self.base.to_dict() if self.base else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them up."""
        self.base = Evaluation.from_dict(state["base"]) if state["base"] else None
