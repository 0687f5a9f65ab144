"""The pages of results and what stands about them elsewhere in this repository, drawn from docs/results/records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from docs.headline import ALT, FIGURE, save_figure, sentences

from kedge_papers import TARGETS
from kedge_papers.claims.claim import AGAIN, load_claims
from kedge_papers.claims.claims_page import claims_table, decided, judged, questions, summary, with_whole_tables
from kedge_papers.claims.verdict import Judgement, judge_all
from kedge_papers.pages.exhibit import Exhibit, save_small, source_of
from kedge_papers.pages.page import page, source
from kedge_papers.records.result import Result
from kedge_papers.records.store import RecordStore

RESULTS = Path(__file__).parent / "results"
RECORDS = "records"
NOTE = "<!-- Written from records/ by `make docs`: change nothing here. -->"
START, END = "<!-- results: written by docs/generate.py -->", "<!-- end of results -->"
INDEX_START, INDEX_END = "<!-- index: written by docs/generate.py -->", "<!-- end of index -->"
PREDICTIONS = Path(__file__).parent / "predictions.yaml"
BEFORE_CLAIMS = ("World 1",)  # measured before the claims were written down
CONCLUSIONS = """\
Twelve claims, ten of the two papers and two of ours. Each is a file in `src/kedge_papers/claims` that says what is
asked, which contrasts decide it, when one looks, and by which rule; it is committed before the first record that
answers it, and a test compares the dates.

A claim *holds* if every one of its contrasts is above 0 beyond chance, and *does not hold* if one of them is below: a
claim about all cases is refuted by one. It *depends* only where two contrasts named beforehand are each decided,
differently. Else it is *undecided*, with how much more it would take. Chance: 5 % for all twelve claims and all looks
together (Holm; the looks of a claim share its part). Intervals are of 95 % each, over prompts and training seeds.

What the first study leaves undecided at its last planned look stays so there: no look is added. It may be asked again,
of fresh seeds and noise alone, as a [second study](#asked-again) that is written down before it runs.

Verdicts in italics, *after the fact*, are of records that are older than the claims, by the same rules but for the
looks: they decide nothing.

In claims 2 and 5 every arm, without an anchor, too, has the learning rate and batch of KL's preset, at which a run
without an anchor falls apart; at the rate that tuning chose for it, it has not within the
[comparison](methods.md)'s queries. Claim 8 compares times within RLCM's budget, which ends before DDPO gets anywhere:
it is the cost of a query, and the paper's 17 times were not tested.

One small world: what holds here need not hold elsewhere. How it is measured:
[reproducing the papers](../reproduce.md).
"""

ASKED_AGAIN = """\
## Asked again

A second study of what the first left undecided. Its claims (`src/kedge_papers/claims/again`) were committed before
their first runs. They rest on seeds, noise and, where no training is involved, prompts that the first had not seen;
no record of the first counts. Some ask the same with more seeds, some ask better, having learnt from the first what
its question could not tell: the file of each says so. Chance: 5 % for these claims together, beside the first study's
5 %. The file of claim 3 named the raters' question wrongly (`general`; its key is `preference`), so that no vote
could have answered it: that word was mended when its first votes were in, before they were recorded, and nothing
else.
`kedge reproduce --queue again`, `kedge reproduce table4 --world again-bases` and
`kedge reproduce --queue again-raters` repeat it.
"""


@dataclass(frozen=True)
class Published:
    """A result and the world that it was measured in: ``World 1``."""

    result: Result
    world: str

    def exhibit(self) -> Exhibit:
        """What its page shows."""
        return TARGETS.get(self.result.target).show(self.result)

    def text(self, exhibit: Exhibit) -> str:
        """Its page."""
        return f"{NOTE}\n\n{page(self.result, exhibit, f'{self.result.target}.png', self.world)}"


def stores(folder: Path = RESULTS) -> list[RecordStore]:
    """The records of every world of a study, the latest last; none before its first are published."""
    records = folder / RECORDS
    homes = [path for path in records.iterdir() if path.is_dir()] if records.is_dir() else []
    return [RecordStore(home) for home in sorted(homes)]


def published(folder: Path = RESULTS) -> dict[str, Published]:
    """Target → what is recorded of it, in the latest world that it was measured in; nothing if nothing is."""
    published: dict[str, Published] = {}
    for store in stores(folder):
        published |= {name: Published(result, store.world) for name, result in store.results().items()}
    return {name: published[name] for name in sorted(published)}


def write_pages(folder: Path = RESULTS) -> None:
    """A page and at most one figure for each target, the conclusions, the index and the README's section."""
    everything, again = published(folder), published(folder / AGAIN)
    write_targets(everything, folder)
    write_targets(again, folder / AGAIN)
    save_figure(_split(everything)[0], folder)
    (folder / "conclusions.md").write_text(conclusions(everything, again), encoding="utf-8")
    index, readme = folder / "README.md", folder.parents[1] / "README.md"
    index.write_text(with_index(index.read_text(encoding="utf-8"), everything), encoding="utf-8")
    readme.write_text(with_section(readme.read_text(encoding="utf-8"), everything, again), encoding="utf-8")


def write_targets(everything: Mapping[str, Published], folder: Path) -> None:
    """A page and at most one figure for each target."""
    for name, each in everything.items():
        exhibit, figure = each.exhibit(), folder / f"{name}.png"
        if exhibit.figure is not None:
            save_small(exhibit.figure, figure, source(each.result))
        else:
            figure.unlink(missing_ok=True)
        (folder / f"{name}.md").write_text(each.text(exhibit), encoding="utf-8")


def stale_figure(name: str, each: Published, folder: Path = RESULTS) -> bool:
    """Whether a target's figure was not drawn from what is recorded."""
    path = folder / f"{name}.png"
    return path.is_file() and source_of(path) != source(each.result)


def conclusions(everything: Mapping[str, Published], again: Mapping[str, Published] | None = None) -> str:
    """The page of claims; ``again`` is what the second study has published."""
    judgements = judged(load_claims(), *_split(everything))
    table = claims_table(judgements, _split(everything)[0], lambda name: _links(name, everything, ""))
    second = judged_again(again or {})
    counts = " ".join(filter(None, [summary(judgements, _split(everything)[0]), together(judgements, second)]))
    parts = [
        NOTE,
        "# Conclusions",
        CONCLUSIONS.strip(),
        counts,
        table,
        *asked_again(again or {}, second),
        predictions(judgements, second),
    ]
    return "\n\n".join([*parts, ""])


def asked_again(again: Mapping[str, Published], judgements: Sequence[Judgement]) -> list[str]:
    """The second study's section, once something of it is published."""
    if not again:
        return []
    results = _split(again)[0]
    table = claims_table(judgements, results, lambda name: _links(name, again, f"{AGAIN}/"))
    return [ASKED_AGAIN.strip(), summary(judgements, results), table, "What is asked:", questions(judgements)]


def judged_again(again: Mapping[str, Published]) -> list[Judgement]:
    """The second study's claims, by its own records alone; none before there are any."""
    return judge_all(load_claims(AGAIN), _split(again)[0]) if again else []


def together(first: Sequence[Judgement], second: Sequence[Judgement]) -> str:
    """How many claims one of the two studies has decided, in a sentence; nothing before the second has begun."""
    if not second:
        return ""
    numbers = decided(first) | decided(second)
    return f"Together the two studies have decided {len(numbers)} of the {len(first)} claims."


def predictions(judgements: Sequence[Judgement], later: Sequence[Judgement] = ()) -> str:
    """What was expected of the claims before the runs, beside what came out of the first study and of the second."""
    expected = yaml.safe_load(PREDICTIONS.read_text(encoding="utf-8"))
    second = {each.claim.number: each.verdict for each in later}
    lines = ["## What the audit expected, before these runs", ""]
    lines += ["| | expected | verdict | asked again |", "|---:|:---|:---|:---|"]
    for each in judgements:
        number = each.claim.number
        if number in expected:
            lines.append(f"| {number} | {expected[number]} | {each.verdict} | {second.get(number, '–')} |")
    return "\n".join(lines)


def section(everything: Mapping[str, Published], again: Mapping[str, Published] | None = None) -> str:
    """The README's section, between its markers: what came out, and how many claims came out how."""
    results = _split(everything)[0]
    judgements, second = judged(load_claims(), *_split(everything)), judged_again(again or {})
    counts = summary(judgements, results)
    lines = [" ".join(sentences(results))]
    if (RESULTS / FIGURE).is_file():
        lines.append(f"![{ALT}](docs/results/{FIGURE})")
    if again:
        more = summary(second, _split(again)[0], "that were asked again with fresh seeds")
        counts += f" {more} {together(judgements, second)}"
    lines.append(f"{counts} [Each claim, what was measured, and the verdict](docs/results/conclusions.md).")
    return "\n".join([START, "\n\n".join(filter(None, lines)), END])


def _split(everything: Mapping[str, Published]) -> tuple[dict[str, Result], dict[str, Result]]:
    """Results that were recorded after the claims were written, and those from before."""
    after = {name: each.result for name, each in everything.items() if each.world not in BEFORE_CLAIMS}
    before = {name: each.result for name, each in everything.items() if each.world in BEFORE_CLAIMS}
    return with_whole_tables(after), with_whole_tables(before)


def _links(target: str, everything: Mapping[str, Published], prefix: str) -> str:
    """Links to the pages of a target, or of its parts; the command that would make it, if there are none."""
    names = [name for name in everything if target in (name, name.rstrip("abcd"))]
    return ", ".join(f"[{name}]({prefix}{name}.md)" for name in names) or f"`kedge reproduce {target}`"


def with_section(text: str, everything: Mapping[str, Published], again: Mapping[str, Published] | None = None) -> str:
    """``text`` with its section between the markers written anew; unchanged if it has none."""
    return _between(text, START, END, section(everything, again))


def with_index(text: str, everything: Mapping[str, Published]) -> str:
    """``text`` with the list of results between its markers written anew."""
    rows = ["| page | mirrors | world | seeds | budget of a run |", "|:---|:---|:---|---:|---:|"]
    for name, each in everything.items():
        facts = each.result.facts
        seeds = len({run.seed for run in each.result.runs if run.trained}) or "–"
        title = f"[{facts['title']}]({name}.md)"
        rows.append(f"| {title} | {facts['mirrors']} | {each.world} | {seeds} | {_budget(each.result)} |")
    missing = [f"`{name}`" for name in TARGETS if name not in everything and f"{name}a" not in everything]
    left = f"\nNot run yet: {', '.join(missing)}." if missing else ""
    cost = f"\nTraining took {_hours(everything)} in all, each run counted once; each page names its machines."
    return _between(text, INDEX_START, INDEX_END, "\n".join([INDEX_START, *rows, left, cost, INDEX_END]))


def _hours(everything: Mapping[str, Published]) -> str:
    """What all trainings on these pages took, on a CPU of one thread and on accelerators."""
    seconds: dict[str, dict[str, float]] = {}
    for each in everything.values():
        for run in each.result.runs:
            if run.trained:
                kinds = seconds.setdefault("a GPU" if run.machine.get("accelerators") else "one core", {})
                kinds[f"{each.world} {run.identity}"] = run.seconds
    return " and ".join(f"{sum(runs.values()) / 3600:.1f} h of {kind}" for kind, runs in sorted(seconds.items()))


def _budget(result: Result) -> str:
    """What every run had: reward queries if they are equal, else network passes from the least to the most."""
    trained = [run for run in result.runs if run.trained]
    if not trained:
        return "no training"
    queries = {round(run.series("step", "queries")[1][-1]) for run in trained}
    if len(queries) == 1:
        return f"{queries.pop():,} queries"
    passes = [run.passes * run.step for run in trained]
    return f"{min(passes):,.0f}–{max(passes):,.0f} passes"


def _between(text: str, start: str, end: str, new: str) -> str:
    before, opened, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    return f"{before}{new}{after}" if opened and closed else text
