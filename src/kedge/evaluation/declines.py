"""What has become worse beside the base model, and which of the stored pictures show it best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kedge.evaluation.comparison import comparable, mean_in_spreads
from kedge.evaluation.diversity import BETWEEN, DIVERSITIES, WHERE, WITHIN, remaining_share
from kedge.evaluation.guard import ALIKE, JURY, Verdict
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Floats, Interval, spread_of

WORST_PAIRS, ALIKE_PROMPTS, MANY_PROMPTS = 6, 4, 8


def shown_declines(verdict: Verdict, ours: Evaluation, theirs: Evaluation) -> dict[str, list[list[int]]]:
    """For each decline that a verdict names, groups of samples to show beside the base's.

    Args:
        ours, theirs: of the same prompts and noise, with pictures of their first samples.

    Returns:
        ``jury``: one sample a group, those that the judges marked down most; a diversity within a prompt: all the
        samples of a prompt, where it fell most; a diversity between prompts: one group, one sample of each prompt.
    """
    pictured = min(len(ours.images), len(theirs.images)) if ours.images is not None and theirs.images is not None else 0
    prompts = ours.prompts[:pictured]
    if not prompts:
        return {}
    groups: dict[str, list[list[int]]] = {}
    if JURY in verdict.lost:
        change = jury_change(verdict.judges, ours, theirs)[:pictured]
        groups[JURY] = [[int(i)] for i in np.argsort(change)[:WORST_PAIRS] if change[i] < 0]
    if WITHIN in verdict.lost:
        change = (ours.values(WITHIN) - theirs.values(WITHIN))[:pictured]
        groups[WITHIN] = _by_prompt(prompts, change)[:ALIKE_PROMPTS]
    if BETWEEN in verdict.lost:
        first = [prompts.index(prompt) for prompt in dict.fromkeys(prompts)]
        groups[BETWEEN] = [first[:MANY_PROMPTS]]
    shown = {}
    for loss, samples in groups.items():
        if samples:
            shown[loss] = samples
    return shown


def jury_change(judges: Sequence[str], ours: Evaluation, theirs: Evaluation) -> Floats:
    """``[N]``: by how much the judges mark each picture up, in σ of the base's scores, on average."""
    moves = []
    for judge in judges:
        scores = theirs.values(judge)
        moves.append((ours.values(judge) - scores, spread_of(scores)))
    change = mean_in_spreads(moves)
    return np.zeros(len(ours)) if change is None else change


def narrowing(ours: Evaluation, theirs: Evaluation) -> str:
    """Where the pictures vary less than theirs, beyond chance: ``61 % within a prompt (55–67)``; empty if nowhere.

    That is where the whole interval of the share that is kept lies below :data:`~kedge.evaluation.guard.ALIKE`.
    """
    places = []
    for name, share in remaining(ours, theirs).items():
        if share.high < ALIKE:
            limits = f"({100 * share.low:.0f}–{100 * share.high:.0f})"
            places.append(f"{100 * share.value:.0f} % {WHERE[name]} {limits}")
    return ", ".join(places)


def remaining(ours: Evaluation, theirs: Evaluation) -> dict[str, Interval]:
    """Which share of their diversity ours still has, of each that one encoder measured in both."""
    shares = {}
    for name in DIVERSITIES:
        if name in ours.statistics and comparable(ours, theirs, name):
            shares[name] = remaining_share(ours.values(name), theirs.values(name), ours.prompts)
    return shares


def _by_prompt(prompts: Sequence[str], change: Floats) -> list[list[int]]:
    """The samples of each prompt, that whose ``change`` is lowest on average first."""
    samples: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        samples.setdefault(prompt, []).append(i)
    return sorted(samples.values(), key=lambda group: float(change[group].mean()))
