"""How far a mean over prompts and training seeds may be off.

Scores form a table, a row for each training seed and a column for each prompt (several pictures of a prompt are
averaged first). Other prompts and other seeds would have given another mean, so both count: a table of one seed says
nothing about seeds, and ten pictures of one prompt are not ten prompts. The model is the crossed one with random
effects of both,

    y_sp = μ + seed_s + prompt_p + residual_sp,         s = 1 … S,   p = 1 … P,

whose mean squares MS_seed, MS_prompt and MS_residual are those of a two-way analysis of variance (Searle, Casella and
McCulloch 1992, *Variance Components*, chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kedge.evaluation.statistics.interval import Floats
from kedge.evaluation.t_distribution import critical_value, two_sided_p

CLOSE = 1e-7  # relative error of a p-value that has to be searched for


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error.

    Attributes:
        value: the mean.
        error: its standard error; infinite where nothing is known about it.
        parts: what the squared error is made of: the share of each part, and its degrees of freedom.
    """

    value: float
    error: float
    parts: tuple[tuple[float, float], ...]

    def critical(self, alpha: float) -> float:
        """The t that is exceeded with probability ``alpha``, to either side: (Σ share √t_freedom)².

        Between the quantiles of the parts. Cochran and Cox (1950) weigh the quantiles themselves, which is a little
        wide in the middle; Satterthwaite's (1946) approximate degrees of freedom are too narrow for few seeds.
        """
        return sum(share * math.sqrt(critical_value(alpha, freedom)) for share, freedom in self.parts) ** 2

    def half_width(self, level: float) -> float:
        """Half of the interval's width."""
        return math.inf if math.isinf(self.error) else self.critical(1 - level) * self.error

    def p(self, null: float = 0.0) -> float:
        """Two-sided p-value of the mean being ``null``; NaN where the error is not known."""
        distance = abs(self.value - null)
        if math.isinf(self.error):
            return math.nan
        if self.error == 0:
            return 1.0 if distance == 0 else 0.0
        return self._exceeded(distance / self.error)

    def _exceeded(self, t: float) -> float:
        """The inverse of :meth:`critical`: it lies between those of the parts."""
        known = [two_sided_p(t, freedom) for _, freedom in self.parts]
        low, high = max(min(known), 1e-300), max(known)
        while high > low * (1 + CLOSE):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.critical(middle) > t else (low, middle)
        return high

    def p_above(self, bound: float) -> float:
        """One-sided p-value against the mean being ``bound`` or less; NaN where the error is not known."""
        p = self.p(bound)
        return p / 2 if self.value > bound else 1 - p / 2


def estimate(table: Floats) -> Estimate:
    """What is known of the mean of ``table`` ``[S, P]``.

    Of one seed, Student's over prompts (and of one prompt over seeds). Else

        var = (MS_seed + max(0, MS_prompt − MS_residual)) / (S P)

    with S − 1 and P − 1 degrees of freedom of its two parts; of more seeds than prompts the other way round. Without
    differences between prompts this is Student's over seeds, without differences between seeds nearly Student's over
    prompts. How often the interval holds the truth, by simulation over all ratios of the three variances, 40 prompts
    and more: 93 to 97.5 % with two seeds, 95 to 97 % with three and more. (Satterthwaite's degrees of freedom in their
    place: 87 to 98 and 92 to 98 %; the wider of both Student's: up to 99 % with few seeds, and down to 91 % with
    eight.) Far out two seeds are no basis: at 99.9 % they err in 1.4 % of studies, three in 0.4 %.
    """
    seeds, prompts = table.shape
    if seeds == 1:
        return over(table[0])
    if prompts == 1:
        return over(table[:, 0])
    mean = table.mean()
    over_seeds, over_prompts = table.mean(1), table.mean(0)
    of_seeds = prompts * ((over_seeds - mean) ** 2).sum() / (seeds - 1)
    of_prompts = seeds * ((over_prompts - mean) ** 2).sum() / (prompts - 1)
    residual = table - over_seeds[:, None] - over_prompts[None, :] + mean
    of_residual = (residual**2).sum() / ((seeds - 1) * (prompts - 1))
    (few, few_freedom), (many, many_freedom) = (of_seeds, seeds - 1), (of_prompts, prompts - 1)
    if seeds > prompts:
        (few, few_freedom), (many, many_freedom) = (many, many_freedom), (few, few_freedom)
    more = max(0.0, many - of_residual)
    return combined(float(mean), [(few / table.size, few_freedom), (more / table.size, many_freedom)])


def combined(value: float, variances: Sequence[tuple[float, float]]) -> Estimate:
    """A mean whose variance is the sum of independent parts, each with its degrees of freedom."""
    total = math.fsum(variance for variance, _ in variances)
    if total == 0:
        return Estimate(value, 0.0, ((1.0, variances[0][1]),))
    parts = tuple((float(variance / total), float(freedom)) for variance, freedom in variances)
    return Estimate(value, math.sqrt(total), parts)


def over(units: Floats) -> Estimate:
    """The mean of independent ``units`` ``[U]``, with Student's error, sd / √U."""
    if units.size == 1:
        return Estimate(float(units[0]), math.inf, ())
    error = float(units.std(ddof=1)) / math.sqrt(units.size)
    return Estimate(float(units.mean()), error, ((1.0, units.size - 1),))
