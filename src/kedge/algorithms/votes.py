"""Recorded preferences: one JSON object a line, ``{"prompt": …, "seed": …, "preferred": 0 | 1 | 0.5}``.

A line says which of two pictures somebody preferred: 0 the first, 1 the second, 0.5 neither. Both were drawn by the
base model for ``prompt`` from the noise that :func:`paired_noise` makes of ``seed``, so that no latents are stored.
With ``"steps"`` and ``"guidance"``, as ``kedge study export`` writes them, a training that would draw other pictures
from that noise is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kedge.algorithms.base import Context
from kedge.files import text_lines
from kedge.policies.base import Policy, draw_noise

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Vote:
    """One preference between two pictures of the base model.

    Attributes:
        preferred: 0 the first picture, 1 the second, 0.5 a tie.
        steps, guidance: how the pictures were drawn, if that is known.
    """

    prompt: str
    seed: int
    preferred: float
    steps: int | None = None
    guidance: float | None = None

    @property
    def label(self) -> float:
        """h of the first picture: 1 preferred, −1 not, 0 tie."""
        return 1 - 2 * self.preferred


def read_votes(path: str | Path) -> list[Vote]:
    """All votes of a file.

    Raises:
        ValueError: naming the line and what is wrong with it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"votes: no file at {path}")
    try:
        lines = text_lines(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"votes: {path} is not UTF-8 text: {error}") from error
    votes = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            votes.append(_read(line, f"{path}:{number}"))
    if not votes:
        raise ValueError(f"votes: {path} holds no votes")
    return votes


def _read(line: str, where: str) -> Vote:
    try:
        data = json.loads(line)
        _check_types(data)
        steps, guidance = data.get("steps"), data.get("guidance")
        drawn = (None if steps is None else int(steps), None if guidance is None else float(guidance))
        vote = Vote(str(data["prompt"]), int(data["seed"]), float(data["preferred"]), *drawn)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, TypeError) else ""
        raise ValueError(
            f'{where}: expected {{"prompt": text, "seed": whole number, "preferred": 0, 1 or 0.5}}, found '
            f"{line[:80]!r}{reason}"
        ) from error
    if vote.preferred not in (0.0, 1.0, 0.5):
        raise ValueError(f"{where}: preferred must be 0, 1 or 0.5 (a tie), not {vote.preferred:g}")
    return vote


def _check_types(data: dict[str, Any]) -> None:
    """Refuse what would become something else: a seed that went through a float is another seed, so other pictures."""
    if type(data["seed"]) is not int:
        raise TypeError("a seed is a whole number: written with a point or an exponent it has lost its last digits")
    if not isinstance(data["prompt"], str):
        raise TypeError("a prompt is a text")
    if isinstance(data["preferred"], bool):
        raise TypeError("preferred is a number, not true or false")


def check_drawing(votes: Sequence[Vote], policy: Policy) -> None:
    """Refuse votes on pictures that this policy would not draw again.

    Raises:
        ValueError: naming the setting, the raters' value and this one's.
    """
    for name in ("steps", "guidance"):
        ours = getattr(policy, name, None)  # a policy of the user's own may know no guidance
        for theirs in {getattr(vote, name) for vote in votes} - {None, ours}:
            if ours is not None:
                raise ValueError(
                    f"votes: the raters saw pictures of {name} {theirs:g}, but model.{name} is {ours:g}: from the same "
                    f"seeds it draws others. Set model.{name}={theirs:g}"
                )


def paired_noise(policy: Policy, generators: torch.Generator | Sequence[torch.Generator], pairs: int) -> Tensor:
    """Noise for pairs that share x_K and nothing else: ``[K, 2 · pairs, …]``, first members, then second members."""
    first, second = draw_noise(policy, generators, pairs), draw_noise(policy, generators, pairs)
    return torch.cat([first, torch.cat([first[:1], second[1:]])], dim=1)


def seeded_pairs(policy: Policy, seeds: Sequence[int]) -> Tensor:
    """:func:`paired_noise` from one seed for each pair, whatever else is in the batch."""
    return paired_noise(policy, [torch.Generator().manual_seed(seed) for seed in seeds], len(seeds))


def next_votes(context: Context, votes: Sequence[Vote], count: int) -> list[Vote]:
    """The next ``count`` votes of this process, in a new random order each time through; resumable."""
    drawn: int = context.state.get("votes", 0)
    context.state["votes"] = drawn + count * context.processes
    first = drawn + context.process * count
    return [_at(votes, index) for index in range(first, first + count)]


def _at(votes: Sequence[Vote], index: int) -> Vote:
    epoch, place = divmod(index, len(votes))
    order = torch.randperm(len(votes), generator=torch.Generator().manual_seed(epoch))
    return votes[int(order[place])]
