"""Rewards that must not fall below a level while another rises: their weights are learnt by dual ascent.

max E r subject to E r_i ≥ b_i is the saddle point of E r + Σ_i λ_i (E r_i − b_i)/σ_i. λ_i rises while r_i lies below
b_i and falls while it lies above (:mod:`kedge.algorithms.dual_ascent`), so that a floor that is not at risk costs
almost nothing. b_i is a number, or the mean of the base model's own pictures, which are drawn before the first step;
σ_i is their spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from kedge.algorithms.base import Algorithm, Context, Loss
from kedge.algorithms.dual_ascent import DualAscent, Multiplier, scale_of
from kedge.policies.base import draw_noise, rollout
from kedge.rewards.base import Sums, means_of
from kedge.rewards.composition import Weighted
from kedge.rewards.expression import BASE

PICTURES = 64  # of the base, on each process
SHARE = 0.1  # a floor's first weight, in standard deviations of the reward that is maximised
SEED = 20_260_101
STATE = "floors"  # of Context.state


class FlooredReward:
    """A weighted sum with its floors: ``r + Σ_i λ_i (r_i − b_i)/σ_i``.

    Args:
        reward: the sum.
        state: where λ, b, σ and what λ counts in stand, by name of the floor; empty until the base has been measured.
    """

    def __init__(self, reward: Weighted, state: dict[str, Any]):
        self.reward, self._state = reward, state
        self.name, self.differentiable = reward.name, reward.differentiable
        self._sums = Sums()

    @property
    def summands(self) -> Mapping[str, float]:
        """The weights of standardised rewards: of the summands as written, of the floors as they are now.

        λ_i counts in the sum's own numbers; here it is as large a share of the sum of the standardised.
        """
        weights = dict(self.reward.summands)
        for name, floor in self._floors.items():  # a summand that is held above a floor has both
            unit = floor.get("unit", 1.0)  # runs that began with an older version lack it
            weights[name] = weights.get(name, 0.0) + floor["multiplier"]["value"] / unit
        return weights

    @property
    def _floors(self) -> dict[str, Any]:
        floors: dict[str, Any] = self._state.get(STATE, {})
        return floors

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        return self.in_parts(images, prompts)[0]

    def in_parts(self, images: Tensor, prompts: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The same with the scores that it is made of."""
        total, parts = self.reward.in_parts(images, prompts)
        for name, floor in self._floors.items():
            total = total + floor["multiplier"]["value"] * (parts[name] - floor["level"]) / floor["spread"]
            parts[f"weight of {name}"] = torch.full((len(images),), floor["multiplier"]["value"])
            self._sums.add(name, parts[name])
        return total, parts

    def take_sums(self) -> dict[str, tuple[float, int]]:
        """Of each floor: its scores added up, and how many they were, since the last time."""
        return self._sums.take()


class Floored:
    """An algorithm beside whose updates the floors are held.

    Args:
        algorithm: any.
        reward: the reward of the context, or the one inside its counter.
    """

    ascent = DualAscent()

    def __init__(self, algorithm: Algorithm, reward: FlooredReward):
        self.algorithm, self.needs, self._reward = algorithm, algorithm.needs, reward

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """The algorithm's own; before the first, the base is measured, and after each batch the weights move."""
        if STATE not in context.state:
            context.state[STATE] = self._measured(context)
        yield from self.algorithm.updates(context)
        self._step(context)

    def _step(self, context: Context) -> None:
        """λ of each floor, from what this batch's pictures scored on all processes together."""
        means = means_of(context.gather([self._reward.take_sums()]))
        for name, floor in context.state[STATE].items():
            if name not in means:
                continue
            mean = means[name]
            multiplier = Multiplier(**floor["multiplier"])
            floor["multiplier"] = asdict(self.ascent.step(multiplier, (floor["level"] - mean) / floor["spread"]))

    @torch.no_grad()
    def _measured(self, context: Context) -> dict[str, Any]:
        """Levels, spreads and first weights, from pictures of the base; the run's own streams are left as they were."""
        place, generator = context.prompts.state_dict(), torch.Generator().manual_seed(SEED + context.process)
        named = dict.fromkeys((*self._reward.reward.summands, *self._reward.reward.floors))
        rows: list[tuple[float, dict[str, float]]] = []
        for start in range(0, PICTURES, context.batch_size):
            prompts = context.prompts.take(min(context.batch_size, PICTURES - start))
            noise = draw_noise(context.policy, generator, len(prompts))
            with context.policy.reference():
                images = context.policy.decode(rollout(context.policy, context.encode(prompts), noise).x0)
            total, parts = self._reward.reward.in_parts(images, prompts)
            for row, score in enumerate(total.tolist()):
                rows.append((score, {name: float(parts[name][row]) for name in named}))
        context.prompts.load_state_dict(place)
        everyone = context.gather(rows)
        columns = {"": torch.tensor([score for score, _ in everyone], dtype=torch.float64)}
        for name in named:
            columns[name] = torch.tensor([parts[name] for _, parts in everyone], dtype=torch.float64)
        spreads = {name: scale_of(column) for name, column in columns.items()}
        standardised = torch.zeros(len(everyone), dtype=torch.float64)
        for name, weight in self._reward.reward.summands.items():
            standardised += weight * columns[name] / spreads[name]
        floors = {}
        for name, level in self._reward.reward.floors.items():
            floors[name] = {
                "level": float(columns[name].mean()) if level == BASE else float(level),
                "spread": spreads[name],
                "unit": spreads[""] / scale_of(standardised),
                "multiplier": asdict(self.ascent.start(SHARE * spreads[""])),
            }
        return floors
