"""The page and the figure of time_to_reward, from its record alone."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.reward_race_space import BEFORE, TODAY
from bench.reward_race_trial import Trial
from kedge.evaluation.statistics import Interval, mean_interval
from kedge.evaluation.statistics.interval import Floats
from kedge.evaluation.statistics.reaching import Speedup, speedup
from kedge_papers.pages.exhibit import save_small

NOTE = "<!-- Written from its record by `python -m bench.time_to_reward`: change nothing here. -->"
SHOWN = 12  # candidates in the table
TRUTH = "oracle"
WINNER = "winner"
NAMES = {WINNER: "The winner", TODAY: "The preset as it is", BEFORE: f"The preset {BEFORE}"}
PAIRS = ((WINNER, TODAY), (TODAY, BEFORE))
COLOURS = {WINNER: ("#0b5fa5", "-"), TODAY: ("#d55e00", "--"), BEFORE: ("#8a8a8a", ":")}


def write_page(record: Mapping[str, Any], page: Path) -> None:
    """The page at ``page``, and its figure beside it."""
    trials = {key: Trial.from_dict(data) for key, data in record["trials"].items()}
    arms = confirmed(record, trials)
    text = "\n".join([*head(record), *verdict(record, arms), "", *grid(record, searched(record, trials))])
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text + "\n", encoding="utf-8")
    save_small(figure(record, arms), page.with_suffix(".png"), f"{record['preset']}, {record['model']}")


def confirmed(record: Mapping[str, Any], trials: Mapping[str, Trial]) -> dict[str, list[Trial]]:
    """The trainings of the winner, of today's preset and of the old one, seed by seed."""
    arms: dict[str, list[Trial]] = {WINNER: [], TODAY: [], BEFORE: []}
    for key in record["confirmation"]["trials"]:
        name = trials[key].candidate.name
        arms[name if name in (TODAY, BEFORE) else WINNER].append(trials[key])
    return {arm: seeds for arm, seeds in arms.items() if seeds}


def title(record: Mapping[str, Any], arm: str) -> str:
    """An arm in words."""
    name = NAMES[arm].lower()
    return f"{name}: {record['confirmation']['winner']}" if arm == WINNER else name


def searched(record: Mapping[str, Any], trials: Mapping[str, Trial]) -> list[Trial]:
    """The trainings of the search, longest and highest first."""
    last = set(record["confirmation"]["trials"])
    rest = [trial for key, trial in trials.items() if key not in last and trial.looks]
    return sorted(rest, key=lambda trial: (-trial.looks[-1]["due"], _when(trial, record)))


def _when(trial: Trial, record: Mapping[str, Any]) -> tuple[bool, float]:
    reached = trial.reaching(record["level"], record["longest"])
    return reached.censored, -trial.curve(trial.trained)[-1] if reached.censored else reached.x


def head(record: Mapping[str, Any]) -> list[str]:
    """What was asked, and of what."""
    count = record["candidates"]
    return [
        NOTE,
        "",
        "# Time to reward",
        "",
        f"Which settings of `{record['preset']}` reach +{record['level']:g} σ (of the base model's scores) of the "
        f"trained reward on prompts that were not trained on soonest? {count} settings, successive halving, "
        f"{record['spent'] / 60:.0f} minutes of one core in all ({record['environment']['processor']}, "
        f"torch {record['environment']['packages']['torch']}); time is the processor's, of training alone. "
        f"{record['model']}. All are looked at by pictures of {record['sampled']} sampling steps, the preset's, "
        "whatever K they train with. The winner and the preset, as it is and as it was, were then trained anew and "
        "looked at on test prompts, from which nothing was chosen.",
        "",
        f"    python -m bench.time_to_reward --minutes {record['minutes']:g}",
        "",
        "![The trained reward against time](time-to-reward.png)",
        "",
    ]


def verdict(record: Mapping[str, Any], arms: Mapping[str, Sequence[Trial]]) -> list[str]:
    """The confirmation: all arms, and how many times sooner."""
    level, budget = record["level"], record["longest"]
    columns = ("seconds to it", "queries to it", "not reached", "truth there, σ", "reward at the end, σ", "truth, σ")
    rows = [f"| | {' | '.join(columns)} | judges that fell |", f"|---|{'---:|' * len(columns)}---|"]
    for arm, trials in arms.items():
        cells = []
        for unit in ("seconds", "queries"):
            most = limit(record, arms, unit)
            cells.append(_spread([trial.reaching(level, most, unit).x for trial in trials]))
        missed = sum(trial.reaching(level, budget).censored for trial in trials)
        cells += [f"{missed} of {len(trials)}", _words(mean_interval(truth(trials, record)))]
        cells += [_words(mean_interval(_last(trials, name))) for name in (trials[0].trained, TRUTH)]
        rows.append(f"| {title(record, arm)} | {' | '.join(cells)} | {fallen(trials)} |")
    return [
        *rows,
        "",
        f"Geometric means over {len(arms[TODAY])} seeds (least to most); a seed that did not get there counts as "
        f"{budget:.0f} s, which favours it. The truth is the oracle's change against the base at that look, with its "
        "interval over prompts and seeds. A judge (one that sees damage and shares nothing with the trained reward) "
        "fell if it is below the base beyond chance.",
        "",
        *(f"- {against(record, arms, *pair)}" for pair in PAIRS if set(pair) <= set(arms)),
        "",
        "The winner's settings, beside the preset's: "
        + ", ".join(f"`{key}: {value}`" for key, value in record["confirmation"]["changes"].items()),
    ]


def against(record: Mapping[str, Any], arms: Mapping[str, Sequence[Trial]], ours: str, theirs: str) -> str:
    """How many times sooner one arm is there than another, and what the truth says of both."""
    seconds, queries = (_ratio(ratio_of(record, arms, unit, ours, theirs)) for unit in ("seconds", "queries"))
    difference = mean_interval(truth(arms[ours], record) - truth(arms[theirs], record))
    return (
        f"{NAMES[ours]} beside {NAMES[theirs].lower()}: {seconds} less time, {queries} fewer queries (95 % over "
        f"seeds); the truth there differs by {_words(difference)}."
    )


def ratio_of(
    record: Mapping[str, Any],
    arms: Mapping[str, Sequence[Trial]],
    unit: str,
    ours: str = WINNER,
    theirs: str = TODAY,
) -> Speedup:
    """How many times more the other arm takes."""
    most, level = limit(record, arms, unit), record["level"]
    return speedup(*([trial.reaching(level, most, unit) for trial in arms[arm]] for arm in (ours, theirs)))


def limit(record: Mapping[str, Any], arms: Mapping[str, Sequence[Trial]], unit: str) -> float:
    """What a seed counts as that did not get there: all seconds that there were, or the most queries of any."""
    if unit == "seconds":
        return float(record["longest"])
    most = 0.0
    for trials in arms.values():
        for trial in trials:
            most = max(most, float(trial.looks[-1][unit]))
    return most


def truth(trials: Sequence[Trial], record: Mapping[str, Any]) -> Floats:
    """The oracle's change in σ where the level is reached, ``[seeds, prompts]``."""
    table = []
    for trial in trials:
        reached = trial.reaching(record["level"], record["longest"])
        table.append(trial.look_after(reached.x)["rises"][TRUTH]["rise"])
    return np.asarray(table, dtype=np.float64)


def _last(trials: Sequence[Trial], metric: str) -> Floats:
    return np.asarray([trial.looks[-1]["rises"][metric]["rise"] for trial in trials], dtype=np.float64)


def fallen(trials: Sequence[Trial]) -> str:
    """The judges that had fallen at the end, and in how many trainings."""
    counts = Counter[str]()
    for trial in trials:
        counts.update(fell(trial))
    return ", ".join(f"{name} ({count})" for name, count in counts.items()) or "–"


def fell(trial: Trial) -> list[str]:
    """The judges that had fallen beyond chance at the last look."""
    last = trial.looks[-1]["rises"]
    return [name for name in last if name not in (trial.trained, TRUTH) and last[name]["fell"]]


def grid(record: Mapping[str, Any], trials: Sequence[Trial]) -> list[str]:
    """The candidates that went farthest."""
    lines = [
        "## The search",
        "",
        "| setting | trained, s | seconds to it | rise at the end, σ | judges that fell | truth, σ |",
        "|---|---:|---:|---:|---|---:|",
    ]
    for trial in trials[:SHOWN]:
        last, reached = trial.looks[-1], trial.reaching(record["level"], record["longest"])
        cells = [
            trial.candidate.name,
            f"{last['seconds']:.0f}",
            "–" if reached.censored else f"{reached.x:.0f}",
            f"{trial.curve(trial.trained)[-1]:+.2f}",
            ", ".join(fell(trial)) or "–",
            f"{trial.curve(TRUTH)[-1]:+.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"The {min(SHOWN, len(trials))} that trained longest, of {record['candidates']}; tuning prompts."]
    return lines


def figure(record: Mapping[str, Any], arms: Mapping[str, Sequence[Trial]]) -> Any:
    """The confirmation's curves: trained reward above, truth below."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.8, 5.2), layout="constrained")
    upper, lower = drawing.subplots(2, 1, sharex=True)
    for arm, trials in arms.items():
        colour, dash = COLOURS[arm]
        for number, trial in enumerate(trials):
            x = [0.0, *(look["seconds"] for look in trial.looks)]
            label = None if number else title(record, arm)
            upper.plot(x, [0.0, *trial.curve(trial.trained)], dash, color=colour, label=label)
            lower.plot(x, [0.0, *trial.curve(TRUTH)], dash, color=colour)
    upper.axhline(record["level"], color="#444444", linewidth=0.8)
    lower.axhline(0, color="#444444", linewidth=0.8)
    upper.set_ylabel("trained reward, σ")
    lower.set_ylabel("truth, σ")
    lower.set_xlabel("seconds of training, one core")
    drawing.legend(loc="outside lower center", frameon=False, fontsize=8)
    return drawing


def _spread(values: Sequence[float]) -> str:
    mean = float(np.exp(np.mean(np.log(values))))
    return f"{mean:.0f} ({min(values):.0f} to {max(values):.0f})"


def _words(interval: Interval) -> str:
    return f"{interval.value:+.2f} ({interval.low:+.2f} to {interval.high:+.2f})"


def _ratio(ratio: Speedup) -> str:
    r = ratio.ratio
    return f"{r.value:.1f} × ({r.low:.1f} to {r.high:.1f})"


if __name__ == "__main__":
    write_page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
