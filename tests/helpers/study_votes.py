"""Fills a study with votes whose truth is known, by the rules that pages go through."""

from __future__ import annotations

import random
from collections.abc import Callable

from kedge.study.store import Store
from kedge.study.voting import Answer, picture_file, state, vote


def fill(store: Store, prefers_first: Callable[[random.Random], float], seed: int = 0) -> None:
    """Every rater answers everything: the first picture with the given probability."""
    rng = random.Random(seed)
    first = {row["first_file"] for row in store.db.execute("SELECT first_file FROM pair")}
    for rater in range(1, len(store.links()) + 1):
        while (now := state(store, rater))["position"] < now["total"]:
            left = picture_file(store, rater, now["position"], "left") in first
            choice = "left" if (rng.random() < prefers_first(rng)) == left else "right"
            vote(store, rater, Answer(now["position"], now["question"], choice, rng.randint(800, 4000)))
