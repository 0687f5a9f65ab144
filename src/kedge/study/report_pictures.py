"""The pictures that a study was about, in its report: two of a prompt side by side, and how the votes on them fell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from kedge.evaluation.report_parts import SMALL, picture
from kedge.study.records import Record
from kedge.study.store import Store

PAIRS = 8  # pictures of as many pairs are shown


def pair_pictures(store: Store, records: Sequence[Record]) -> str:
    """The first pairs that have votes, as figures; empty if a study's pictures are gone."""
    by_pair: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.pair):
        if not record.repeat:
            by_pair.setdefault(record.pair, []).append(record)
    figures = ""
    for votes in list(by_pair.values())[:PAIRS]:
        figures += _figure(store, votes)
    return f'<div class="pictures" style="--pair: 20rem">{figures}</div>' if figures else ""


def _figure(store: Store, votes: Sequence[Record]) -> str:
    pair = votes[0]
    counts = Counter(record.winner for record in votes)
    sides, small = "", True
    for side, name, file in zip(("first", "second"), (pair.first, pair.second), pair.files, strict=True):
        path = store.pictures / file
        if not path.is_file():
            return ""
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        small = small and max(pixels.shape[:2]) <= SMALL
        words = f"{name}: {counts[side]} of {len(votes)} votes"
        sides += f"<div>{picture(pixels, f'{name}: {pair.prompt}')}<span>{escape(words)}</span></div>"
    ties = f" · {counts['tie']} × about the same" if counts["tie"] else ""
    caption = f"<figcaption>{escape(pair.prompt + ties)}</figcaption>"
    return f'<figure class="pair{" crisp" if small else ""}">{sides}{caption}</figure>'
