"""What came out, for the README: a few sentences and a figure, from the records that decide the claims."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kedge.evaluation.statistics import Interval, Speedup, mean_interval, paired_difference
from kedge.evaluation.tables import display
from kedge_papers.claims.compared import family_row, usable_runs
from kedge_papers.claims.contrasts import peak_over
from kedge_papers.pages.exhibit import COLOURS, canvas, legend, save_small
from kedge_papers.pages.page import source
from kedge_papers.records.peaks import cross_fitted
from kedge_papers.records.result import Result
from kedge_papers.records.rows import paired_scores
from kedge_papers.records.speed import shown_ratio, sooner
from kedge_papers.targets.hacking import draw_drift, strength_colours
from kedge_papers.targets.hacking_tables import drift_peak, unanchored
from kedge_papers.targets.methods import draw_line, level_unit, trained_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kedge_papers.records.run_record import RunRecord

SPEED, DRIFT, SWEEP = "methods", "hacking", "fig4"  # the targets whose records are read
ROCM, RLCM, ANCHORED = "methods-none", "methods-rlcm", "methods-kl"
AT_KLS = "at the rate and batch of KL's preset"  # the sweep's, in every arm
LEVEL = 0.5  # standard deviations of the base model's scores
REWARD = "pickscore"
BETAS = ("0.03", "0.01", "0.003", "0")
FIGURE = "headline.png"
ALT = "PickScore against reward queries for ROCM and RLCM, and the true preference against the drift from the base"


def sentences(results: Mapping[str, Result]) -> list[str]:
    """How much sooner, where the truth peaks, what the anchor buys, at either rate; those whose runs are recorded."""
    everything = []
    if SPEED in results:
        everything.append(_sooner(results[SPEED]))
    if DRIFT in results:
        everything.append(_peak(results[DRIFT]))
    if SWEEP in results:
        everything.append(_anchor(results[SWEEP]))
    if SPEED in results:
        everything.append(_anchor_when_tuned(results[SPEED]))
    return [each for each in everything if each]


def _sooner(result: Result) -> str | None:
    ours, theirs = usable_runs(result, ROCM), usable_runs(result, RLCM)
    unit = level_unit(result) if ours and theirs else None
    if unit is None:
        return None
    curve = f"held_out/{trained_metric(ours)}"
    phrases, speeds = [], []
    for x, what in (("queries", "reward queries"), ("seconds", "training time")):
        speed = sooner(ours, theirs, x, curve, LEVEL * unit)
        shown = shown_ratio(speed) if speed else None
        if speed is None or shown is None:
            return None
        speeds.append(speed)
        if np.isfinite(shown.high):
            phrases.append(f"{shown.value:.2g} times ({shown.low:.2g}–{shown.high:.2g}) the {what}")
        else:  # some of theirs did not get there: a bound
            phrases.append(f"at least {shown.value:.2g} times ({shown.low:.2g} or more) the {what}")
    metric = display(trained_metric(ours)).title
    return (
        f"To raise {metric} on prompts not trained on by half of a standard deviation of the base model's scores, RLCM "
        f"takes {' and '.join(phrases)} that ROCM takes without an anchor (95 % intervals over "
        f"{len(speeds[0].log_ratios)} seeds, both tuned by one protocol{_late(speeds[0])})."
    )


def _late(speed: Speedup) -> str:
    """Who did not get there: such a seed counts with its whole budget."""
    seeds, phrases = len(speed.log_ratios), []
    for name, censored in (("ROCM", speed.ours_censored), ("RLCM", speed.theirs_censored)):
        if censored:
            phrases.append(f"{name} got there in {seeds - censored} of {seeds}")
    return f"; {', '.join(phrases)}" if phrases else ""


def _peak(result: Result) -> str | None:
    runs, truth = _of_reward(result), f"held_out/{result.facts['truth']}"
    alone = unanchored(runs)
    fitted = drift_peak(alone, truth) if alone else None
    after = cross_fitted(alone, f"held_out/{trained_metric(alone)}", truth) if alone else None
    if fitted is None or after is None:
        return None
    metric = display(trained_metric(alone)).title
    if fitted.distance > fitted.farthest:
        return (
            f"Without an anchor, {AT_KLS}, the true preference has no peak up to √KL = {fitted.farthest:.2g} from the "
            f"base, KL in nats ({len(alone)} seeds)."
        )
    truth_change, reward_change = (_signed(mean_interval(each)) for each in (after.truth_after, after.reward_after))
    peak = f"peaks at √KL = {fitted.distance:.1f} from the base, KL in nats ({fitted.low:.1f}–{fitted.high:.1f}"
    if not fitted.seen:
        peak = f"is highest at the first look or before it, √KL about {fitted.nearest:.0f} from the base (KL in nats"
    return (
        f"Without an anchor, {AT_KLS}, the true preference {peak}, {len(alone)} seeds); from the look where it is "
        f"highest to the end it changes by {truth_change} while {metric} changes by {reward_change}."
    )


def _signed(change: Interval) -> str:
    """A change and half of its 95 % interval."""
    return f"{change.value:+.2g} ± {change.half_width:.2g}".replace("-", "−")


def _anchor(result: Result) -> str | None:
    arms = [f"beta-{beta}--{REWARD}" for beta in BETAS]
    measured = peak_over(result, {"arms": arms, "against": arms[-1]})
    if measured is None:
        return None
    change, _, best = measured.text.partition(", best: ")
    betas = best.replace("beta-", "β = ").replace(", ", " or ")
    return (
        f"At that rate the anchor that is best by the other seeds ({betas}, in standard deviations of the reward) "
        f"changes the true preference at the end of training by {change} against none (95 % interval over "
        f"{measured.effect.units} seeds)."
    )


def _anchor_when_tuned(result: Result) -> str | None:
    """The truth with KL less that without an anchor at its own tuned rate, after equally many queries."""
    ours, theirs, truth = family_row(result, ANCHORED), family_row(result, ROCM), result.facts["truth"]
    if ours is None or theirs is None or not truth or not (ours.has(truth) and theirs.has(truth)):
        return None
    apart = paired_difference(*paired_scores(ours, theirs, truth), ours.prompts)
    run = usable_runs(result, ROCM)[0]
    return (
        f"After {run.queries * run.step:,.0f} queries at the rate and batch that tuning chose for ROCM without an "
        f"anchor, the true preference with KL less that without is {_signed(apart)}."
    )


def _of_reward(result: Result) -> list[RunRecord]:
    runs = []
    for run in result.runs:
        if run.trained and run.usable and f"--{REWARD}" in run.name:
            runs.append(run)
    return runs


def figure(results: Mapping[str, Result]) -> Figure | None:
    """The trained reward against queries, and the truth against the drift; None until both are recorded."""
    if SPEED not in results or DRIFT not in results:
        return None
    speed, drifting = results[SPEED], _of_reward(results[DRIFT])
    unit, ours = level_unit(speed), usable_runs(speed, ROCM)
    if unit is None or not ours or not drifting:
        return None
    metric = trained_metric(speed.runs)
    drawing, (left, right) = canvas(2, size=(4.8, 3.3))
    strengths = strength_colours(drifting)
    for family, label, colour in (
        (ROCM, "ROCM, no anchor, tuned", strengths.get("0", COLOURS[3])),
        (ANCHORED, "ROCM with KL, β = 0.01", strengths.get("0.01", COLOURS[1])),
        (RLCM, "RLCM, tuned", "black"),
    ):
        same = usable_runs(speed, family)
        if same:
            draw_line(left, same, "queries", f"held_out/{metric}", colour, label)
    start = ours[0].series("queries", f"held_out/{metric}")[1][0]
    left.axhline(start + LEVEL * unit, color="black", linewidth=0.8, linestyle=":", label=f"+{LEVEL:g} sd")
    left.set(xlabel="reward queries", ylabel=f"{display(metric).title}, test prompts")
    draw_drift(right, drifting, results[DRIFT].facts["truth"], strengths)
    right.set_title(f"trained on {display(metric).title}, at KL's preset rate", fontsize=9)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, frameon=False)  # curves fill the panel
    legend(right)
    return drawing


def save_figure(results: Mapping[str, Result], folder: Path) -> None:
    """Draw it, or take away one that nothing is recorded of."""
    drawn, path = figure(results), folder / FIGURE
    if drawn is None:
        path.unlink(missing_ok=True)
    else:
        save_small(drawn, path, drawn_from(results))


def drawn_from(results: Mapping[str, Result]) -> str:
    """Both records, as the figure names them."""
    return f"{source(results[SPEED])} {source(results[DRIFT])}"
