"""Pages of results say what the records say, and verdicts follow from them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from docs.demo_table import text as demo_text
from docs.demo_table import with_demo
from docs.result_pages import (
    BEFORE_CLAIMS,
    Published,
    conclusions,
    published,
    stale_figure,
    with_index,
    with_section,
)
from docs.seeds_table import PRESETS, TABLES, SeedsTable, block

from helpers.invented_records import result_of
from kedge.config import load_config
from kedge.evaluation.tables import display
from kedge.policies.fingerprint import KNOWN
from kedge_papers.claims.claim import AGAIN
from kedge_papers.pages.exhibit import LARGEST
from kedge_papers.pages.page import page
from kedge_papers.records.store import LOCK

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PUBLISHED, SECOND = published(RESULTS), published(RESULTS / AGAIN)
PAGES = [(RESULTS, PUBLISHED, name) for name in PUBLISHED] + [(RESULTS / AGAIN, SECOND, name) for name in SECOND]
MOST_FILES, MOST_BYTES = 90, 6_000_000


@pytest.mark.parametrize(("folder", "study", "name"), PAGES, ids=[f"{each[0].name}-{each[2]}" for each in PAGES])
def test_a_published_page_is_what_its_records_say(folder, study, name):
    each = study[name]
    exhibit = each.exhibit()
    assert (folder / f"{name}.md").read_text() == each.text(exhibit), "run `make docs`"
    assert (folder / f"{name}.png").is_file() == (exhibit.figure is not None)
    assert not stale_figure(name, each, folder), "run `make docs`"


def test_conclusions_and_readme_are_what_the_results_say():
    assert (RESULTS / "conclusions.md").read_text() == conclusions(PUBLISHED, SECOND), "run `make docs`"
    readme = (ROOT / "README.md").read_text()
    assert "<!-- results" in readme
    assert readme == with_section(readme, PUBLISHED, SECOND), "run `make docs`"
    index = (RESULTS / "README.md").read_text()
    assert index == with_index(index, PUBLISHED), "run `make docs`"
    assert all(f"]({name}.md)" in index for name in PUBLISHED)


def test_results_stay_small():
    """A page and at most one figure for each target and claim; no copies, nothing that a user can draw himself."""
    files = [path for path in RESULTS.rglob("*") if path.is_file() and path.name != LOCK]
    assert len(files) <= MOST_FILES
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert all(path.stat().st_size <= LARGEST for path in files if path.suffix == ".png")
    assert {path.suffix for path in files} <= {".md", ".png", ".json", ".xz"}
    contents = [path.read_bytes() for path in files if path.stat().st_size]  # no pictures: an empty file
    assert len(set(contents)) == len(contents)


def test_every_record_says_which_models_it_was_measured_with():
    """And the page says so, with the world's name: what was measured in one world holds in no other."""
    for folder, study, name in PAGES:
        each = study[name]
        assert each.world.startswith("World ")
        text = (folder / f"{name}.md").read_text()
        for run in each.result.runs:
            assert KNOWN[run.base["digest"]] == f"{run.config['model']['name']} of {each.world.lower()}"
            assert f"{KNOWN[run.base['digest']]} ({run.base['digest'][:8]})" in text
        assert f", in {each.world}." in text


def test_generated_files_are_marked_for_version_control():
    attributes = "linguist-generated", "diff"
    names = ["docs/results/table1a.md", "docs/results/records/world-1/runs.jsonl.xz", "docs/results/README.md"]
    command = ["git", "check-attr", *attributes, "--", *names]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if process.returncode:
        pytest.skip("not a checkout")
    table, records, readme = (process.stdout.splitlines()[i : i + 2] for i in (0, 2, 4))
    assert table == [f"{names[0]}: linguist-generated: set", f"{names[0]}: diff: unset"]
    assert records == [f"{names[1]}: linguist-generated: set", f"{names[1]}: diff: unset"]
    assert readme == [f"{names[2]}: linguist-generated: unset", f"{names[2]}: diff: set"]


def test_a_page_has_table_command_budget_and_runs(tmp_path):
    each = Published(result_of("table4", tmp_path), "World 7")
    text = page(each.result, each.exhibit(), "table4.png", each.world)
    for part in ("# The base models", "Mirrors ROCM, Table 4", "| LCM |", "kedge reproduce table4", "`base-diffusion`"):
        assert part in text


def test_a_readme_without_the_section_stays_as_it_is(tmp_path):
    assert with_section("# Mine\n", {}) == "# Mine\n"
    published = {"table4": Published(result_of("table4", tmp_path), "World 1")}
    text = "a\n<!-- results: written by docs/generate.py -->\nstale words\n<!-- end of results -->\nz\n"
    once = with_section(text, published)
    assert once.startswith("a\n<!-- results")
    assert once.endswith("<!-- end of results -->\nz\n")
    assert "stale words" not in once
    assert with_section(once, published) == once


def test_the_demo_on_the_page_of_results_is_what_its_record_says():
    """Every number of the section: from the scores of the pictures, which base and tuned model drew from one noise."""
    record = json.loads((ROOT / "docs" / "records" / "demo.json").read_text(encoding="utf-8"))
    block = demo_text()
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert text.count(block) == 1, "run `make docs`"
    assert with_demo(text) == text
    for metric, scores in record["base"]["scores"].items():
        change = np.mean(np.subtract(record["tuned"]["scores"][metric], scores))
        row = next(line for line in block.splitlines() if line.startswith(f"| {display(metric).title} "))
        shown = float(row.split("|")[4].split("±")[0].strip(" *").replace("−", "-"))
        assert shown == pytest.approx(change, abs=0.006)
    first = block.splitlines()[0]
    expected = [record["cores"], record["steps"], round(record["seconds"]), 66, 2, record["watched"]]
    assert [int(number) for number in re.findall(r"\b\d+\b", first)] == expected
    assert record["base"]["prompts"] == record["tuned"]["prompts"]
    assert KNOWN[record["base_model"]["digest"]].startswith("emoji-lcm of world")


@pytest.mark.parametrize("name", ["vqa", "vqa-alone"])
def test_what_the_page_on_rewards_says_of_vqa_holds_in_every_seed(name):
    """The activity is drawn better; no reward falls beyond chance, with floors or without."""
    record = json.loads((ROOT / "docs" / "records" / f"{PRESETS[name][0]}.json").read_text(encoding="utf-8"))
    floors = {metric for metric in record["base"] if f"floor({metric}" in load_config(record["preset"]).reward}
    assert len(floors) == 2
    assert record["overrides"] == ([] if name == "vqa" else ["reward=vqa@emoji"])
    assert len(record["seeds"]) == 3
    for row in record["seeds"]:
        assert row["activity"]["difference"]["low"] > 0
        for metric in record["base"]:
            assert row["changes"][metric]["difference"]["high"] > 0, metric


def test_the_flow_model_learns_by_both_ways():
    """The reward rises in every seed of both; the truth in every seed of ROCM's, and in one of RLCM's."""
    truths = {"flow": 0, "flow-rlcm": 0}
    for name in truths:
        record = json.loads((ROOT / "docs" / "records" / f"{PRESETS[name][0]}.json").read_text(encoding="utf-8"))
        assert record["steps"] == load_config(record["preset"]).training.steps
        for row in record["seeds"]:
            assert row["changes"]["pickscore@emoji"]["difference"]["low"] > 0
            truths[name] += row["changes"]["oracle"]["difference"]["low"] > 0
    assert truths == {"flow": 3, "flow-rlcm": 1}


def test_floors_hold_what_they_name_and_no_more():
    """Without an anchor: the aesthetic score falls without its floor and not with it; the truth falls either way."""
    free, alone = (
        json.loads((ROOT / "docs" / "records" / f"{PRESETS[name][0]}.json").read_text(encoding="utf-8"))
        for name in ("vqa-free", "vqa-free-alone")
    )
    unanchored = ["algorithm.beta=0", "optimizer.lr=3e-3"]
    assert (free["overrides"], alone["overrides"]) == (unanchored, ["reward=vqa@emoji", *unanchored])
    held, fell = (record["seeds"][0]["changes"] for record in (free, alone))
    assert fell["aesthetic@emoji"]["difference"]["high"] < 0
    for metric in ("aesthetic@emoji", "clipscore@emoji"):
        assert held[metric]["difference"]["high"] > 0
    for changes in (held, fell):
        assert changes["oracle"]["difference"]["high"] < 0
    assert held["hpsv2@emoji"]["difference"]["high"] < 0


def test_the_try_it_section_says_no_other_number():
    """Outside of what the record writes, only the Python that is needed."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Try it")[1].split("## Use it")[0]
    for table in TABLES:
        section = section.replace(block(table), "")
    assert re.findall(r"\d[\d.]*", re.sub(r"<!--.*?-->", "", section)) == ["3.11"]


def test_every_record_over_seeds_stands_on_a_page():
    assert {table.name for table in TABLES} == set(PRESETS)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.page}-{table.name}")
def test_the_demo_over_seeds_is_what_its_record_says(table: SeedsTable):
    """Every seed's cell is the mean difference over its pictures' prompts, and the verdicts are the runs'."""
    record = json.loads((ROOT / "docs" / "records" / f"{PRESETS[table.name][0]}.json").read_text(encoding="utf-8"))
    text = block(table)
    assert (ROOT / table.page).read_text(encoding="utf-8").count(text) == 1, "run `make docs`"
    rows = record["seeds"][: table.seeds]
    for metric in table.metrics or record["base"]:
        row = next(line for line in text.splitlines() if line.startswith(f"| {display(metric).title} |"))
        for cell, each in zip(row.split("|")[3:-1], rows, strict=True):
            shown = cell.split("±")[0].strip().replace("−", "-")
            rounding = 0.501 * 10.0 ** -len(shown.partition(".")[2])
            assert float(shown) == pytest.approx(each["changes"][metric]["difference"]["value"], abs=rounding)
    assert f"| Verdict | | {' | '.join(each['verdict'] for each in rows)} |" in text
    assert record["steps"] == load_config(record["preset"]).training.steps, "the preset changed: python -m bench.demo"


def test_the_second_study_shares_no_seed_and_no_noise_with_the_first():
    """What the first had seen chose its questions: it may not answer them."""

    def drawn(study: dict[str, Published]) -> tuple[set[int], set[int]]:
        trained, noise = set(), set()
        for each in study.values():
            for run in each.result.runs:
                noise |= {evaluation.seed for evaluation in run.evaluations.values()}
                if run.trained:
                    trained.add(run.seed)
        return trained, noise

    later = {name: each for name, each in PUBLISHED.items() if each.world not in BEFORE_CLAIMS}
    (seeds, noise), (others, more) = drawn(later), drawn(SECOND)
    assert noise
    assert more
    assert not seeds & others
    assert not noise & more
