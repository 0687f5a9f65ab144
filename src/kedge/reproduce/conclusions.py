"""The papers' claims, judged by what was recorded here.

A claim holds if the 95 % interval of the difference that it speaks of lies above zero, does not hold if it lies below,
and cannot be told here if it includes zero. Where there is no such difference, the sentence names its test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval, mean_interval, paired_difference, sign_test
from kedge.evaluation.tables import display
from kedge.reproduce.ablations import EXACT, RIGHT, SAMPLED, WRONG
from kedge.reproduce.curves import sooner
from kedge.reproduce.hacking import TRAINED, TRUE
from kedge.reproduce.records import Result, merged
from kedge.reproduce.rocm_figures import SWEPT, sweep
from kedge.reproduce.rocm_tables import FINAL, PARTS
from kedge.reproduce.rows import grouped

HOLDS, FAILS, OPEN, MISSING = "holds", "does not hold", "cannot tell here", "not measured yet"
Results = Mapping[str, Result]


@dataclass(frozen=True)
class Finding:
    """What was measured, in a sentence, and what follows."""

    measured: str
    verdict: str


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        source: of the claim.
        command: what measures it.
        judge: from the results at hand; None if they are not.
    """

    source: str
    text: str
    command: str
    judge: Callable[[Results], Finding | None]

    def finding(self, results: Results) -> Finding:
        """The judgement."""
        return self.judge(results) or Finding("–", MISSING)


def verdict(difference: Interval) -> str:
    """By the interval of a difference that the claim says is positive."""
    return HOLDS if difference.low > 0 else FAILS if difference.high < 0 else OPEN


def _told(difference: Interval, digits: int = 3) -> str:
    return f"{difference.value:+.{digits}g} ± {difference.half_width:.{2}g}".replace("-", "−")


def _rows(result: Result, role: str = FINAL) -> dict[str, Evaluation]:
    """Title → scores, averaged over seeds."""
    found: dict[str, Evaluation] = {}
    for title, same in grouped(result.runs).items():
        measured = [run.evaluations[role] for run in same if role in run.evaluations]
        if measured:
            found[title] = merged(measured, title)
    return found


def _difference(result: Result, ours: str, theirs: str, metric: str) -> Interval:
    """Of two rows, over prompts; with several seeds over seeds, if they lie further apart."""
    groups, rows = grouped(result.runs), _rows(result)
    over_prompts = paired_difference(rows[ours].scores[metric], rows[theirs].scores[metric], rows[ours].prompts)
    pairs = zip(groups[ours], groups[theirs], strict=False)
    means = [[run.evaluations[FINAL].scores[metric].mean() for run in pair if run.evaluations] for pair in pairs]
    apart = [mine - other for mine, other in (pair for pair in means if len(pair) == 2)]
    if len(apart) < 2:
        return over_prompts
    over_seeds = mean_interval(np.array(apart))
    return max(over_prompts, over_seeds, key=lambda interval: interval.half_width)


def _against(ours: str, theirs: str) -> Callable[[Results], Finding | None]:
    """Two methods of ``methods``: the paired difference of the trained reward, and how much sooner."""

    def judge(results: Results) -> Finding | None:
        result = results.get("methods")
        rows = _rows(result) if result else {}
        if result is None or ours not in rows or theirs not in rows:
            return None
        metric = next(iter(rows[ours].scores))
        difference = _difference(result, ours, theirs, metric)
        groups, text = grouped(result.runs), f"after equal reward queries, {ours} − {theirs}: {_told(difference)}"
        curve = f"held_out/{metric}"
        queries, time = (sooner(groups[ours], groups[theirs], x, curve) for x in ("queries", "seconds"))
        text += (
            f"; to rise by {queries.rise:.2g}, {theirs} took {queries.times:.2g} times the queries and "
            f"{time.times:.2g} times the time"
            if queries and time
            else "; one of them did not rise"
        )
        return Finding(f"{text} ({display(metric).title}, held-out prompts)", verdict(difference))

    return judge


def _consistency_is_faster(results: Results) -> Finding | None:
    """RLCM against DDPO by time."""
    result = results.get("methods")
    groups = grouped(result.runs) if result else {}
    if result is None or not {"RLCM", "DDPO"} <= set(groups):
        return None
    metric = f"held_out/{result.facts['rewards']['aesthetic']}"
    found = sooner(groups["RLCM"], groups["DDPO"], "seconds", metric)
    spent = {name: groups[name][0] for name in ("RLCM", "DDPO")}
    per_query = {name: run.seconds / max(1.0, run.series("step", "queries")[1][-1]) for name, run in spent.items()}
    text = f"a reward query took DDPO {per_query['DDPO'] / per_query['RLCM']:.2g} times as long as RLCM"
    if found is None:
        return Finding(f"{text}; one of them did not rise", OPEN)
    text += f"; to rise by {found.rise:.2g}, DDPO took {found.times:.2g} times as long"
    times = round(found.times, 2)
    return Finding(text, OPEN if times == 1 else HOLDS if times > 1 else FAILS)


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


def _part(result: Result, part: str) -> tuple[dict[str, Evaluation], list[str], Evaluation | None]:
    """Method → scores, the metrics not trained on (without the truth), and the model before."""
    reward = PARTS[part][0]
    base = next(
        (run.evaluations[FINAL] for run in result.runs if run.name == "base-consistency" and run.evaluations), None
    )
    found: dict[str, list[Evaluation]] = {}
    for run in result.runs:
        if f"--{reward}--" in run.name and FINAL in run.evaluations:
            found.setdefault(run.name.split("--")[0], []).append(run.evaluations[FINAL])
    rows = {name: merged(each, name) for name, each in found.items()}
    ours = [result.facts["rewards"][name] for name in PARTS[part][1]]
    return rows, [m for m in ours if all(m in row.scores for row in rows.values())], base


REGULARISED = ("js", "kl", "hellinger", "fisher")


def _regularised_generalises(results: Results) -> Finding | None:
    """Unseen metrics in standard deviations of the model before, averaged; regularised minus not."""
    texts, verdicts = [], []
    for part, result in _tables(results).items():
        rows, metrics, base = _part(result, part)
        ours = [rows[name] for name in REGULARISED if name in rows]
        if not ours or "none" not in rows or base is None or not metrics:
            continue
        spread = {metric: base.scores[metric].std() for metric in metrics}

        def height(row: Evaluation, spread: Mapping[str, float] = spread) -> np.ndarray:
            return np.mean([row.scores[metric] / each for metric, each in spread.items()], axis=0)

        values = np.mean([height(row) for row in ours], axis=0) - height(rows["none"])
        difference = mean_interval(values, rows["none"].prompts)
        trained = display(result.facts["rewards"][PARTS[part][0]]).title
        texts.append(f"trained on {trained}: {_told(difference, 2)} standard deviations")
        verdicts.append(verdict(difference))
    if not verdicts:
        return None
    return Finding("; ".join(texts), verdicts[0] if len(set(verdicts)) == 1 else OPEN)


def _no_divergence_wins(results: Results) -> Finding | None:
    """Which divergence is highest in each column, and where it is so beyond chance."""
    tops, clear = [], []
    for part, result in _tables(results).items():
        rows, metrics, _ = _part(result, part)
        ours = {name: rows[name] for name in REGULARISED if name in rows}
        for metric in metrics if len(ours) == len(REGULARISED) else ():
            means = {name: float(row.scores[metric].mean()) for name, row in ours.items()}
            top = max(means.items(), key=lambda item: item[1])[0]
            best, others = ours[top], [row for name, row in ours.items() if name != top]
            tops.append(top)
            if all(paired_difference(best.scores[metric], o.scores[metric], best.prompts).low > 0 for o in others):
                clear.append(top)
    if not tops:
        return None
    counts = ", ".join(f"{name} {tops.count(name)}" for name in REGULARISED)
    text = f"highest mean of the unseen metrics, of {len(tops)} columns: {counts}; beyond chance in {len(clear)}"
    return Finding(text, OPEN if not clear else HOLDS if len(set(clear)) > 1 else FAILS)


def _preference_peaks(results: Results) -> Finding | None:
    """The truth over β: its peak against the smallest β, pair by pair."""
    result = results.get("fig4")
    truth = _truth(result) if result else ""
    points = [(beta, rates) for beta, rates in (sweep(result) if result else []) if truth in rates]
    if result is None or len(points) < 3:
        return None
    rows, trained = _rows(result), result.facts["rewards"][SWEPT]
    best, last = (
        max((f"{beta:g}" for beta, _ in points), key=lambda b: rows[b].scores[truth].mean()),
        f"{points[-1][0]:g}",
    )
    mean = {beta: float(rows[beta].scores[truth].mean()) for beta in (best, last)}
    share = {f"{beta:g}": 100 * rates[truth].value for beta, rates in points}
    fall = paired_difference(rows[best].scores[truth], rows[last].scores[truth], rows[best].prompts)
    text = (
        f"the oracle is highest at β = {best}, {mean[best]:.3f} ({share[best]:.0f} % preferred to the base model), "
        f"and {mean[last]:.3f} ({share[last]:.0f} %) at β = {last}, a difference of {_told(fall, 2)}; "
        f"{display(trained).title} rose from {rows[best].scores[trained].mean():.2f} to "
        f"{rows[last].scores[trained].mean():.2f}"
    )
    return Finding(text, OPEN if best == last else verdict(fall))


def _overoptimised(results: Results) -> Finding | None:
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


def _pair(name: str, ours: str, theirs: str, metric: Callable[[Result], str]) -> Callable[[Results], Finding | None]:
    """Two rows of an ablation: the paired difference."""

    def judge(results: Results) -> Finding | None:
        result = results.get(name)
        rows = _rows(result) if result else {}
        if result is None or ours not in rows or theirs not in rows:
            return None
        what = metric(result)
        difference = _difference(result, ours, theirs, what)
        return Finding(f"{display(what).title}, {ours} − {theirs}: {_told(difference)}", verdict(difference))

    return judge


FIRST_ORDER = "First-order gradients beat policy gradients in time and queries"
GENERALISES = "Regularised ROCM beats unregularised on metrics it was not trained on"
HACKED = "Without regularisation the reward goes on rising while the true preference declines"
PEAKS = "As β falls, the true preference peaks and then declines"
SEVENTEEN = "Consistency models train faster than diffusion models (17 times, aesthetic)"
BEFORE = "Before training, the diffusion model beats its consistency model"
QUERIES = "RLCM beats DDPO for equal reward queries"
LAST = "Scoring the last step, as RLCM's published code does, costs reward"
JS = "Exact JS serves the true preference better than sampled JS"


def _aesthetic(result: Result) -> str:
    return str(result.facts["rewards"]["aesthetic"])


def _truth(result: Result) -> str:
    return str(result.facts["truth"])


CLAIMS = (
    Claim("ROCM, 4.1", FIRST_ORDER, "methods", _against("ROCM", "RLCM")),
    Claim("ROCM, 4.1", GENERALISES, "table1", _regularised_generalises),
    Claim("ROCM, 4.2", HACKED, "hacking", _overoptimised),
    Claim("ROCM, 4.2", PEAKS, "fig4", _preference_peaks),
    Claim("ROCM, Table 4", BEFORE, "table4", _pair("table4", "Diffusion", "LCM", _truth)),
    Claim("ROCM, Table 1", "No single divergence wins everywhere", "table1", _no_divergence_wins),
    Claim("RLCM, 5.2", SEVENTEEN, "methods", _consistency_is_faster),
    Claim("RLCM, 5.1", QUERIES, "methods", _against("RLCM", "DDPO")),
    Claim("ours", LAST, "last-step", _pair("last-step", RIGHT, WRONG, _aesthetic)),
    Claim("ours", JS, "js", _pair("js", EXACT, SAMPLED, _truth)),
)
