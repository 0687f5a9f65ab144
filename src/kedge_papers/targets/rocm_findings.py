"""What ROCM's tables, figures and study say about its claims."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import sign_test
from kedge.evaluation.tables import display
from kedge_papers.pages.findings import (
    FAILS,
    HOLDS,
    OPEN,
    Finding,
    Results,
    row_difference,
    rows_of,
    told,
    truth_of,
    verdict,
)
from kedge_papers.records.result import Result
from kedge_papers.records.tables import difference, widest
from kedge_papers.targets.hacking import TRAINED, TRUE
from kedge_papers.targets.rocm_figures import SWEPT, sweep
from kedge_papers.targets.rocm_tables import FINAL, PARTS


def _tables(results: Results) -> dict[str, Result]:
    """Part → a result that has its rows."""
    found = {}
    for part, (reward, _) in PARTS.items():
        for name in (f"table1{part}", "table1"):
            result = results.get(name)
            if result and any(f"--{reward}--" in run.name and run.evaluations for run in result.runs):
                found[part] = result
                break
    return found


def _part(result: Result, part: str) -> tuple[dict[str, list[Evaluation]], list[str], Evaluation | None]:
    """Method → scores with each seed, the metrics not trained on (without the truth), and the model before."""
    reward = PARTS[part][0]
    base = next(
        (run.evaluations[FINAL] for run in result.runs if run.name == "base-consistency" and run.evaluations), None
    )
    found: dict[str, list[Evaluation]] = {}
    for run in result.runs:
        if f"--{reward}--" in run.name and FINAL in run.evaluations:
            found.setdefault(run.name.split("--")[0], []).append(run.evaluations[FINAL])
    ours = [result.facts["rewards"][name] for name in PARTS[part][1]]
    return found, [m for m in ours if all(m in each[0].scores for each in found.values())], base


REGULARISED = ("js", "kl", "hellinger", "fisher")


def regularised_generalises(results: Results) -> Finding | None:
    """Unseen metrics in standard deviations of the model before, averaged; regularised minus not."""
    texts, verdicts = [], []
    for part, result in _tables(results).items():
        rows, metrics, base = _part(result, part)
        ours = [rows[name] for name in REGULARISED if name in rows]
        if not ours or "none" not in rows or base is None or not metrics:
            continue
        spread = {metric: base.scores[metric].std() for metric in metrics}

        def height(row: Evaluation, spread: Mapping[str, float] = spread) -> np.ndarray:
            mean: np.ndarray = np.mean([row.scores[metric] / each for metric, each in spread.items()], axis=0)
            return mean

        seeds = zip(*ours, rows["none"], strict=False)
        values = [np.mean([height(row) for row in each[:-1]], axis=0) - height(each[-1]) for each in seeds]
        apart = widest(values, base.prompts)
        trained = display(result.facts["rewards"][PARTS[part][0]]).title
        texts.append(f"trained on {trained}: {told(apart, 2)} standard deviations")
        verdicts.append(verdict(apart))
    if not verdicts:
        return None
    return Finding("; ".join(texts), verdicts[0] if len(set(verdicts)) == 1 else OPEN)


def no_divergence_wins(results: Results) -> Finding | None:
    """Which divergence is highest in each column, and where it is so beyond chance."""
    tops, clear = [], []
    for part, result in _tables(results).items():
        rows, metrics, _ = _part(result, part)
        ours = {name: rows[name] for name in REGULARISED if name in rows}
        for metric in metrics if len(ours) == len(REGULARISED) else ():
            means = {name: np.mean([each.scores[metric].mean() for each in row]) for name, row in ours.items()}
            top = max(means.items(), key=lambda item: item[1])[0]
            tops.append(top)
            if all(difference(ours[top], row, metric).low > 0 for name, row in ours.items() if name != top):
                clear.append(top)
    if not tops:
        return None
    counts = ", ".join(f"{name} {tops.count(name)}" for name in REGULARISED)
    text = f"highest mean of the unseen metrics, of {len(tops)} columns: {counts}; beyond chance in {len(clear)}"
    return Finding(text, OPEN if not clear else HOLDS if len(set(clear)) > 1 else FAILS)


def preference_peaks(results: Results) -> Finding | None:
    """The truth over β: its peak against the smallest β, pair by pair."""
    result = results.get("fig4")
    truth = truth_of(result) if result else ""
    points = [(beta, rates) for beta, rates in (sweep(result) if result else []) if truth in rates]
    if result is None or len(points) < 3:
        return None
    rows, trained = rows_of(result), result.facts["rewards"][SWEPT]
    best, last = (
        max((f"{beta:g}" for beta, _ in points), key=lambda b: rows[b].scores[truth].mean()),
        f"{points[-1][0]:g}",
    )
    mean = {beta: float(rows[beta].scores[truth].mean()) for beta in (best, last)}
    share = {f"{beta:g}": 100 * rates[truth].value for beta, rates in points}
    fall = row_difference(result, best, last, truth)
    text = (
        f"the oracle is highest at β = {best}, {mean[best]:.3f} ({share[best]:.0f} % preferred to the base model), "
        f"and {mean[last]:.3f} ({share[last]:.0f} %) at β = {last}, a difference of {told(fall, 2)}; "
        f"{display(trained).title} rose from {rows[best].scores[trained].mean():.2f} to "
        f"{rows[last].scores[trained].mean():.2f}"
    )
    return Finding(text, OPEN if best == last else verdict(fall))


def overoptimised(results: Results) -> Finding | None:
    """Along runs without regularisation: does the truth fall again and again after its peak, as the reward rises?"""
    result = results.get("hacking")
    runs = [run for run in result.runs if "algorithm.beta=0.0" in run.arguments] if result else []
    if not runs:
        return None
    texts, falls, rises = [], 0, 0
    for run in runs:
        (steps, trained), (_, true) = run.series("step", TRAINED), run.series("step", TRUE)
        peak = int(np.argmax(true))
        changes = np.diff(true[peak:])
        falls, rises = falls + int((changes < 0).sum()), rises + int((changes > 0).sum())
        texts.append(
            f"the oracle rose from {true[0]:.3f} to {true[peak]:.3f} at step {steps[peak]:.0f} and fell to "
            f"{true[-1]:.3f} at step {steps[-1]:.0f}, while PickScore rose from {trained[0]:.2f} over "
            f"{trained[peak]:.2f} to {trained[-1]:.2f}"
        )
    p = sign_test(falls, rises) if falls + rises else 1.0
    text = f"{'; '.join(texts)} (after the peak {falls} falls, {rises} rises: p = {p:.2g})"
    return Finding(text, OPEN if p > 0.05 else HOLDS if falls > rises else FAILS)


def preferred_to_rlcm(results: Results) -> Finding | None:
    """Figure 3's first question, for each trained reward: does our win rate lie above one half?"""
    result = results.get("fig3")
    texts, verdicts = [], []
    for reward, study in result.extra["contests"].items() if result else ():
        rate = study["contests"][0]["crossed"]
        low, high = rate["low"], rate["high"]
        title = display(result.facts["rewards"][reward]).title if result else reward
        texts.append(f"{100 * rate['value']:.0f} % ({100 * low:.0f}–{100 * high:.0f}) trained on {title}")
        verdicts.append(HOLDS if low > 0.5 else FAILS if high < 0.5 else OPEN)
    if not verdicts:
        return None
    text = f"simulated raters' general preference, win rate of ours: {', '.join(texts)}"
    return Finding(text, verdicts[0] if len(set(verdicts)) == 1 else OPEN)
