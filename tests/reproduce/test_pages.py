"""Pages of results say what the records say, and verdicts follow from them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from docs.result_pages import (
    Published,
    conclusions,
    published,
    stale_figure,
    with_index,
    with_section,
)
from test_targets import result

from kedge.evaluation.statistics import Interval
from kedge.policies.fingerprint import KNOWN
from kedge_papers.pages.conclusions import CLAIMS
from kedge_papers.pages.exhibit import LARGEST
from kedge_papers.pages.findings import FAILS, HOLDS, MISSING, OPEN, verdict
from kedge_papers.pages.page import page
from kedge_papers.records.result import Result
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import difference, repeated, scores_table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PUBLISHED = published(RESULTS)
MOST_FILES, MOST_BYTES = 90, 6_000_000


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_published_page_is_what_its_records_say(name):
    each = PUBLISHED[name]
    exhibit = each.exhibit()
    assert (RESULTS / f"{name}.md").read_text() == each.text(exhibit), "run `make docs`"
    assert (RESULTS / f"{name}.png").is_file() == (exhibit.figure is not None)
    assert not stale_figure(name, each), "run `make docs`"


def test_conclusions_and_readme_are_what_the_results_say():
    assert (RESULTS / "conclusions.md").read_text() == conclusions(PUBLISHED), "run `make docs`"
    readme = (ROOT / "README.md").read_text()
    assert "<!-- results" in readme
    assert readme == with_section(readme, PUBLISHED), "run `make docs`"
    index = (RESULTS / "README.md").read_text()
    assert index == with_index(index, PUBLISHED), "run `make docs`"
    assert all(f"]({name}.md)" in index for name in PUBLISHED)


def test_results_stay_small():
    """A page and at most one figure for each target and claim; no copies, nothing that a user can draw himself."""
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert len(files) <= MOST_FILES
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert all(path.stat().st_size <= LARGEST for path in files if path.suffix == ".png")
    assert {path.suffix for path in files} <= {".md", ".png", ".json", ".gz"}
    contents = [path.read_bytes() for path in files]
    assert len(set(contents)) == len(contents)


def test_every_record_says_which_models_it_was_measured_with():
    """And the page says so, with the world's name: what was measured in one world holds in no other."""
    for name, each in PUBLISHED.items():
        assert each.world.startswith("World ")
        text = (RESULTS / f"{name}.md").read_text()
        for run in each.result.runs:
            assert KNOWN[run.base["digest"]] == f"{run.config['model']['name']} of {each.world.lower()}"
            assert f"{KNOWN[run.base['digest']]} ({run.base['digest'][:8]})" in text
        assert f", in {each.world}." in text


def test_generated_files_are_marked_for_version_control():
    attributes = "linguist-generated", "diff"
    names = ["docs/results/table1a.md", "docs/results/records/world-1/runs.jsonl.gz", "docs/results/README.md"]
    command = ["git", "check-attr", *attributes, "--", *names]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if told.returncode:
        pytest.skip("not a checkout")
    table, records, readme = (told.stdout.splitlines()[i : i + 2] for i in (0, 2, 4))
    assert table == [f"{names[0]}: linguist-generated: set", f"{names[0]}: diff: unset"]
    assert records == [f"{names[1]}: linguist-generated: set", f"{names[1]}: diff: unset"]
    assert readme == [f"{names[2]}: linguist-generated: unset", f"{names[2]}: diff: set"]


def test_a_page_has_table_command_budget_and_runs(tmp_path):
    each = Published(result("table4", tmp_path), "World 7")
    text = page(each.result, each.exhibit(), "table4.png", each.world)
    for part in ("# The base models", "Mirrors ROCM, Table 4", "| LCM |", "kedge reproduce table4", "`base-diffusion`"):
        assert part in text


def test_a_verdict_follows_from_the_interval():
    assert verdict(Interval(1, 0.5, 1.5, 9)) == HOLDS
    assert verdict(Interval(-1, -1.5, -0.5, 9)) == FAILS
    assert verdict(Interval(0.1, -0.5, 0.7, 9)) == OPEN


def test_claims_are_judged_from_the_results_at_hand(tmp_path):
    """In these records every run is better than the one before it in its matrix."""
    names = ("methods", "table1", "hacking", "fig4", "table4", "js", "last-step")
    results = {name: result(name, tmp_path / name) for name in names} | {"fig3": voted(0.6, 0.7)}
    findings = {claim.text: claim.finding(results) for claim in CLAIMS}
    assert MISSING not in {finding.verdict for finding in findings.values()}
    verdicts = [finding.verdict for finding in findings.values()]
    # ROCM comes before RLCM, RLCM before DDPO; unregularised before regularised; β = 0 last; exact before
    # sampled; and all learn in the same time.
    assert verdicts == [FAILS, HOLDS, HOLDS, OPEN, OPEN, FAILS, FAILS, OPEN, FAILS, FAILS, FAILS]
    assert all(claim.finding({}).verdict == MISSING for claim in CLAIMS)


def voted(*rates: float) -> Result:
    """Figure 3 as published, but for the win rates: each ± 0.05."""
    study = PUBLISHED["fig3"].result
    contests = {
        reward: {"contests": [{"crossed": {"value": rate, "low": rate - 0.05, "high": rate + 0.05}}]}
        for reward, rate in zip(study.extra["contests"], rates, strict=False)
    }
    return replace(study, extra={**study.extra, "contests": contests})


def test_raters_have_to_agree_whatever_was_trained_on():
    claim = next(claim for claim in CLAIMS if claim.command == "fig3")
    told = {
        rates: claim.finding({"fig3": voted(*rates)}) for rates in ((0.6, 0.7), (0.4, 0.3), (0.6, 0.52), (0.6, 0.3))
    }
    assert [finding.verdict for finding in told.values()] == [HOLDS, FAILS, OPEN, OPEN]
    assert "60 % (55–65) trained on HPSv2, 30 % (25–35) trained on PickScore" in told[0.6, 0.3].measured


def test_a_readme_without_the_section_stays_as_it_is(tmp_path):
    assert with_section("# Mine\n", {}) == "# Mine\n"
    made = {"table4": Published(result("table4", tmp_path), "World 1")}
    text = "a\n<!-- results: written by docs/generate.py -->\nstale words\n<!-- end of results -->\nz\n"
    once = with_section(text, made)
    assert once.startswith("a\n<!-- results")
    assert once.endswith("<!-- end of results -->\nz\n")
    assert "stale words" not in once
    assert with_section(once, made) == once


def test_seeds_that_disagree_widen_a_claims_interval(tmp_path):
    """Every prompt says the same in each seed, but one seed says the opposite of the other."""
    made = result("js", tmp_path, seeds=2)
    base, *runs = made.runs
    told = {"js-exact--0": 1.0, "js-exact--1": -1.0, "js-sampled--0": 0.0, "js-sampled--1": 0.0}
    runs = [
        replace(run, evaluations={"final": replace(run.evaluations["final"], scores=constant(run, told[run.name]))})
        for run in runs
    ]
    claim = next(claim for claim in CLAIMS if claim.command == "js")
    assert claim.finding({"js": replace(made, runs=(base, *runs))}).verdict == OPEN
    one = [run for run in runs if run.seed == 0]
    assert claim.finding({"js": replace(made, runs=(base, *one))}).verdict == HOLDS


@pytest.mark.parametrize(("second", "bold"), [(0.9, True), (-1.0, False)])
def test_bold_is_what_every_seed_bears_out(second, bold, tmp_path):
    made = result("js", tmp_path, seeds=2)
    told = {"js-exact--0": 1.0, "js-exact--1": second, "js-sampled--0": 0.0, "js-sampled--1": -0.2}
    runs = [
        replace(run, evaluations={"final": replace(run.evaluations["final"], scores=constant(run, told[run.name]))})
        for run in made.runs[1:]
    ]
    ((name, (cell,)), _) = scores_table(made, runs, "final", ["oracle"], "").rows
    assert (name, cell.bold) == (runs[0].title, bold)
    # A base model, measured once, is compared with every seed.
    base = replace(made.runs[0].evaluations["final"], scores={"oracle": np.full(12, -0.5)})
    seeds = repeated(runs, "final")[name]
    assert difference(seeds, [base], "oracle").value == pytest.approx((1.0 + second) / 2 + 0.5)


def constant(run: RunRecord, value: float) -> dict[str, np.ndarray]:
    return {metric: value + np.zeros(12) for metric in run.evaluations["final"].scores}
