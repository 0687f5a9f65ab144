"""HPSv2 (Wu et al. 2023) among the judges: the CLIP, fine-tuned on votes of people who look at quality first.

Fewer prompts than PickScore's people saw, and less steady hands.
"""

from __future__ import annotations

from kedge.worlds.emoji.build.pictures import Pictures
from kedge.worlds.emoji.build.preference import Raters

RATERS = Raters(temperature=0.05, slips=0.1)
QUALITY = 0.4  # the weight of cleanness; the rest is the oracle's total
SKIPPED = 1 / 3  # of the prompts, from the first


def seen_by_raters(pictures: Pictures) -> Pictures:
    """Their prompts; ``oracle`` holds what these people prefer."""
    first = int(SKIPPED * len(pictures.prompts))
    oracle, clean = pictures.oracle[first:], pictures.clean[first:]
    mark = (1 - QUALITY) * oracle + QUALITY * clean
    return Pictures(pictures.prompts[first:], pictures.images[first:], mark, clean)
