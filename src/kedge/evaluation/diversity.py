"""How much a model's pictures vary: within a prompt (several noises) and between prompts, by an encoder's features.

With unit features φ, two pictures are d(x, y) = 1 − φ(x)·φ(y) apart: 0 for equal ones, 1 for unrelated ones.

    within   W = mean over prompts c of the mean of d over the pairs of c's own pictures
    between  B = mean over pairs of prompts of the mean of d over the pairs with one picture of each

Both are kept as a value for each picture whose mean over prompts they are, so that intervals over prompts come by the
same rules as a reward's. B is a mean over pairs: two of its terms that share a prompt are not independent. Its values
are therefore the jackknife's pseudo-values P B − (P − 1) B₋c (Tukey 1958; Arvesen 1969 for means over pairs), whose
mean is B and whose spread gives the interval that pairs deserve.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kedge.evaluation.statistics import Floats, Interval, mean_interval, unit_means

WITHIN, BETWEEN = "diversity_within", "diversity_between"
DIVERSITIES = (WITHIN, BETWEEN)
WHERE = {WITHIN: "within a prompt", BETWEEN: "between prompts"}
TITLES = {WITHIN: "Diversity within a prompt", BETWEEN: "Diversity between prompts"}
FEWEST_PROMPTS = 3  # for pseudo-values


def diversities(features: ArrayLike, prompts: Sequence[str]) -> dict[str, Floats]:
    """Both, as far as there are pictures enough: each ``[N]``, one value a picture.

    Args:
        features: ``[N, D]``, unit vectors.
        prompts: the prompt of each picture. ``within`` needs two pictures of every prompt, ``between`` three prompts.
    """
    x = np.asarray(features, dtype=np.float64)
    number: dict[str, int] = {}
    index = np.array([number.setdefault(prompt, len(number)) for prompt in prompts])
    counts = np.bincount(index)
    sums = np.zeros((len(number), x.shape[1]))
    np.add.at(sums, index, x)
    diversities = {}
    if counts.min() >= 2:
        diversities[WITHIN] = _within(x, sums[index], counts[index])
    if len(number) >= FEWEST_PROMPTS:
        diversities[BETWEEN] = _pseudo_values(sums / counts[:, None])[index]
    return diversities


def _within(x: Floats, sums: Floats, counts: Floats) -> Floats:
    """Each picture's mean distance to the others of its prompt.

    Args:
        sums: ``[N, D]``: the sum of the features of the picture's prompt.
        counts: ``[N]``: pictures of that prompt.
    """
    own = (x * x).sum(1)
    distances: Floats = 1 - ((x * sums).sum(1) - own) / (counts - 1)
    return distances


def _pseudo_values(means: Floats) -> Floats:
    """``[P]`` pseudo-values of B from the mean features ``[P, D]`` of each prompt's pictures."""
    count = len(means)
    # The mean of d over the pictures of two prompts is 1 − m·m', m their mean features.
    to_others: Floats = 1 - (means @ means.sum(0) - (means * means).sum(1)) / (count - 1)
    between = to_others.mean()
    without = (count * between - 2 * to_others) / (count - 2)  # B of all prompts but one
    pseudo_values: Floats = count * between - (count - 1) * without
    return pseudo_values


def remaining_share(ours: ArrayLike, theirs: ArrayLike, prompts: Sequence[str]) -> Interval:
    """Which share of their diversity ours still has: the ratio of the means, with its interval over prompts.

    The interval is Student's over the ratio's linearisation (aᵢ − r bᵢ) / b̄ (Fieller's first order; the delta method):
    ours and theirs come from the same noise, so what a prompt has of its own cancels.

    Args:
        ours, theirs: ``[N]`` values of :func:`diversities`.
    """
    a, b = unit_means(ours, prompts), unit_means(theirs, prompts)
    if b.mean() <= 0:  # theirs are all one picture: nothing can be lost
        return Interval(1.0, 1.0, 1.0, b.size)
    ratio = float(a.mean() / b.mean())
    spread = mean_interval((a - ratio * b) / b.mean())
    return Interval(ratio, ratio + spread.low, ratio + spread.high, b.size)
