"""The report of a study: ``report/report.html``, ``.md``, ``.json``, the chart, and the votes as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from kedge.evaluation.rendering import render
from kedge.evaluation.report_parts import elements, facts, scrollable, table_html
from kedge.evaluation.report_style import CSS
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table
from kedge.files import check_writable
from kedge.study.analysis import Analysis, Contest, analyse, to_dict
from kedge.study.export import votes_csv
from kedge.study.figure import preference_chart
from kedge.study.records import model_facts, read_records
from kedge.study.report_pictures import pair_pictures
from kedge.study.store import Store

HASTY = 0.5  # seconds: a reaction to one light takes half of that, and here two pictures are compared
LITTLE = 0.2  # α: matters of taste rarely reach the 0.667 that is asked of matters of fact
RATE_NOTE = (
    "Intervals are 95 %, over prompts (Wilson); with other raters: over raters and prompts at once. Win "
    "rate: a tie is half a win. α: Krippendorff's. Seconds: median for an answer."
)


def write_study_report(store: Store, out: Path | None = None, *, exclude: Sequence[str] = ()) -> Analysis:
    """Write the report into ``STUDY/report`` or ``out``.

    Args:
        exclude: raters (``r3``) whose votes are left out, and named in the report.

    Raises:
        ValueError: there are no votes, or no such rater, or ``out`` cannot be written.
    """
    folder = out or store.folder / "report"
    check_writable(folder / "report.html")  # before anything is computed
    records = read_records(store)
    unknown = sorted(set(exclude).difference(record.rater for record in records))
    if unknown:
        raise ValueError(f"no votes by {', '.join(unknown)}; raters are called r1, r2, …")
    included = []
    for record in records:
        if record.rater not in exclude:
            included.append(record)
    models = list(model_facts(store))
    analysis = analyse(included, store.facts().questions, models, seed=store.facts().design.seed)
    folder.mkdir(parents=True, exist_ok=True)
    chart = preference_chart(analysis.contests, analysis.questions)
    numbers = {"excluded": list(exclude), **to_dict(analysis)}
    files = {
        "report.html": _html(
            analysis, store.facts().title, exclude=exclude, chart=chart, pictures=pair_pictures(store, included)
        ),
        "report.md": markdown(analysis, store.facts().title, exclude),
        "report.json": json.dumps(numbers, ensure_ascii=False, indent=2) + "\n",
        "votes.csv": votes_csv(store),
    }
    if analysis.contests:
        files["preference.svg"] = chart
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return analysis


def verdicts(analysis: Analysis) -> list[str]:
    """One sentence for each contest: what was preferred, by how much, and whether that is beyond chance."""
    titles = _titles(analysis)
    return [f"{titles[contest.question]}: {_verdict(contest)}" for contest in analysis.contests]


def _titles(analysis: Analysis) -> dict[str, str]:
    """Of the questions, by key."""
    return {question.key: question.title for question in analysis.questions}


def _verdict(contest: Contest) -> str:
    ours = contest.crossed.value >= 0.5
    better, worse = (contest.ours, contest.theirs) if ours else (contest.theirs, contest.ours)
    rate = contest.crossed.value if ours else 1 - contest.crossed.value
    low, high = (contest.crossed.low, contest.crossed.high)
    low, high = (low, high) if ours else (1 - high, 1 - low)
    numbers = f"{100 * rate:.0f}\u00a0% ({100 * low:.0f}–{100 * high:.0f}), sign test over prompts p {_p(contest.p)}"
    if low > 0.5 and contest.p < 0.05:
        return f"{better} is preferred to {worse}, {numbers}."
    return f"no difference between {contest.ours} and {contest.theirs} beyond chance; {better} wins {numbers}."


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def warnings(analysis: Analysis) -> list[str]:
    """What a careful reader should know before they believe the numbers."""
    lines = []
    if analysis.left is not None and analysis.left.excludes(0.5):
        lines.append(
            f"Position bias: the left picture was chosen in {100 * analysis.left.value:.0f} % of decided looks "
            f"at a pair (p {_p(analysis.left_p)}). Sides are balanced, so it widens the intervals but favours no model."
        )
    for rater in analysis.raters:
        if rater.repeats >= 3 and rater.flipped / rater.repeats >= 0.5:
            lines.append(
                f"{rater.rater} turned {rater.flipped} of {rater.repeats} repeated answers round: that is guessing "
                f"(kedge study report --exclude {rater.rater})."
            )
        if rater.seconds is not None and rater.seconds < HASTY:
            lines.append(
                f"{rater.rater} took {rater.seconds:.1f} s for an answer (median): too little to look at two pictures "
                f"(kedge study report --exclude {rater.rater})."
            )
    if len(analysis.raters) < 3:
        lines.append("Fewer than three raters: the numbers speak about these people, not about people.")
    for contest in analysis.contests:
        if contest.alpha < LITTLE:
            lines.append(
                f"Raters agree little on {contest.question} of {contest.ours} and {contest.theirs} "
                f"(α = {_number(contest.alpha)}): tastes differ, or the pictures hardly do."
            )
    return lines


def contest_table(analysis: Analysis) -> Table:
    """Wins, ties, losses and rates, a row for each question and matchup."""
    titles = _titles(analysis)
    matchups = {(contest.ours, contest.theirs) for contest in analysis.contests}
    rows = []
    for contest in analysis.contests:
        label = titles[contest.question]
        if len(matchups) > 1:
            label += f": {contest.ours} – {contest.theirs}"
        shares = [Cell(share, style="percent", digits=0) for share in contest.shares]
        beyond = contest.crossed.excludes(0.5) and contest.p < 0.05
        rate = Cell(contest.rate, style="percent", digits=0, bold=beyond)
        crossed = Cell(contest.crossed, style="percent", digits=0, bold=beyond)
        seconds = analysis.seconds.get(contest.question)
        rows.append((label, (*shares, rate, crossed, _bare(contest.alpha, 2), _bare(seconds and seconds[1], 1))))
    headers = ("Win", "Tie", "Loss", "Win rate", "with other raters", "α", "Seconds")
    keys = ("win", "tie", "loss", "rate", "crossed", "alpha", "seconds")
    return Table("Question", headers, keys, tuple(rows), note=RATE_NOTE)


def _bare(value: float | None, digits: int) -> Cell | None:
    """A number without an interval; a dash for none."""
    if value is None or not math.isfinite(value):
        return None
    return Cell(Interval(value, -math.inf, math.inf, 1), digits=digits)


def ranking_table(analysis: Analysis) -> Table:
    """Bradley–Terry strengths, best first by the first question."""
    keys = list(analysis.ranking)
    order = sorted(analysis.models, key=lambda model: -analysis.ranking[keys[0]][model].value)
    rows = []
    for model in order:
        cells = [Cell(strengths[model], style="signed") for strengths in analysis.ranking.values()]
        rows.append((model, tuple(cells)))
    titles = _titles(analysis)
    note = "Log-odds: a model that is 1 above another wins 73 % against it. Intervals resample prompts."
    return Table("Model", tuple(map(titles.__getitem__, keys)), tuple(keys), tuple(rows), note=note)


def rater_rows(analysis: Analysis) -> list[list[str]]:
    """The checks of each rater, as text."""
    rows = [["Rater", "Votes", "Left", "Right", "Tie", "Repeats turned round", "With the majority", "Seconds (median)"]]
    for r in analysis.raters:
        agreement = "–" if r.agreement is None else f"{100 * r.agreement:.0f} %"
        seconds = "–" if r.seconds is None else f"{r.seconds:.1f}"
        repeats = f"{r.flipped} of {r.repeats}" if r.repeats else "–"
        rows.append([r.rater, str(r.votes), str(r.left), str(r.right), str(r.ties), repeats, agreement, seconds])
    return rows


def _summary(analysis: Analysis, exclude: Sequence[str]) -> dict[str, object]:
    left = analysis.left
    share = left and f"{100 * left.value:.0f} % ({100 * left.low:.0f}–{100 * left.high:.0f})"
    return {
        "Models": ", ".join(analysis.models),
        "Raters": len(analysis.raters),
        "Prompts": analysis.prompts,
        "Votes": analysis.votes,
        "Left chosen": share,
        "Excluded": ", ".join(exclude) or None,
    }


def _number(x: float) -> str:
    return f"{x:.2f}".replace("-", "−")


def markdown(analysis: Analysis, title: str, exclude: Sequence[str] = ()) -> str:
    """The report as Markdown."""
    summary = []
    for name, value in _summary(analysis, exclude).items():
        if value is not None:
            summary.append(f"{name}: {value}")
    parts = [f"# {title}", _lines("**{}**  ", verdicts(analysis)), _lines("- {}", summary)]
    if analysis.contests:
        parts.append(render(contest_table(analysis), "markdown").strip())
    if analysis.ranking:
        parts.append(render(ranking_table(analysis), "markdown").strip())
    parts.append(_lines("- {}", warnings(analysis)))
    head, *rows = rater_rows(analysis)
    table = [head, [":---", *["---:"] * (len(head) - 1)], *rows]
    parts.append(_lines("| {} |", map(" | ".join, table)))
    return "\n\n".join(filter(None, parts)) + "\n"


def _lines(form: str, items: Iterable[str]) -> str:
    return "\n".join(map(form.format, items))


def _html(analysis: Analysis, title: str, exclude: Sequence[str], chart: str, pictures: str) -> str:
    sections = [f"<h1>{escape(title)}</h1>", facts(_summary(analysis, exclude))]
    sentences, cautions = elements("p", verdicts(analysis)), elements("li", warnings(analysis))
    if sentences:
        sections.append(f'<section class="verdict calm">{sentences}</section>')
    if cautions:
        sections.append(f'<section class="verdict warn"><ul>{cautions}</ul></section>')
    if analysis.contests:
        sections.append(f'<h2>Preference</h2><figure class="wide">{scrollable("Chart of votes", chart)}</figure>')
        sections.append(table_html(contest_table(analysis)))
    if analysis.ranking:
        sections += ["<h2>Ranking (Bradley–Terry)</h2>", table_html(ranking_table(analysis))]
    head, *rows = rater_rows(analysis)
    heads = elements("th", head)
    body = "".join(f"<tr>{elements('td', row)}</tr>" for row in rows)
    if pictures:
        note = '<p class="note">The first pairs, not chosen; raters saw them without names.</p>'
        sections.append(f"<h2>Pictures</h2>{note}{pictures}")
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    sections.append(f"<h2>Raters</h2>{scrollable('Raters', table)}")
    sections.append(
        "<footer>Written by Kedge. Votes: <code>votes.csv</code>. All numbers: <code>report.json</code>.</footer>"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)} · Kedge</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>\n'
        f"<body><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )
