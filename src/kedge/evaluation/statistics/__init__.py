"""Means, differences, rates, levels and tests with honest intervals. Plain numpy.

One rule for all of them: scores are a table of **training seeds × prompts**. Several pictures of one prompt are alike,
so they are averaged (or counted together) first; a list ``[N]`` is one seed, a table ``[S, N]`` several. ``groups``
says which value belongs to which prompt; without it every value is its own prompt. What the standard error is then,
stands in :mod:`kedge.evaluation.statistics.standard_error`; how often each interval holds the truth was simulated, see
docs/evaluation.md.
"""

from kedge.evaluation.statistics.crossed_rate import crossed_rate
from kedge.evaluation.statistics.interval import Floats, Interval, spread_of, unit_means
from kedge.evaluation.statistics.jackknife import jackknifed
from kedge.evaluation.statistics.means import Method, bootstrap, mean_interval, paired_difference, paired_p
from kedge.evaluation.statistics.rates import outcomes_of, rate_interval, wilson, win_rate
from kedge.evaluation.statistics.ratios import ratio_interval
from kedge.evaluation.statistics.reaching import Reached, Speedup, first_reaching, isotonic, speedup
from kedge.evaluation.statistics.significance import Equivalence, equivalence, holm, sign_test

__all__ = [
    "Equivalence",
    "Floats",
    "Interval",
    "Method",
    "Reached",
    "Speedup",
    "bootstrap",
    "crossed_rate",
    "equivalence",
    "first_reaching",
    "holm",
    "isotonic",
    "jackknifed",
    "mean_interval",
    "outcomes_of",
    "paired_difference",
    "paired_p",
    "rate_interval",
    "ratio_interval",
    "sign_test",
    "speedup",
    "spread_of",
    "unit_means",
    "wilson",
    "win_rate",
]
