"""Every number of the README and of the pages of results has a record behind it, or says that it has none.

A page or a part of one that is written from records is tied to them by the tests of those who write it. What is typed
may hold no measured number, unless its section says **Not traced** with the command, or its numbers are looked up here.
"""

from __future__ import annotations

import gzip
import json
import re
from functools import partial
from pathlib import Path

import pytest
from bench.flow import page_of as flow_page
from bench.gpu_page import page_of
from bench.reward_race_page import write_page
from bench.ways import DEPTH
from docs.generate import written
from docs.result_pages import NOTE, with_index, with_section
from docs.result_pages import published as published_pages

from kedge.worlds.emoji.atlas import ASSETS
from kedge.worlds.emoji.build.card import RECORD, card
from kedge_papers.claims.claim import AGAIN

ROOT = Path(__file__).parents[2]
RESULTS, RECORDS = ROOT / "docs" / "results", ROOT / "docs" / "records"
PAGES = [ROOT / "README.md", *sorted(RESULTS.rglob("*.md"))]
GENERATED = re.compile(r"<!-- (\w[\w ]*): written by docs/generate\.py.*?<!-- end of \1 -->", re.DOTALL)
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->|https?://\S+", re.DOTALL)
# Numbers that are names, settings or versions: nobody measured them.
NAMES = re.compile(
    r"Python ≥ 3\.11|arXiv \d{4}\.\d{5}|FLUX\.\d|SD ?3\.5|SD 1\.5|Stable Diffusion 1\.5|Apache-2\.0|torch \d+\.\d+\.\d+"
    r"|glibc \d\.\d+|HPSv2|Zen 4|ROCM, \d\.\d|K = \d|ω = \d|\[0, 1\]|\b\d+ px|Figures? \d|Table \d\w?|20 DDIM steps"
    r"|8 of the|1 to 64 cards|step 0"
)
NUMBER = re.compile(r"(?<![\w.])\d(?:[\d,]*\d)?(?:\.\d+)?(?:e-\d+)?")
UNTRACED = "**Not traced**"
BENCHMARK = re.compile(r"<!-- Written from .* by `python -m bench\.[^`]+`: change nothing here\. -->")
COMPUTED = {"scaling.md": "**Computed, not measured.**"}  # pages, and what they say; see unit/planning/test_scaling.py


def typed_sections(path: Path) -> dict[str, str]:
    """Title → prose and tables of a page's sections, without what is generated, code, links and names."""
    text = path.read_text(encoding="utf-8")
    if text.startswith(NOTE) or BENCHMARK.match(text):
        return {}
    sections = {}
    for part in re.split(r"^#+ ", GENERATED.sub("", text), flags=re.MULTILINE):
        title, _, body = part.partition("\n")
        sections[title] = body
    return sections


def numbers(text: str) -> list[str]:
    """What looks measured."""
    return NUMBER.findall(NAMES.sub("", NOT_PROSE.sub("", text)))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_number_is_typed_without_a_record_or_a_word(path):
    if path.name in COMPUTED:
        assert COMPUTED[path.name] in path.read_text(encoding="utf-8")
        return
    for title, body in typed_sections(path).items():
        if UNTRACED in body:
            assert re.search(r"\*\*Not traced\*\*.*Repeat: `python -m bench\.[^`]+`", body), (
                f"{title}: with which command?"
            )
        elif path.name not in LOOKED_UP:
            assert numbers(body) == [], f"{path.name}, {title}"


def test_a_number_that_was_typed_is_noticed():
    """Versions, settings, code and links are no measurements; a share, a time and a difference are."""
    text = "With K = 8 on Python ≥ 3.11, `lr=0.3`, [see](a/64.md): 12.5 s, 81 % and −0.23, or 2.3e-07."
    assert numbers(text) == ["12.5", "81", "0.23", "2.3e-07"]
    assert rounds_to("12.5", 12.54)
    assert not rounds_to("12.5", 12.56)
    assert rounds_to("2.3e-07", 2.268e-07)
    assert not rounds_to("2.3e-07", 2.4e-07)


def test_what_is_generated_is_up_to_date_for_the_readme_and_results():
    """The marks are there, and between them stands what the records say."""
    text = {path: content for path, content in written().items() if path.suffix == ".md"}
    pages = published_pages()
    both = partial(with_section, again=published_pages(RESULTS / AGAIN))
    for path, rewrite in ((ROOT / "README.md", both), (RESULTS / "README.md", with_index)):
        shown = path.read_text(encoding="utf-8")
        assert text[path] == shown == rewrite(shown, pages)
        assert len(GENERATED.findall(shown)) >= 2


def test_pages_of_benchmarks_are_what_their_records_say(tmp_path):
    """Those that a benchmark writes whole: nobody typed into them."""
    race = json.loads(gzip.decompress((RECORDS / "time-to-reward.json.gz").read_bytes()))
    write_page(race, tmp_path / "time-to-reward.md")
    gpu = json.loads((RECORDS / "gpu.json").read_text(encoding="utf-8"))
    (tmp_path / "gpu.md").write_text(page_of(gpu), encoding="utf-8")
    flow = json.loads((RESULTS / "flow-cpu-64px.json").read_text(encoding="utf-8"))
    (tmp_path / "flow-cpu-64px.md").write_text(flow_page("cpu-64px", flow), encoding="utf-8")
    pages = {path.name for path in PAGES if BENCHMARK.match(path.read_text(encoding="utf-8"))}
    assert pages == {path.name for path in tmp_path.glob("*.md")}
    for name in pages:
        assert (RESULTS / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8"), name


def test_the_card_is_what_its_record_says():
    if not (ASSETS / RECORD).is_file():
        pytest.skip("World 1's card has no record beside it")
    measured = json.loads((ASSETS / RECORD).read_text(encoding="utf-8"))
    assert (ASSETS / "README.md").read_text(encoding="utf-8") == card(measured)


def rounds_to(text: str, value: float) -> bool:
    """Whether a number as it is printed is a value rounded to as many digits."""
    digits = 0 if "e" in text else len(text.partition(".")[2])
    unit = 10.0 ** (int(text.partition("e")[2]) - 1) if "e" in text else 10.0**-digits
    return abs(float(text.replace(",", "").replace("−", "-")) - value) <= 0.5 * unit * (1 + 1e-6)


def loop_values(*names: str) -> list[float]:
    """Everything that the records of the straightforward loop hold, and the ratios that are printed of it."""
    steps, references = 8, 7  # calls of a picture: of the policy, of the reference; all but one of these go back too
    passes = 2 * steps + references + references - 1
    values = [64.0, 860.0, 100.0, DEPTH, steps, references, references - 1, passes, passes + steps + references - 1]
    values.append(values[-1] / passes)
    for name in names:
        record = json.loads((RESULTS / f"sd15-{name}.json").read_text(encoding="utf-8"))
        operations, seconds, rate = record["floor"]
        values += [
            operations / 1e12,
            seconds,
            rate / 1e9,
            record["setting"]["repeats"],
            *record["differences"].values(),
        ]
        rows = record["rows"]
        loops = {row["batch"]: row for row in rows if row["way"] == "straightforward"}
        for row in rows:
            loop, each = loops[row["batch"]], row["seconds"] / row["batch"]
            values += [row["batch"], each, row["peak"] / 1e9, loop["seconds"] / row["seconds"]]
            values += [100 * row["peak"] / loop["peak"], 100 * seconds / each]
            for other in loops.values():  # at equal memory
                values.append(other["seconds"] / other["batch"] / each)
    return values


LOOKED_UP = {
    "sd15-cpu-64px-ways.md": ("cpu-64px-ways",),
    "sd15-cpu-64px-batches.md": ("cpu-64px-batches",),
    "speed.md": ("cpu-64px-ways", "cpu-64px-batches"),
}


@pytest.mark.parametrize("name", list(LOOKED_UP))
def test_numbers_about_the_loop_are_those_of_its_records(name):
    """Tables row by row: test_audit.py; here every number, of the sentences below them too."""
    values = loop_values(*LOOKED_UP[name])
    for title, body in typed_sections(RESULTS / name).items():
        if UNTRACED in body:
            continue
        for text in numbers(body):
            assert any(rounds_to(text, value) for value in values), f"{name}, {title}: {text}"
