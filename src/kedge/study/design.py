"""Who sees which pair, in which order, and which model stands on the left: seeded and balanced. Plain Python.

Four balances hold: every matchup of two models has the same number of pairs (±1); every pair is given to the same
number of raters (±1); every pair is shown as often one way round as the other (±1); and each rater sees each model of a
matchup as often on the left as on the right (as nearly as the third allows; ±1 when everybody sees every pair).
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Design:
    """The plan of a study.

    Attributes:
        pairs: how many pairs to judge, over all matchups.
        seed: of the noise, and with the study's secret of order and sides.
        per_rater: how many pairs each rater judges; None for all.
        checks: share of each rater's pairs that are shown to them again, the other way round.
    """

    pairs: int
    seed: int = 0
    per_rater: int | None = None
    checks: float = 0.0

    def __post_init__(self) -> None:
        if self.pairs < 1:
            raise ValueError(f"a study needs at least one pair, not {self.pairs}")
        if self.per_rater is not None and not 1 <= self.per_rater <= self.pairs:
            raise ValueError(f"each rater can judge 1 to {self.pairs} pairs, not {self.per_rater}")
        if not 0 <= self.checks <= 1:
            raise ValueError(f"checks is a share between 0 and 1, not {self.checks}")

    @property
    def share(self) -> int:
        """Pairs for each rater, without repeats."""
        return self.per_rater or self.pairs


@dataclass(frozen=True)
class PlannedPair:
    """Two models on one prompt and seed.

    Attributes:
        prompt: its index.
        first, second: the models' indices; equal for two pictures of one model.
        repetition: how often the prompt and matchup occurred before: another seed each time.
    """

    prompt: int
    first: int
    second: int
    repetition: int


@dataclass(frozen=True)
class Showing:
    """One pair as one rater sees it.

    Attributes:
        pair: its index.
        swapped: whether its second picture stands on the left.
        repeat: whether this rater judged it before: an attention check.
    """

    pair: int
    swapped: bool
    repeat: bool = False


def plan_pairs(models: int, prompts: int, design: Design) -> list[PlannedPair]:
    """Every prompt in turn, every matchup in turn; prompts are used again, with new seeds, when there are too few.

    With one model, each pair is two pictures of it.
    """
    matchups = list(itertools.combinations(range(models), 2)) or [(0, 0)]
    rng = random.Random(f"pairs {design.seed}")
    order = rng.sample(range(prompts), prompts)
    used: Counter[tuple[int, tuple[int, int]]] = Counter()
    planned = []
    for i in range(design.pairs):
        lap, place = divmod(i, prompts)
        # The lap shifts the matchups, so that a prompt that comes again meets others.
        prompt, matchup = order[place], matchups[(i + (lap if prompts % len(matchups) == 0 else 0)) % len(matchups)]
        planned.append(PlannedPair(prompt, *matchup, used[prompt, matchup]))
        used[prompt, matchup] += 1
    return planned


def assign(
    design: Design, rater: int, matchups: Sequence[object], shown: Sequence[tuple[int, int]], secret: str = ""
) -> list[Showing]:
    """What the ``rater``-th rater sees, in order.

    Args:
        matchups: for each pair, which two models meet.
        shown: for each pair, how often earlier raters were given it as it is, and swapped (repeats not counted).
        secret: of the study: without it, whoever reads this file could tell the sides from the order of the pairs.
    """
    rng = random.Random(" ".join(["rater", str(design.seed), str(rater), *([secret] if secret else [])]))
    order = sorted(range(len(shown)), key=lambda pair: (sum(shown[pair]), rng.random()))  # the least shown first
    chosen = order[: design.share]
    sides = _sides(chosen, matchups, shown, rng)
    rng.shuffle(chosen)
    return _with_repeats([Showing(pair, sides[pair]) for pair in chosen], design, rng)


def _sides(
    chosen: Sequence[int], matchups: Sequence[object], shown: Sequence[tuple[int, int]], rng: random.Random
) -> dict[int, bool]:
    """A pair that was shown more often one way is shown the other; the rest even out this rater's matchups."""
    sides: dict[int, bool] = {}
    lead: Counter[object] = Counter()
    free = []
    for pair in chosen:
        plain, swapped = shown[pair]
        if plain == swapped:
            free.append(pair)
        else:
            sides[pair] = plain > swapped
            lead[matchups[pair]] += 1 if sides[pair] else -1
    rng.shuffle(free)
    for pair in free:
        ahead = lead[matchups[pair]]
        sides[pair] = ahead < 0 or (ahead == 0 and rng.random() < 0.5)
        lead[matchups[pair]] += 1 if sides[pair] else -1
    return sides


def _with_repeats(showings: list[Showing], design: Design, rng: random.Random) -> list[Showing]:
    """Put repeats of early pairs, swapped, into the second half: never near the first time."""
    count = round(design.checks * len(showings))
    half = len(showings) // 2
    if count == 0 or half == 0:
        return showings
    early = rng.sample(range(half), min(count, half))
    later = [Showing(showings[i].pair, not showings[i].swapped, repeat=True) for i in early]
    rng.shuffle(later)
    tail = showings[half:]
    gap = min(len(tail), max(1, half // 2))
    for showing in later:
        tail.insert(rng.randint(min(gap, len(tail)), len(tail)), showing)
    return showings[:half] + tail
