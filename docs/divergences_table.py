"""Which divergence for which reward, at one distance: the trained reward and the truth, from the published records."""

from __future__ import annotations

from docs.marked import filled
from docs.result_pages import RECORDS, RESULTS

from kedge.evaluation.rendering import render
from kedge.evaluation.tables import display
from kedge_papers.records.store import RecordStore
from kedge_papers.targets.regularisers import REWARDS, beside_kl

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
    return "\n\n".join(parts) + "\n"
