"""From contrasts to verdicts: one rule for all claims, corrected for how many there are and how often one looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from kedge.evaluation.statistics import holm
from kedge_papers.claims.claim import FAMILY_ERROR, Claim, Contrast
from kedge_papers.claims.contrasts import measure, seeds_in
from kedge_papers.claims.measured import Measured
from kedge_papers.records.result import Result

HOLDS, FAILS, DEPENDS, OPEN, MISSING = "holds", "does not hold", "depends", "undecided", "not measured yet"
POWER = 0.9
ALPHA = FAMILY_ERROR / 12  # of one claim, if all the others are undecided
MANY = 100  # seeds that nobody will spend on one claim


@dataclass(frozen=True)
class Judgement:
    """What the records say about a claim.

    Attributes:
        claim: the claim.
        answer: what it comes down to if it is decided.
        p: that it is decided wrongly, for the looks taken so far; :attr:`corrected` also for the number of claims.
        contrasts, reported: name → what was measured with all the seeds.
        seeds: training seeds that every contrast had at the last look; None where none is involved, or where all that
            were recorded before the claim was written are taken.
        needed: units (seeds, prompts) that would decide an undecided claim with a power of 90 %; None if unknown.
        otherwise: the answer and p that are left where it cannot be told that it depends.
    """

    claim: Claim
    answer: str
    p: float
    contrasts: Mapping[str, Measured]
    reported: Mapping[str, Measured]
    seeds: int | None = None
    needed: str | None = None
    otherwise: tuple[str, float] | None = None
    corrected: float = 1.0

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold``, ``depends``, ``undecided``, ``not measured yet``."""
        if self.answer == MISSING or self.corrected < FAMILY_ERROR:
            return self.answer
        return f"{OPEN}: {self.needed}" if self.needed else OPEN


def judge_all(claims: Sequence[Claim], results: Mapping[str, Result], *, looks: bool = True) -> list[Judgement]:
    """Every claim, with Holm's correction for all of them, measured or not.

    Args:
        looks: only at the numbers of seeds that the claims name; False takes what there is, for records that are
            older than the claims, of which nothing can be concluded that was not asked before.
    """
    judgements = _corrected([judge(claim, results.get(claim.experiment), looks=looks) for claim in claims])
    settled = []
    for each in judgements:
        if each.otherwise and each.corrected >= FAMILY_ERROR:
            each = replace(each, answer=each.otherwise[0], p=each.otherwise[1])
        settled.append(each)
    return _corrected(settled)


def _corrected(judgements: Sequence[Judgement]) -> list[Judgement]:
    corrected = holm([judgement.p for judgement in judgements])
    return [replace(each, corrected=float(p)) for each, p in zip(judgements, corrected, strict=True)]


def judge(claim: Claim, result: Result | None, *, looks: bool = True) -> Judgement:
    """One claim by its own rule, before the correction for the number of claims.

    ``all``: it holds if every contrast is above 0, and does not hold if any is below (of m contrasts, each p counts m
    times). ``no single winner``: its contrasts are one arm against another in several parts; it holds if two parts have
    different winners, or if a part has none, because the two are equal within the margin; it does not hold if one arm
    wins in every part.
    """
    if result is None:
        return Judgement(claim, MISSING, 1.0, {}, {})
    counts = [seeds_in(contrast, result) for contrast in claim.contrasts]
    wanted: list[int | None] = [None]
    if looks and claim.looks:
        wanted = []
        for look in sorted(claim.looks):
            if look <= min(counts):
                wanted.append(look)
    best: dict[str, float] = {}
    for seeds in wanted:
        spent = claim.looks.get(seeds, FAMILY_ERROR) if seeds is not None else FAMILY_ERROR
        for answer, p in _decide(claim, _measured(claim.contrasts, result, seeds)).items():
            best[answer] = min(best.get(answer, 1.0), 1.0, p * FAMILY_ERROR / spent)
    depends = best.pop(DEPENDS, 1.0)
    answer = min(best, key=lambda name: best[name], default=MISSING)
    p = best.get(answer, 1.0)
    otherwise = None
    if depends < FAMILY_ERROR:
        answer, p, otherwise = DEPENDS, depends, (answer, p)
    shown = _measured(claim.contrasts, result, None)
    return Judgement(
        claim,
        answer,
        p,
        shown,
        _measured(claim.reported, result, None),
        wanted[-1] if wanted else None,
        _needed(list(shown.values())),
        otherwise,
    )


def _measured(contrasts: Sequence[Contrast], result: Result, seeds: int | None) -> dict[str, Measured]:
    """Name → what was measured, of those that can be."""
    known = {}
    for contrast in contrasts:
        measured = measure(contrast, result, seeds)
        if measured is not None:
            known[contrast.name] = measured
    return known


def _decide(claim: Claim, measured: Mapping[str, Measured]) -> dict[str, float]:
    """The answers that the contrasts could give, each with the probability of being given by chance."""
    parts = list(measured.values())
    if not parts:
        return {}
    whole = len(parts) == len(claim.contrasts)
    if claim.rule == "no single winner":
        return _no_single_winner(parts, whole)
    answers = {FAILS: min(1.0, len(claim.contrasts) * min(map(_below, parts)))}
    if whole:
        answers[HOLDS] = max(map(_above, parts))
    if claim.depends and set(claim.depends) <= set(measured):
        first, second = map(measured.__getitem__, claim.depends)
        apart = min(max(_above(first), _below(second)), max(_below(first), _above(second)))
        answers[DEPENDS] = min(1.0, 2 * apart)
    return answers


def _no_single_winner(parts: Sequence[Measured], whole: bool) -> dict[str, float]:
    above, below = list(map(_above, parts)), list(map(_below, parts))
    different = max(min(above), min(below)) * len(parts)
    equal = min(part.p_equal for part in parts) * len(parts)
    answers = {HOLDS: min(1.0, 2 * min(different, equal))}  # either will do: two chances to err
    if whole:
        answers[FAILS] = min(max(above), max(below))
    return answers


def _above(part: Measured) -> float:
    return part.p if part.effect.value > 0 else 1.0


def _below(part: Measured) -> float:
    return part.p if part.effect.value < 0 else 1.0


def _needed(parts: Sequence[Measured]) -> str | None:
    """Units for a power of 90 % at the effect and spread that were seen, of the contrast that needs most.

    At the level that a claim has to pass in Holm's worst case, that of one claim among all.
    """
    worst, unit = 0, ""
    normal = NormalDist()
    for part in parts:
        if part.count < 2 or not math.isfinite(part.sd):
            return None
        mean, sd = part.effect.value, part.sd
        standardised = (normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)) * sd
        count = math.ceil((standardised / mean) ** 2) + 2 if mean else MANY + 1
        count = max(count, part.count + 1)
        if count > worst:
            worst, unit = count, part.unit
    if not worst:
        return None
    return f"more than {MANY} {unit} needed" if unit == "seeds" and worst > MANY else f"about {worst} {unit} needed"
