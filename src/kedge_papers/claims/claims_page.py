"""The claims as a table: what was asked, what was measured, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from kedge_papers.claims.claim import Claim
from kedge_papers.claims.verdict import DEPENDS, FAILS, HOLDS, MISSING, OPEN, Judgement, judge_all
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord

AFTER = "after the fact"


def judged(claims: Sequence[Claim], results: Mapping[str, Result], older: Mapping[str, Result]) -> list[Judgement]:
    """Every claim by the records that were made after it was written; one whose experiment has none, by older records.

    An experiment that has only begun is not filled up from older ones: its claim is not measured yet.

    Args:
        results: target → result, recorded after the claims.
        older: the same, from before; they only show what they would say.
    """
    now, before = judge_all(claims, results), judge_all(claims, older, looks=False)
    latest = []
    for new, old in zip(now, before, strict=True):
        latest.append(new if new.claim.experiment in results else old)
    return latest


def claims_table(judgements: Sequence[Judgement], results: Mapping[str, Result], link: Callable[[str], str]) -> str:
    """A row for each claim, as Markdown.

    Args:
        results: those that were recorded after the claims.
        link: from a target's name to its page.
    """
    lines = ["| | claim | source | measured | verdict |", "|---:|:---|:---|:---|:---|"]
    for each in judgements:
        claim, old = each.claim, each.claim.experiment not in results
        by = link(claim.experiment)
        verdict = f"**{each.verdict}**" if each.answer == MISSING or not old else f"*{each.verdict}* ({AFTER})"
        lines.append(f"| {claim.number} | {claim.claim} | {claim.source} | {_numbers(each)} ({by}) | {verdict} |")
    return "\n".join(lines)


def questions(judgements: Sequence[Judgement]) -> str:
    """What each claim asks, as a list."""
    return "\n".join(f"- **{each.claim.number}** {each.claim.question}" for each in judgements)


def decided(judgements: Sequence[Judgement]) -> set[int]:
    """The numbers of the claims that hold, do not hold, or depend on something."""
    numbers = set()
    for each in judgements:
        if each.verdict in (HOLDS, FAILS, DEPENDS):
            numbers.add(each.claim.number)
    return numbers


def with_whole_tables(results: Mapping[str, Result]) -> dict[str, Result]:
    """The results, with Table 1 as one where its parts were run one by one."""
    parts = []
    for name, result in results.items():
        if name.startswith("table1"):
            parts.append(result)
    if not parts or "table1" in results:
        return dict(results)
    runs: dict[str, RunRecord] = {}
    for part in parts:
        runs |= {run.name: run for run in part.runs}
    return {**results, "table1": Result("table1", parts[0].facts, tuple(runs.values()))}


def _numbers(judgement: Judgement) -> str:
    shown = []
    for name, each in judgement.contrasts.items():
        shown.append(f"{name}: {each.text}")
    for name, each in judgement.reported.items():
        shown.append(f"beside it, {name}: {each.text}")
    lacking = []
    for contrast in judgement.claim.contrasts:
        if contrast.name not in judgement.contrasts:
            lacking.append(contrast.name)
    if lacking:
        shown.append(f"not measured: {', '.join(lacking)}")
    return "; ".join(shown)


def summary(judgements: Sequence[Judgement], results: Mapping[str, Result], what: str = "claims") -> str:
    """How many claims came out how, in a sentence; those that older records alone speak of are not counted."""
    counts = Counter(_kind(each, results) for each in judgements)
    names = {  # of one, of several
        HOLDS: ("holds", "hold"),
        FAILS: ("does not hold", "do not hold"),
        DEPENDS: ("depends", "depend"),
        OPEN: ("is undecided", "are undecided"),
        MISSING: ("is not measured yet", "are not measured yet"),
    }
    phrases = []
    for kind, (one, several) in names.items():
        if counts[kind]:
            phrases.append(f"{counts[kind]} {one if counts[kind] == 1 else several}")
    return f"Of {len(judgements)} {what}, {', '.join(phrases)}."


def _kind(judgement: Judgement, results: Mapping[str, Result]) -> str:
    if judgement.claim.experiment not in results:
        return MISSING
    return OPEN if judgement.verdict.startswith(OPEN) else judgement.verdict
