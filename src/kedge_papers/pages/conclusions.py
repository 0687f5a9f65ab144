"""The papers' claims and ours, each with what judges it by what was recorded here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kedge_papers.pages.findings import (
    MISSING,
    Finding,
    Judge,
    Results,
    ablation,
    aesthetic,
    against,
    consistency_is_faster,
    truth_of,
)
from kedge_papers.targets.ablations import EXACT, RIGHT, SAMPLED, WRONG
from kedge_papers.targets.rocm_findings import (
    no_divergence_wins,
    overoptimised,
    preference_peaks,
    preferred_to_rlcm,
    regularised_generalises,
)


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
    judge: Judge

    def finding(self, results: Results) -> Finding:
        """The judgement."""
        return self.judge(results) or Finding("–", MISSING)


FIRST_ORDER = "First-order gradients beat policy gradients in time and queries"
GENERALISES = "Regularised ROCM beats unregularised on metrics it was not trained on"
HACKED = "Without regularisation the reward goes on rising while the true preference declines"
PEAKS = "As β falls, the true preference peaks and then declines"
SEVENTEEN = "Consistency models train faster than diffusion models (17 times, aesthetic)"
BEFORE = "Before training, the diffusion model beats its consistency model"
QUERIES = "RLCM beats DDPO for equal reward queries"
LAST = "Scoring the last step, as RLCM's published code does, costs reward"
JS = "Exact JS serves the true preference better than sampled JS"
PREFERRED = "Raters prefer ROCM's pictures to RLCM's, whatever it was trained on"

CLAIMS = (
    Claim("ROCM, 4.1", FIRST_ORDER, "methods", against("ROCM", "RLCM")),
    Claim("ROCM, 4.1", GENERALISES, "table1", regularised_generalises),
    Claim("ROCM, Figure 3", PREFERRED, "fig3", preferred_to_rlcm),
    Claim("ROCM, 4.2", HACKED, "hacking", overoptimised),
    Claim("ROCM, 4.2", PEAKS, "fig4", preference_peaks),
    Claim("ROCM, Table 4", BEFORE, "table4", ablation("table4", "Diffusion", "LCM", truth_of)),
    Claim("ROCM, Table 1", "No single divergence wins everywhere", "table1", no_divergence_wins),
    Claim("RLCM, 5.2", SEVENTEEN, "methods", consistency_is_faster),
    Claim("RLCM, 5.1", QUERIES, "methods", against("RLCM", "DDPO")),
    Claim("ours", LAST, "last-step", ablation("last-step", RIGHT, WRONG, aesthetic)),
    Claim("ours", JS, "js", ablation("js", EXACT, SAMPLED, truth_of)),
)


def claims_table(results: Results, link: Callable[[str], str], *, measured_only: bool = False) -> str:
    """The claims, what was measured, and the verdicts, as Markdown.

    Args:
        link: from a target's name to where its page is.
        measured_only: leave out what is not measured yet.
    """
    rows = ["| claim | source | measured | verdict |", "|:---|:---|:---|:---|"]
    for claim in CLAIMS:
        finding = claim.finding(results)
        shown = [name for name in results if claim.command in (name, name.rstrip("abcd"))]
        links = ", ".join(f"[{name}]({link(name)})" for name in shown)
        by = links or f"`kedge reproduce {claim.command}`"
        if finding.verdict != MISSING or not measured_only:
            rows.append(f"| {claim.text} | {claim.source} | {finding.measured} ({by}) | **{finding.verdict}** |")
    return "\n".join(rows)


def unmeasured(results: Results) -> int:
    """How many claims have nothing that judges them yet."""
    return sum(claim.finding(results).verdict == MISSING for claim in CLAIMS)
