"""Which divergence for which reward, at one distance: the trained reward and the truth, from the published records."""

from __future__ import annotations

from docs.marked import filled
from docs.result_pages import RECORDS, RESULTS

from kedge.evaluation.rendering import render
from kedge.evaluation.tables import display
from kedge_papers.records.result import Result
from kedge_papers.records.rows import difference, rows
from kedge_papers.records.store import RecordStore
from kedge_papers.targets.regularisers import REGULARISERS, REWARDS, SHORTER, beside_kl
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
        same = [run for run in result.trained if run.family.endswith(f"-{reward}")]
        name, truth = result.facts["rewards"][reward], result.facts["truth"]
        table = beside_kl(same, reward, [name, truth], f"Trained on {display(name).title}")
        parts.append(render(table, "markdown").strip())
    return "\n\n".join([*parts, beside_a_shorter_leash(result)]) + "\n"


def beside_a_shorter_leash(result: Result) -> str:
    """χ² and α beside the KL that is held where χ² came to rest: whether distance alone makes the difference."""
    reward = REWARDS[0]
    name, truth = result.facts["rewards"][reward], result.facts["truth"]
    labels = {arm.name: f"{arm.label}, {reward}" for arm in REGULARISERS}
    measured = rows([run for run in result.trained if run.family.endswith(f"-{reward}")], FINAL)
    parts = []
    for arm in REGULARISERS:
        if arm.name in ("chi2-sum", "alpha-sum"):
            apart = [
                difference(measured[labels[arm.name]], measured[labels["kl-closer"]], key) for key in (name, truth)
            ]
            numbers = [f"{each.value:+.3f} ± {each.half_width:.3f}".replace("-", "−") for each in apart]
            parts.append(f"{arm.label}: {display(name).title} {numbers[0]}, the truth {numbers[1]}")
    return f"Minus the KL that is held at {SHORTER:g} nats: {'; '.join(parts)}."
