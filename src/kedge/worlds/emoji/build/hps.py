"""HPSv2 (Wu et al. 2023) among the judges: the CLIP, fine-tuned on votes of people who look at quality first.

Other prompts than PickScore's people saw, only pictures that a generator could have drawn, and less steady hands.
"""

from __future__ import annotations

from kedge.worlds.emoji.build.pictures import BETWEEN, GENERATED, Pictures
from kedge.worlds.emoji.build.preference import Raters

RATERS = Raters(temperature=0.06, slips=0.1)
QUALITY = 0.5  # the weight of cleanness; the rest is the oracle's total
SKIPPED = 1 / 3  # of the prompts, from the first


def seen_by_raters(pictures: Pictures) -> Pictures:
    """Their prompts and candidates; ``oracle`` holds what these people prefer."""
    first, kept = int(SKIPPED * len(pictures.prompts)), slice(None, GENERATED + BETWEEN)
    oracle, clean = pictures.oracle[first:, kept], pictures.clean[first:, kept]
    mark = (1 - QUALITY) * oracle + QUALITY * clean
    return Pictures(pictures.prompts[first:], pictures.images[first:, kept], mark, clean)
