"""What claims are decided by: each kind of contrast, from the records of an experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kedge.evaluation.statistics import Interval, equivalence, mean_interval, paired_difference, paired_p
from kedge.evaluation.statistics.standard_error import over
from kedge.evaluation.tables import Cell
from kedge_papers.claims.claim import Contrast
from kedge_papers.claims.compared import (
    base_row,
    family_row,
    metrics_named,
    named_before,
    shared_seeds,
    usable_runs,
)
from kedge_papers.claims.measured import Measured, beyond, known, over_seeds, p_of
from kedge_papers.records.gradient_noise import FEWEST, GradientNoise
from kedge_papers.records.peaks import cross_fitted, others_peak
from kedge_papers.records.result import Result
from kedge_papers.records.rows import Row, paired_scores, several_seeds, standardised
from kedge_papers.records.speed import shown_ratio, sooner
from kedge_papers.runner.experiment_set import SEEDS_APART
from kedge_papers.targets.estimators import arm_ratio
from kedge_papers.targets.methods import level_unit, trained_metric
from kedge_papers.targets.rocm_study import preferences
from kedge_papers.targets.tuning_grid import spread

Options = Mapping[str, Any]
Kind = Callable[[Result, Options], Measured | None]


def measure(contrast: Contrast, result: Result, seeds: int | None = None) -> Measured | None:
    """A contrast from records, with the first ``seeds`` training seeds alone or all; None if something is missing."""
    return KINDS[contrast.kind](result if seeds is None else first_seeds(result, seeds), contrast.options)


def first_seeds(result: Result, seeds: int) -> Result:
    """The result without the repetitions after the first so many."""
    runs = tuple(run for run in result.runs if not run.trained or run.seed % SEEDS_APART < seeds)
    if "votes" not in result.extra:
        return replace(result, runs=runs)
    votes = {}
    for reward, columns in result.extra["votes"].items():
        early = np.array(columns["seed"]) % SEEDS_APART < seeds
        votes[reward] = {name: np.array(column)[early].tolist() for name, column in columns.items()}
    return replace(result, runs=runs, extra={**result.extra, "votes": votes})


def seeds_in(contrast: Contrast, result: Result) -> int:
    """How many training seeds every run that a contrast speaks of has, counted from the first without a gap."""
    counts = []
    for family in _families(contrast.options):
        seeds = set()
        for run in result.runs:
            if run.family == family and run.usable:
                seeds.add(run.seed % SEEDS_APART)
        count = 0
        while count in seeds:
            count += 1
        counts.append(count)
    for votes in result.extra.get("votes", {}).values():
        counts.append(len(set(votes["seed"])))
    return min(counts, default=0)


def _families(options: Options) -> list[str]:
    families = list(options.get("arms", ()))
    for key in ("ours", "theirs", "runs"):
        if isinstance(options.get(key), str):
            families.append(options[key])
    return families


def speedup(result: Result, options: Options) -> Measured | None:
    """ln(theirs / ours) of the queries or the time to a level, over seeds.

    Options: ``ours``, ``theirs``: families of runs; ``x``: queries or seconds; ``level``: standard deviations.
    """
    ours, theirs = usable_runs(result, options["ours"]), usable_runs(result, options["theirs"])
    unit = level_unit(result) if ours and theirs else None
    if unit is None:
        return None
    curve, rise = f"held_out/{trained_metric(ours)}", options["level"] * unit
    measured = sooner(ours, theirs, options["x"], curve, rise)
    if measured is None:
        return None
    p = over(np.array(measured.log_ratios)).p()
    ratio = shown_ratio(measured)
    if ratio:
        text = " ".join(Cell(ratio, style="times").texts()).strip()
    else:  # bounds alone: what is left is who was sooner
        signs = np.sign(measured.log_ratios)
        text = f"no ratio (sooner in {(signs > 0).sum()} of {len(signs)} seeds, later in {(signs < 0).sum()})"
    censored = measured.ours_censored + measured.theirs_censored
    late = f", {censored} of {2 * len(measured.log_ratios)} runs not there within the budget" if censored else ""
    return Measured(measured.log_ratio, known(p), measured.log_ratios, "seeds", text + late)


def difference(result: Result, options: Options) -> Measured | None:
    """Ours − theirs on the test prompts, in the base model's standard deviations, over prompts and seeds, of which
    one decides nothing.

    Options: ``ours``, ``theirs``: families of runs; ``metrics``: names of rewards, ``truth``, or ``unseen``, the mean
    of what was not trained on; ``margin``: what is as good as equal.
    """
    runs = usable_runs(result, options["ours"])
    ours, theirs, base = (
        family_row(result, options["ours"]),
        family_row(result, options["theirs"]),
        base_row(result, runs),
    )
    if ours is None or theirs is None or base is None or not several_seeds(ours, theirs):
        return None
    metrics = set(metrics_named(result, options["metrics"], trained_metric(runs)))
    if not metrics <= set(ours.metrics()) & set(theirs.metrics()) & set(base.metrics()):
        return None
    chosen = sorted(metrics)
    ours, theirs = standardised(ours, base, chosen), standardised(theirs, base, chosen)
    return _paired(ours, theirs, "mean", options.get("margin"), "seeds")


def _paired(ours: Row, theirs: Row, metric: str, margin: float | None, unit: str) -> Measured:
    scores, others = paired_scores(ours, theirs, metric)
    effect = paired_difference(scores, others, ours.prompts)
    p = paired_p(scores, others, ours.prompts)
    apart = np.atleast_2d(scores - others)
    units = tuple(apart.mean(1).tolist()) if unit == "seeds" else tuple(apart.mean(0).tolist())
    p_equal = equivalence(scores, others, margin, ours.prompts).p if margin else 1.0
    text = f"{effect.value:+.2f} ± {effect.half_width:.2f} sd".replace("-", "−")
    return Measured(effect, known(p), units, unit, text, known(p_equal))


def bases(result: Result, options: Options) -> Measured | None:
    """The diffusion model − its consistency model before training, in standard deviations, over prompts.

    Options: ``metric``: the name of a reward, or ``truth``; ``beyond``: what the difference has to exceed.
    """
    ours, theirs = named_before(result, "base-diffusion"), named_before(result, "base-consistency")
    metric = metrics_named(result, [options["metric"]], "")[0]
    if ours is None or theirs is None or not (ours.has(metric) and theirs.has(metric)):
        return None
    measured = _paired(
        standardised(ours, theirs, [metric]), standardised(theirs, theirs, [metric]), "mean", None, "prompts"
    )
    return beyond(measured, options["beyond"]) if "beyond" in options else measured


def preference(result: Result, options: Options) -> Measured | None:
    """Raters' win rate of ours − ½, over seeds, prompts and raters. Options: ``reward``, ``question``."""
    for each in preferences(result):
        if (each.reward, each.question) == (options["reward"], options["question"]) and each.seeds > 1:
            rate = each.rate
            effect = Interval(rate.value - 0.5, rate.low - 0.5, rate.high - 0.5, rate.units)
            text = f"{100 * rate.value:.0f} % ({100 * rate.low:.0f}–{100 * rate.high:.0f})"
            return Measured(effect, p_of(effect), _by_seed(result, options), "seeds", text)
    return None


def _by_seed(result: Result, options: Options) -> tuple[float, ...]:
    votes = result.extra["votes"][options["reward"]]
    outcomes: dict[int, list[float]] = {}
    for question, seed, outcome in zip(votes["question"], votes["seed"], votes["outcome"], strict=True):
        if question == options["question"]:
            outcomes.setdefault(seed, []).append(outcome - 0.5)
    return tuple(float(np.mean(values)) for values in outcomes.values())


def after_peak(result: Result, options: Options) -> Measured | None:
    """What happens from the truth's peak, chosen on the other seeds, to the end of the runs.

    Options: ``runs``: their family; ``of``: ``truth`` (how far it falls) or ``reward`` (how far the trained one rises).
    """
    runs = usable_runs(result, options["runs"])
    if len(runs) < 2:
        return None
    peak = cross_fitted(runs, f"held_out/{trained_metric(runs)}", f"held_out/{result.facts['truth']}")
    if peak is None or len(peak.steps) < 2:
        return None
    values = -np.array(peak.truth_after) if options["of"] == "truth" else np.array(peak.reward_after)
    return over_seeds(values.tolist(), f"from step {np.mean(peak.steps):.0f} on average")


def peak_over(result: Result, options: Options) -> Measured | None:
    """The truth of the best arm, chosen on the other seeds, minus that of one arm.

    Options: ``arms``: families of runs; ``against``: one of them.
    """
    truth, families, rows = result.facts["truth"], list(options["arms"]), []
    for family in families:
        row = family_row(result, family)
        if row is None or not row.has(truth):
            return None
        rows.append(row)
    seeds = shared_seeds(rows)
    if len(seeds) < 2:
        return None
    means = np.stack([row.scores(truth, seeds).mean(1) for row in rows], axis=1)
    best = [others_peak(means, i) for i in range(len(seeds))]
    against = families.index(options["against"])
    values = (means[np.arange(len(seeds)), best] - means[:, against]).tolist()
    chosen = ", ".join(dict.fromkeys(families[i].split("--")[0] for i in best))
    return over_seeds(values, f"best: {chosen}")


def variance(result: Result, options: Options) -> Measured | None:
    """ln(tr Var theirs / tr Var ours) of two gradient estimators, over batches. Options: ``setting, ours, theirs``."""
    settings = result.extra.get("settings", {})
    arms = settings.get(options["setting"], {})
    if not {options["arm"], options["other"]} <= set(arms):
        return None
    ratio = arm_ratio(settings, options["setting"], options["arm"], options["other"])
    text = f"{np.exp(ratio.value):.3g} × ({np.exp(ratio.low):.3g}–{np.exp(ratio.high):.3g})"
    return Measured(ratio, p_of(ratio), (), "batches", text)


def steadier(result: Result, options: Options) -> Measured | None:
    """The cosine between independent batches' gradients, one estimator's minus another's on the same prompts and noise,
    over batches. Options: ``setting, arm, other``."""
    arms = result.extra.get("settings", {}).get(options["setting"], {})
    if not {options["arm"], options["other"]} <= set(arms):
        return None
    first, second = (GradientNoise.from_dict(arms[options[key]]["plain"]) for key in ("arm", "other"))
    if min(len(first.cosine), len(second.cosine)) < FEWEST:
        return None
    values = first.pseudo_values() - second.pseudo_values()
    text = f"{first.agreement().value:.3f} and {second.agreement().value:.3f}"
    return Measured(mean_interval(values), known(over(values).p()), tuple(values.tolist()), "batches", text)


def insensitive(result: Result, options: Options) -> Measured | None:
    """How much closer to its best a method's configurations are, on average over one grid. Options: ``reward, arm,
    other``: methods."""
    ours = spread(result, options["reward"], options["arm"])
    theirs = spread(result, options["reward"], options["other"])
    if len(ours) < 2 or set(ours) != set(theirs):
        return None
    values = [share - theirs[configuration] for configuration, share in ours.items()]
    text = f"{np.mean([*ours.values()]):.2f} and {np.mean([*theirs.values()]):.2f} of the best rise on average"
    effect = mean_interval(values)
    return Measured(effect, known(over(np.array(values)).p()), tuple(values), "configurations", text)


KINDS: dict[str, Kind] = {
    "speedup": speedup,
    "difference": difference,
    "bases": bases,
    "preference": preference,
    "after peak": after_peak,
    "peak over": peak_over,
    "variance": variance,
    "steadier": steadier,
    "insensitive": insensitive,
}
