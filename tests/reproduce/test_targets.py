"""Every target: its runs can be told; from records alone it draws the rows, columns and axes of the papers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from helpers.invented_records import EMOJI, result_of
from kedge.training.before_loading import check_guard
from kedge.workflows.runner.cost import step_cost
from kedge_papers import TARGETS
from kedge_papers.pages.exhibit import Exhibit, save_exhibit
from kedge_papers.pages.page import page
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.rocm_figures import preferences

REST = ("D3PO", "DPOK", "Diffusion", "LCM")
ALIKE = ("table1a", "table1c", "table1d", "rlcm-fig5")  # their neighbours draw the same way
SEVERAL = ("table1b", "fig4", "rlcm-fig7")
ELSEWHERE = ("fig3", "estimators", "dimension")  # votes and gradients are not in the runs: they have tests of their own


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("name", [name for name in TARGETS if name not in (*ELSEWHERE, *ALIKE)])
def test_it_draws_from_records_alone(name, seeds, tmp_path):
    """Tables in three formats, a chart in two, a grid of pictures in one; at most one figure."""
    if seeds == 2 and name not in SEVERAL:
        pytest.skip("several seeds are drawn alike")
    exhibit = TARGETS.get(name).show(result_of(name, tmp_path, seeds=seeds))
    files = save_exhibit(exhibit, tmp_path / "shown", name)
    assert files
    assert all(path.stat().st_size > 0 for path in files)
    tables = {".md", ".csv", ".tex"} if exhibit.tables else set()
    picture = isinstance(exhibit.figure, Image.Image)
    figures = {".png"} if picture else {".png", ".svg"} if exhibit.figure else set()
    assert {path.suffix for path in files} == tables | figures
    assert not picture or TARGETS.get(name).pictures


@pytest.mark.parametrize("world", ["emoji", "papers"])
@pytest.mark.parametrize("name", list(TARGETS))
def test_every_run_of_every_target_can_be_told(name, world):
    """Each has options that are allowed, and a price."""
    if world == "papers" and name in ("tuning", "demo"):
        pytest.skip("it is the emoji world's: the papers' hyper-parameters are published")
    for run in TARGETS.get(name).runs(MatrixOptions(load_experiment_set(world), world, least_steps=1)):
        config = run.config()
        assert not run.train or step_cost(config).passes > 0
        assert config.model.name.startswith("emoji-") == (world == "emoji")


def shown(name: str, folder: Path) -> Exhibit:
    """What a target shows of invented records, also as files in ``folder``."""
    exhibit = TARGETS.get(name).show(result_of(name, folder))
    save_exhibit(exhibit, folder, name)
    return exhibit


def test_table_1_has_the_papers_rows_and_columns(tmp_path, monkeypatch):
    papers = tuple(name for name in EMOJI.methods if name not in ("grpo", "draft"))  # each on every reward, as there
    rows = dict.fromkeys(EMOJI.rewards, papers)
    monkeypatch.setattr("helpers.invented_records.EMOJI", replace(EMOJI, rows=rows))
    shown("table1", tmp_path)
    parts = (tmp_path / "table1.md").read_text().split("**(")[1:]
    assert [part[:1] for part in parts] == ["a", "b", "c", "d"]
    assert "HPSv2 as reward model" in parts[0]
    head = [cell.strip() for cell in parts[0].splitlines()[2].split("|")[2:-1]]
    metrics = ["PickScore", "Aesthetic", "CLIPScore", "BLIPScore", "ImageReward", "Oracle (true preference)"]
    assert head == [*metrics, "Steps", "Queries", "Passes"]
    rows = [line.split("|")[1].strip() for line in parts[0].splitlines() if line.startswith("| ")][1:]
    paper = ["No-Regularization", "JS-Divergence", "KL-Divergence", "Hellinger", "Fisher-Divergence"]
    assert rows == [*paper[:1], "No-Regularization, equal queries", *paper[1:], "RLCM", "DDPO", *REST]
    assert "PickScore" not in parts[1].splitlines()[2]  # not judged by what it was trained on


def test_no_two_rows_of_table_1_are_one_regulariser():
    """JS and Hellinger per dimension are KL at any drift that occurs: their rows would be KL's once more."""
    for rows in EMOJI.rows.values():
        assert not {"js", "hellinger"} & set(rows)
        assert {"none", "kl", "fisher"} <= set(rows)


def test_table_4_has_the_papers_rows_and_columns(tmp_path):
    shown("table4", tmp_path)
    rows = list(csv.reader(io.StringIO((tmp_path / "table4.csv").read_text())))[1:]
    assert [row[0] for row in rows[:: len(EMOJI.metrics)]] == ["Diffusion", "LCM"]
    columns = [row[1].removesuffix("@emoji") for row in rows[: len(EMOJI.metrics)]]
    assert columns == ["pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward", "oracle"]


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ALIKE])
def test_a_page_is_drawn_of_what_there_is_so_far(name, tmp_path):
    """Of no run, of the models before alone, and while the last of them trains: a queue records after each run."""
    whole = result_of(name, tmp_path)
    half = list(whole.runs[: len(whole.runs) // 2 + 1])
    last = half[-1]
    if last.trained:
        begun = {column: values[:3] for column, values in last.curve.items()}
        half[-1] = replace(last, state="partial", step=3, curve=begun, evaluations={}, notes={}, pictures={})
    for runs in ([], [run for run in whole.runs if not run.trained], half):
        result = replace(whole, runs=tuple(runs), extra={})
        text = page(result, TARGETS.get(name).show(result), "figure.png")
        assert all(f"| `{run.family}` |" in text for run in runs)


def test_the_sweep_counts_pictures_that_are_preferred_to_the_base_model(tmp_path):
    recorded = result_of("fig4", tmp_path)
    points = preferences(recorded)
    assert [beta for beta, _ in points] == [f"{beta:g}" for beta in EMOJI.sweep.betas]
    base = recorded.run("base-consistency").evaluations["final"].scores["oracle"]
    ours = next(run for run in recorded.runs if run.name.startswith("beta-")).evaluations["final"].scores["oracle"]
    assert points[0][1]["oracle"].value == pytest.approx(float((ours > base).mean()))


def test_the_matrix_of_over_optimisation_is_twice_as_deep_where_it_is_looked_at_closest():
    """Four rewards at four β and at the one that finds itself; PickScore's runs are twice as long and twice as many."""
    runs = [run for run in TARGETS.get("hacking").runs(MatrixOptions(EMOJI, seeds=3)) if run.train]
    assert len(runs) == 5 * (6 + 3 + 3 + 3)
    for run in runs:
        config, auto = run.config(), "beta-auto" in run.name
        longer = "pickscore" in run.name
        assert config.training.steps == (240 if longer else 120)
        assert config.training.steps // config.watch.evaluate_every == (24 if auto else 16) // (1 if longer else 2)
        assert ("oracle" in config.watch.metrics) != auto  # what finds itself is not even shown the truth
        assert {"blipscore@emoji", "imagereward@emoji"} <= set(config.watch.metrics)
    assert {run.name for run in TARGETS.get("fig4").runs(MatrixOptions(EMOJI, seeds=3)) if run.train} <= {
        run.name for run in runs
    }


def test_the_beta_that_finds_itself_is_judged_on_tuning_prompts():
    """By judges that may judge the trained reward; from noise that no test uses."""
    for run in TARGETS.get("hacking").runs(MatrixOptions(EMOJI)):
        if "beta-auto" in run.name:
            config = run.config()
            check_guard(config)
            assert config.algorithm.instance.anchor == "auto"
            assert config.watch.held_out.source == EMOJI.tuning
            assert config.watch.seed != EMOJI.noise_seed


def test_the_penalties_of_all_divergences_are_equal_for_small_drifts():
    """What emoji.yaml promises: each β times its divergence is KL's β times δ²/2, on average over the steps."""
    import torch

    from kedge.config import load_config
    from kedge.divergences import make_divergence
    from kedge.gaussian import Gaussian
    from kedge.training.assemble import build_policy

    policy = build_policy(load_config(EMOJI.bases["consistency"].recipe).model, torch.device("cpu"), lora=False)
    x, cond, penalty = torch.zeros(1, *policy.latent_shape), policy.encode(["a cat"]), {}
    for name in ("kl", "js", "hellinger", "fisher"):
        overrides = EMOJI.methods[name].overrides
        divergence, total = make_divergence(overrides["algorithm.divergence"], None), 0.0
        for k in range(policy.steps, 1, -1):
            std = policy.transition(x, k, cond).std
            moved = Gaussian(1e-2 * std * torch.ones_like(x), std)  # a drift of a hundredth of the noise
            total += float(divergence(moved, Gaussian(torch.zeros_like(x), std)))
        penalty[name] = overrides["algorithm.beta"] * total
    assert penalty == pytest.approx(dict.fromkeys(penalty, penalty["kl"]), rel=0.05)
