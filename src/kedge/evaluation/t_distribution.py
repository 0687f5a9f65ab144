"""Student's t distribution in plain Python, so that the intervals need nothing beyond numpy.

The distribution function is the regularised incomplete beta function, by its continued fraction (Abramowitz and
Stegun, 26.5.8 and 26.7.1) evaluated with Lentz's method; quantiles are found by Newton's.
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, for x < (a + 1) / (a + b + 2)."""
    c, d = 1.0, 1.0 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _nonzero(1 + term * d)
            c = _nonzero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            return value
    raise ArithmeticError(f"the incomplete beta function did not converge at a={a}, b={b}, x={x}")


def _nonzero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1]."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _continued_fraction(a, b, x) / a
    return 1 - math.exp(log_front) * _continued_fraction(b, a, 1 - x) / b


def two_sided_p(t: float, df: float) -> float:
    """P(|T| ≥ |t|) for Student's t with ``df`` degrees of freedom."""
    if math.isnan(t):
        return math.nan
    if math.isinf(t):
        return 0.0
    if t * t < 1:  # df / (df + t²) would round to 1
        return 1 - incomplete_beta(0.5, df / 2, t * t / (df + t * t))
    return incomplete_beta(df / 2, 0.5, df / (df + t * t))


def two_sided_quantile(level: float, df: float) -> float:
    """The t with P(|T| ≤ t) = ``level``: 1.96 for level 0.95 and many degrees of freedom.

    Raises:
        ValueError: if ``level`` is not inside (0, 1) or ``df`` is not positive.
    """
    if not 0 < level < 1 or df <= 0:
        raise ValueError(f"level must be inside (0, 1) and df positive, not level={level}, df={df}")
    return critical_value(1 - level, df)


@lru_cache(maxsize=4096)
def critical_value(alpha: float, df: float) -> float:
    """The t with P(|T| ≥ t) = ``alpha``, inside (0, 1); as good for 1e-20 as for 0.05."""
    t, step = 0.0, 1.0
    while step > 1e-14 * t:  # the tail is convex, so that Newton's steps never pass the root
        step = (two_sided_p(t, df) - alpha) / (2 * density(t, df))
        t += step
    return t


def density(t: float, df: float) -> float:
    """Of Student's t."""
    log_factor = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    return math.exp(log_factor - (df + 1) / 2 * math.log1p(t * t / df))
