"""Which of the pictures that were kept show best what a model has lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kedge.evaluation.diversity import BETWEEN, WITHIN
from kedge.evaluation.guard import JURY, Verdict
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Floats

WORST_PAIRS, ALIKE_PROMPTS, MANY_PROMPTS = 6, 4, 8


def shown_losses(verdict: Verdict, ours: Evaluation, theirs: Evaluation) -> dict[str, list[list[int]]]:
    """For each loss of the verdict, groups of samples to be seen beside the base's.

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
    return {loss: samples for loss, samples in groups.items() if samples}


def jury_change(judges: Sequence[str], ours: Evaluation, theirs: Evaluation) -> Floats:
    """``[N]``: by how much the judges mark each picture up, in σ of the base's scores, on average."""
    changes = []
    for judge in judges:
        spread = theirs.values(judge).std(ddof=1)
        if spread > 0:
            changes.append((ours.values(judge) - theirs.values(judge)) / spread)
    mean: Floats = np.mean(changes, axis=0) if changes else np.zeros(len(ours))
    return mean


def _by_prompt(prompts: Sequence[str], change: Floats) -> list[list[int]]:
    """The samples of each prompt, that whose ``change`` is lowest on average first."""
    samples: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        samples.setdefault(prompt, []).append(i)
    return sorted(samples.values(), key=lambda group: float(change[group].mean()))
