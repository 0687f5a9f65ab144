"""Which divergence for which reward, at one distance: the trained reward and the truth, from the published records."""

from __future__ import annotations

from docs.marked import filled
from docs.result_pages import RECORDS, RESULTS

from kedge.evaluation.rendering import render
from kedge.evaluation.tables import display
from kedge_papers.records.result import Result
from kedge_papers.records.rows import difference, rows
from kedge_papers.records.store import RecordStore
from kedge_papers.targets.regularisers import REGULARISERS, REWARDS, SHORTER, beside_kl, trained_towards
from kedge_papers.targets.rocm_tables import FINAL

FOLDER = "world-2"


def with_divergences(page: str) -> str:
    """The page on ROCM with the tables as the records have them."""
    folder = f"docs/{RESULTS.name}/{RECORDS}"
    return filled(page, "divergences", FOLDER, tables(), folder=folder)


def tables() -> str:
    """One for each reward: how far each divergence went, and what it has more than KL of the reward and the truth."""
    result = RecordStore(RESULTS / RECORDS / FOLDER).results()["divergences"]
    parts = []
    for reward in REWARDS:
        name, truth = result.facts["rewards"][reward], result.facts["truth"]
        table = beside_kl(trained_towards(result, reward), reward, [name, truth], f"Trained on {display(name).title}")
        parts.append(render(table, "markdown").strip())
    return "\n\n".join([*parts, beside_a_shorter_leash(result)]) + "\n"


def beside_a_shorter_leash(result: Result) -> str:
    """χ² and α beside the KL that is held where χ² came to rest: whether distance alone makes the difference."""
    reward = REWARDS[0]
    name, truth = result.facts["rewards"][reward], result.facts["truth"]
    labels = {arm.name: f"{arm.label}, {reward}" for arm in REGULARISERS}
    measured = rows(trained_towards(result, reward), FINAL)
    nearer = measured[labels["kl-closer"]]
    parts = []
    for arm in REGULARISERS:
        if arm.name in ("chi2-sum", "alpha-sum"):
            numbers = []
            for metric in (name, truth):
                apart = difference(measured[labels[arm.name]], nearer, metric)
                numbers.append(f"{apart.value:+.3f} ± {apart.half_width:.3f}".replace("-", "−"))
            parts.append(f"{arm.label}: {display(name).title} {numbers[0]}, the truth {numbers[1]}")
    return f"Minus the KL that is held at {SHORTER:g} nats: {'; '.join(parts)}."
