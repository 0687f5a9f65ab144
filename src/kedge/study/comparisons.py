"""Votes as training data: each a prompt, two pictures and a label; prompts are split, so that none is on both sides."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from kedge.study.export import main_votes
from kedge.study.store import Store


@dataclass(frozen=True)
class Comparison:
    """One vote.

    Attributes:
        label: 1 if the first picture was preferred, 0 if the second, ½ for neither.
    """

    prompt: str
    first: Path
    second: Path
    label: float


@dataclass(frozen=True)
class Split:
    """Votes to learn from, to stop by, and to judge the result by."""

    train: list[Comparison]
    validation: list[Comparison]
    held_out: list[Comparison]


def read_comparisons(stores: Sequence[Store], question: str | None = None) -> list[Comparison]:
    """All first-time votes on a question (each study's first by default), from any number of studies."""
    comparisons = []
    for store in stores:
        for record in main_votes(store, question):
            first, second = record.files
            comparisons.append(
                Comparison(record.prompt, store.pictures / first, store.pictures / second, record.outcome)
            )
    return comparisons


def split(comparisons: Sequence[Comparison], held_out: float, seed: int) -> Split:
    """Split by prompt: ``held_out`` of the prompts to judge by, a tenth of the rest to stop by.

    Raises:
        ValueError: there are too few prompts for that.
    """
    prompts = sorted({comparison.prompt for comparison in comparisons})
    if len(prompts) < 5:
        raise ValueError(f"votes on {len(prompts)} prompts are too few to learn from: at least 5, better hundreds")
    random.Random(f"split {seed}").shuffle(prompts)
    judge = max(1, round(held_out * len(prompts)))
    stop = max(1, round(0.1 * (len(prompts) - judge)))
    if judge + stop >= len(prompts):
        raise ValueError(f"held_out={held_out} leaves no prompts to learn from")

    def votes_on(part: Sequence[str]) -> list[Comparison]:
        inside = set(part)
        votes = []
        for comparison in comparisons:
            if comparison.prompt in inside:
                votes.append(comparison)
        return votes

    return Split(
        train=votes_on(prompts[judge + stop :]),
        validation=votes_on(prompts[judge : judge + stop]),
        held_out=votes_on(prompts[:judge]),
    )


def rater_agreement(comparisons: Sequence[Comparison]) -> float | None:
    """How often two raters who both decided on one pair agree: what no model can be expected to surpass by much."""
    by_pair: defaultdict[tuple[Path, Path], list[float]] = defaultdict(list)
    for comparison in comparisons:
        if comparison.label != 0.5:
            by_pair[comparison.first, comparison.second].append(comparison.label)
    agreed = met = 0
    for labels in by_pair.values():
        for one, other in combinations(labels, 2):
            agreed += one == other
            met += 1
    return agreed / met if met else None
