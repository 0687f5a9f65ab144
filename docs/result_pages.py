"""The pages of results and what stands about them elsewhere in this repository, drawn from docs/results/records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kedge_papers import TARGETS
from kedge_papers.pages.conclusions import CLAIMS, claims_table, unmeasured
from kedge_papers.pages.exhibit import Exhibit, save_small, source_of
from kedge_papers.pages.page import page, source
from kedge_papers.records.result import Result
from kedge_papers.records.store import RecordStore

RESULTS = Path(__file__).parent / "results"
RECORDS = "records"
NOTE = "<!-- Written from records/ by `make docs`: change nothing here. -->"
START, END = "<!-- results: written by docs/generate.py -->", "<!-- end of results -->"
INDEX_START, INDEX_END = "<!-- index: written by docs/generate.py -->", "<!-- end of index -->"
CONCLUSIONS = (
    "Each claim of the two papers, what was measured here, and whether it holds. A claim *holds* if the 95 % "
    "interval of the difference that it speaks of lies above zero, *does not hold* if it lies below, and is left "
    "open if it includes zero. Intervals are over prompts; with several seeds over seeds, where those lie further "
    "apart. One small world, and as many seeds as the pages say: what holds here need not hold "
    "elsewhere. How it was measured: [reproducing the papers](../reproduce.md)."
)


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


def published(folder: Path = RESULTS) -> dict[str, Published]:
    """Target → what is recorded of it, in the latest world that it was measured in."""
    found: dict[str, Published] = {}
    for home in sorted(path for path in (folder / RECORDS).iterdir() if path.is_dir()):
        store = RecordStore(home)
        found |= {name: Published(result, store.world) for name, result in store.results().items()}
    return {name: found[name] for name in sorted(found)}


def write_pages(folder: Path = RESULTS) -> None:
    """A page and at most one figure for each target, the conclusions, the index and the README's section."""
    everything = published(folder)
    for name, each in everything.items():
        exhibit, figure = each.exhibit(), folder / f"{name}.png"
        if exhibit.figure is not None:
            save_small(exhibit.figure, figure, source(each.result))
        (folder / f"{name}.md").write_text(each.text(exhibit), encoding="utf-8")
    (folder / "conclusions.md").write_text(conclusions(everything), encoding="utf-8")
    for path, rewrite in ((folder / "README.md", with_index), (folder.parents[1] / "README.md", with_section)):
        path.write_text(rewrite(path.read_text(encoding="utf-8"), everything), encoding="utf-8")


def stale_figure(name: str, each: Published, folder: Path = RESULTS) -> bool:
    """Whether a target's figure was not drawn from what is recorded."""
    path = folder / f"{name}.png"
    return path.is_file() and source_of(path) != source(each.result)


def conclusions(everything: Mapping[str, Published]) -> str:
    """The page of claims."""
    table = claims_table(_results(everything), lambda name: f"{name}.md")
    return "\n\n".join([NOTE, "# Conclusions", CONCLUSIONS, table]) + "\n"


def section(everything: Mapping[str, Published]) -> str:
    """The README's section, between its markers: what has been measured."""
    results = _results(everything)
    left = unmeasured(results)
    more = f" {left} of {len(CLAIMS)} are not measured yet." if left else ""
    intro = f"Claims of the papers, and what came out in the emoji world ([all](docs/results/conclusions.md)).{more}"
    parts = [START, intro]
    if left < len(CLAIMS):
        parts += ["", claims_table(results, lambda name: f"docs/results/{name}.md", measured_only=True)]
    return "\n".join([*parts, END])


def with_section(text: str, everything: Mapping[str, Published]) -> str:
    """``text`` with its section between the markers written anew; unchanged if it has none."""
    return _between(text, START, END, section(everything))


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
    return _between(text, INDEX_START, INDEX_END, "\n".join([INDEX_START, *rows, left, INDEX_END]))


def _results(everything: Mapping[str, Published]) -> dict[str, Result]:
    return {name: each.result for name, each in everything.items()}


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
