"""Figure 3 of ROCM: for each question and matchup one bar of wins, ties and losses. SVG, by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from kedge.study.analysis import Contest
from kedge.study.questions import Question

WIDTH, LABEL, BAR, GAP, HEAD = 720, 150, 26, 12, 34
# On a page its variables decide; alone, the colours behind them.
GOOD, TIE, BAD = "var(--good, #2e7d4f)", "var(--line, #d5d5da)", "var(--bad, #b3412f)"
INK, ON = "var(--ink, #1d1e22)", "var(--paper, #fbfbfa)"


def preference_chart(contests: Sequence[Contest], questions: Sequence[Question]) -> str:
    """Stacked bars with percentages, ours on the left; the dotted line is the middle."""
    titles = {question.key: question.title for question in questions}
    matchups: dict[tuple[str, str], list[Contest]] = {}
    for contest in contests:
        matchups.setdefault((contest.ours, contest.theirs), []).append(contest)
    parts, y = [], 0
    for (ours, theirs), rows in matchups.items():
        parts.append(_heads(y, ours, theirs))
        y += HEAD
        for contest in rows:
            parts.append(_bar(y, titles[contest.question], contest))
            y += BAR + GAP
        y += GAP
    body = "".join(parts)
    words = escape(_words(contests, titles))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {max(y, 1)}" role="img" class="chart" '
        f'font-family="system-ui, sans-serif" font-size="14" aria-label="{words}">{body}</svg>'
    )


def _words(contests: Sequence[Contest], titles: Mapping[str, str]) -> str:
    """The chart's numbers, for those who do not see it."""
    sentences = []
    for contest in contests:
        won, tied, lost = (f"{100 * share.value:.0f} %" for share in contest.shares)
        sentences.append(f"{titles[contest.question]}: {contest.ours} {won}, tie {tied}, {contest.theirs} {lost}")
    return "Votes. " + "; ".join(sentences)


def _heads(y: int, ours: str, theirs: str) -> str:
    return (
        f'<text x="{LABEL}" y="{y + 22}" fill="{GOOD}" font-weight="600">{escape(_short(ours))} preferred</text>'
        f'<text x="{WIDTH}" y="{y + 22}" fill="{BAD}" font-weight="600" text-anchor="end">'
        f"{escape(_short(theirs))} preferred</text>"
    )


def _bar(y: int, title: str, contest: Contest) -> str:
    x = float(LABEL)
    middle = y + BAR / 2 + 5
    drawn = [
        f'<text x="{LABEL - 14}" y="{middle:.1f}" fill="{INK}" text-anchor="end">{escape(_short(title, 20))}</text>'
    ]
    for each, colour, ink in zip(contest.shares, (GOOD, TIE, BAD), (ON, INK, ON), strict=True):
        width = (WIDTH - LABEL) * each.value  # over prompts, as in the table; the three sum to 1
        drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
        if width > 44:
            share = f"{100 * each.value:.0f} %"
            drawn.append(
                f'<text x="{x + width / 2:.1f}" y="{middle:.1f}" fill="{ink}" text-anchor="middle">{share}</text>'
            )
        x += width
    half = LABEL + (WIDTH - LABEL) / 2
    drawn.append(
        f'<line x1="{half}" x2="{half}" y1="{y - 3}" y2="{y + BAR + 3}" stroke="{INK}" stroke-dasharray="2 3"/>'
    )
    return "".join(drawn)


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
