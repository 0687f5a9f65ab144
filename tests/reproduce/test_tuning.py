"""The tuning protocol: the same queries for everybody, judged by what neither tests nor claims look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.invented_records import BASE, PROMPTS, record, result
from kedge.config import ConfigError
from kedge.evaluation.records import evaluation_folder, save_record
from kedge.evaluation.result import Evaluation
from kedge.workflows.runner.cell import MEASURED, OUTCOME
from kedge.workflows.runner.cost import step_cost
from kedge.workflows.runner.matrix import Matrix
from kedge_papers import TARGETS
from kedge_papers.claims import contrasts
from kedge_papers.claims.claim import load_claims
from kedge_papers.records.rows import rows
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.lane import Lane
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.runner.queue import Queue, Stage
from kedge_papers.targets.tuning import candidates, further, runs
from kedge_papers.targets.tuning_grid import (
    Candidate,
    as_overrides,
    chosen,
    rung_role,
    spread,
    standing_of,
    tuned,
)

EMOJI = load_experiment_set("emoji")
FEW = replace(EMOJI, rows={}, comparison=replace(EMOJI.comparison, methods=("none", "rlcm"), reward="pickscore"))
OPTIONS = MatrixOptions(FEW)
RNG = np.random.default_rng(0)
JUDGES = ("clipscore@emoji", "imagereward@emoji")


def scores(rise: float, falls: tuple[float, float] = (0.0, 0.0), base: np.ndarray | None = None) -> dict:
    start = np.linspace(-1.7, 1.7, len(PROMPTS)) if base is None else base
    jitter = 0.01 * RNG.standard_normal(len(PROMPTS))
    changes = dict(zip(("pickscore@emoji", *JUDGES), (rise, *(-fall for fall in falls)), strict=True))
    return {
        metric: start + change + (jitter if metric == "pickscore@emoji" else 0.0) for metric, change in changes.items()
    }


def test_every_method_and_reward_gets_the_same_number_of_tuning_queries():
    """By one grid; the first rung and the horizon of every configuration ask the reward equally often."""
    spent: dict[tuple[str, str], set] = {}
    for run in runs(MatrixOptions(EMOJI)):
        if run.train:
            method, reward = run.name.removeprefix("tuning-").split("--")[:2]
            cost, config = step_cost(run.config()), run.config()
            queries = (round(cost.queries * run.until), round(cost.queries * config.training.steps))
            spent.setdefault((method, reward), set()).add((config.optimizer.lr, queries))
            assert config.optimizer.schedule == "constant"
    grids = set(map(frozenset, spent.values()))
    assert len(grids) == 1
    assert {queries for _, queries in grids.pop()} == {(384, 1536)}
    assert {("none", "pickscore"), ("rlcm", "hpsv2"), ("d3po", "pickscore")} <= set(spent)


def test_the_page_says_how_far_table_1_is_from_the_horizon_of_tuning():
    """Tuned for one number of queries, run for another: that cannot be equal at equal passes, and is told."""
    page = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")
    section = " ".join(page.partition("## Hyper-parameters")[2].partition("\n## ")[0].split())
    options, queries = MatrixOptions(EMOJI), []
    for run in TARGETS.get("table1b").runs(options):
        if run.train:
            queries.append(round(step_cost(run.config()).queries * run.config().training.steps))
    assert f"{EMOJI.grid.queries[-1]:,} reward queries" in section
    assert f"between {min(queries):,} (DPOK) and {max(queries):,} queries" in section
    assert EMOJI.grid.queries[-1] == EMOJI.comparison.queries


def test_tuning_sees_neither_the_truth_nor_a_test_prompt():
    """It was chosen by the oracle, on 48 of the 66 prompts of the tables."""
    for run in runs(MatrixOptions(EMOJI)):
        for measure in run.measures.values():
            assert EMOJI.truth not in measure.metrics
            assert measure.prompts == EMOJI.tuning != EMOJI.test
            assert measure.seed != EMOJI.noise_seed  # nor the noise of the test
        if run.train:
            assert run.config().watch.evaluate_every == 0
            assert run.seed >= 1000
    with pytest.raises(ConfigError, match="no tuning prompts, because every hyper-parameter of it is published"):
        runs(MatrixOptions(load_experiment_set("papers"), "papers"))


def test_a_judge_that_is_trained_on_gives_way_to_another():
    assert EMOJI.judges("pickscore") == JUDGES
    assert EMOJI.judges("clipscore") == ("blipscore@emoji", "imagereward@emoji")
    assert EMOJI.judges("imagereward") == ("clipscore@emoji", "blipscore@emoji")


def standing(rise: float, falls: tuple[float, float] = (0.0, 0.0)):
    records = [record("base", None, scores(0.0)), record("x", 0, scores(rise, falls), title="x")]
    measured = rows(records, "final")
    return standing_of(measured["x"], measured["base"])


def test_the_largest_rise_wins_unless_a_judge_fell_beyond_chance():
    """A ruined picture can score high: 0.5 with a fallen judge loses to 0.2 without."""
    names = [Candidate("rlcm", "pickscore", rate, 8) for rate in (1e-3, 3e-3, 1e-2)]
    standings = dict(zip(names, [standing(0.1), standing(0.2), standing(0.5, (0.3, 0.0))], strict=True))
    assert chosen(standings, 2) == [names[1], names[0]]
    assert standings[names[2]].falls[0] == pytest.approx(0.3 / np.linspace(-1.7, 1.7, 20).std(ddof=1), rel=0.02)


def test_a_judge_that_says_one_thing_of_every_picture_has_no_unit():
    """It fell by 10¹⁵ standard deviations of its rounding."""
    alike = {name: np.full(20, 0.1) + 1e-17 * np.arange(20) for name in scores(0.0)}
    records = [record("base", None, alike), record("x", 0, {name: x - 0.05 for name, x in alike.items()}, title="x")]
    measured = rows(records, "final")
    assert standing_of(measured["x"], measured["base"]).worst == pytest.approx(0.05)


def test_if_every_configuration_does_damage_the_least_goes_on():
    names = [Candidate("rlcm", "pickscore", rate, 8) for rate in (1e-3, 3e-3)]
    standings = dict(zip(names, [standing(0.1, (0.0, 0.4)), standing(0.9, (0.6, 0.0))], strict=True))
    assert chosen(standings, 1) == [names[0]]
    assert chosen({names[0]: None, names[1]: standings[names[1]]}, 1) == [names[1]]  # the first diverged


def finish(options: MatrixOptions, matrix: Matrix, rises: dict[str, float]) -> None:
    """Write what each run would have left if it had been trained as far as it goes."""
    import json

    for run in matrix.runs:
        home = matrix.home(run)
        measured = json.loads((home / MEASURED).read_text()) if (home / MEASURED).is_file() else {}
        for role, measure in run.measures.items():
            if role not in measured:
                rise = rises.get(run.name.removesuffix("--1000"), 0.0)
                save_record(evaluation_folder(home), Evaluation(run.name, PROMPTS, 0, scores(rise)), role)
                measured[role] = {"asked": measure.to_dict(), "missing": {}}
        home.mkdir(parents=True, exist_ok=True)
        (home / MEASURED).write_text(json.dumps(measured))
        if run.train:
            (home / "metrics.jsonl").write_text(json.dumps({"step": run.until}) + "\n")


def test_halves_go_on_from_where_they_stand_until_one_is_left(tmp_path: Path):
    grid = candidates(FEW, "none", "pickscore")
    rises = {each.name: 0.1 * (i + 1) for i, each in enumerate(grid)}
    rises |= {each.name: 0.1 * (6 - i) for i, each in enumerate(candidates(FEW, "rlcm", "pickscore"))}
    matrix = Matrix(runs(OPTIONS), tmp_path)
    assert further(OPTIONS, matrix) == matrix.runs  # nothing is known yet
    for rung, going in ((0, 6), (1, 3), (2, 1)):
        finish(OPTIONS, matrix, rises)
        assert not matrix.left()
        matrix = replace(matrix, runs=further(OPTIONS, replace(matrix, runs=runs(OPTIONS))))
        if rung < 2:
            on = [run for run in matrix.left() if run.name.startswith("tuning-none")]
            assert len(on) == (3, 1)[rung]
            assert {run.until * round(step_cost(run.config()).queries) for run in on} == {FEW.grid.queries[rung + 1]}
            assert max(rises, key=rises.get) in {run.name.removesuffix("--1000") for run in matrix.left()}
        assert going == sum(1 for run in matrix.runs if run.name.startswith("tuning-none") and len(run.measures) > rung)
    assert not matrix.left()
    assert not (tmp_path / OUTCOME).exists()


def test_a_queue_trains_what_tuning_chose_in_the_unit_that_table_4_measured(tmp_path: Path):
    """Until both are over the later stage waits; what was settled is a file for kedge reproduce --config."""
    few = tmp_path / "few.yaml"
    few.write_text("from: emoji\nrows: {hpsv2: [], pickscore: [none, kl], aesthetic: []}\n")
    stages = (
        Stage("table4"),
        Stage("tuning", ("tuning-kl--pickscore--*",)),
        Stage("methods", ("methods-kl--*",)),
    )
    lane = Lane(Queue(str(few), stages), tmp_path / "out")
    assert lane.stage(1) is None
    _, table4 = lane.stage(0)
    for run in table4.runs:
        finish_base(table4, run, 2.0)
    options, matrix = lane.stage(1)[0].options, lane.stage(1)[1]
    assert options.experiments.spreads == dict.fromkeys(EMOJI.rewards, 2.0)
    grid = candidates(options.experiments, "kl", "pickscore")
    rises = {each.name: 0.1 * (i + 1) for i, each in enumerate(grid)}
    for _ in EMOJI.grid.queries:  # three rungs
        assert lane.stage(2) is None
        finish(options, lane.stage(1)[1], rises)
    _, methods = lane.stage(2)
    (run,) = methods.runs
    best = max(rises, key=rises.get)
    assert f"{run.overrides['optimizer.lr']:g}-{run.config().training.batch_size}" in best.replace("-32", "-16")
    assert run.config().algorithm.instance.beta_unit == 2.0
    bases = {"base-consistency-tuning", "base-diffusion-tuning"}  # nobody named them: without them nothing is chosen
    assert {run.name for run in matrix.runs} == {f"{name}--1000" for name in rises} | bases
    again = load_experiment_set(str(tmp_path / "out" / "settings.yaml"))
    assert (again.spreads, again.tuned) == (methods_set(lane).spreads, methods_set(lane).tuned)


def methods_set(lane: Lane):
    return lane.stage(2)[0].options.experiments


def finish_base(matrix: Matrix, run, deviation: float) -> None:
    """Write what Table 4's run of a model before training would have left."""
    import json

    home, values = matrix.home(run), deviation * np.array([-1.0, 1.0] * 200) * np.sqrt(399 / 400)
    (measure,) = run.measures.values()
    prompts = tuple(f"a cat {i}" for i in range(len(values)))
    save_record(evaluation_folder(home), Evaluation("x", prompts, 0, dict.fromkeys(measure.metrics, values)), "final")
    (home / MEASURED).write_text(json.dumps({"final": {"asked": measure.to_dict(), "missing": {}}}))


def recorded(rises: dict[str, list[float]], falls: tuple[float, float] = (0.0, 0.0)):
    """A grid's records: configuration → its rise at each rung that it reached."""
    records = [replace(record("base-consistency-tuning", None, scores(0.0), role="pickscore"), base=BASE)]
    for name, at_rungs in rises.items():
        one = record(f"tuning-{name}", 1000, scores(0.0))
        values = {rung_role(i): Evaluation(name, PROMPTS, 0, scores(rise, falls)) for i, rise in enumerate(at_rungs)}
        records.append(replace(one, evaluations=values))
    return result(records, "tuning")


def test_the_page_says_what_was_chosen_and_who_cannot_be_trained():
    grid = {
        "none--pickscore--0.001-8": [0.4, 0.6, 0.8],
        "none--pickscore--0.003-8": [0.5, 0.2],
        "none--pickscore--0.0003-8": [0.1],
    }
    (outcome,) = tuned(recorded(grid))
    assert (outcome.choice, outcome.untrainable) == ("0.001-8", False)
    assert as_overrides([outcome])["pickscore"]["none"]["optimizer.lr"] == 1e-3
    exhibit = TARGETS.get("tuning").show(recorded(grid))
    labels = [name for name, _ in exhibit.tables[0].rows]
    assert "none, 0.001 × 8 (chosen)" in labels
    assert "optimizer.lr: 0.001" in exhibit.notes[0]
    (outcome,) = tuned(recorded(grid, falls=(0.5, 0.0)))
    assert outcome.untrainable


def test_sensitivity_is_how_close_a_grid_comes_to_its_best():
    grid = {f"none--pickscore--{rate}-8": [rise] for rate, rise in (("0.001", 0.8), ("0.003", 0.4), ("0.01", -0.2))}
    shares = spread(recorded(grid), "pickscore", "none")
    assert sorted(shares.values()) == pytest.approx([-0.25, 0.5, 1.0], abs=0.05)
    assert spread(recorded(grid), "pickscore", "rlcm") == {}


def ended_badly(records, family: str):
    """The same records, one family of which diverged after what was measured."""
    runs = [replace(run, state="diverged") if run.family == f"tuning-{family}" else run for run in records.runs]
    return replace(records, runs=tuple(runs))


def test_nothing_is_chosen_before_every_configuration_that_goes_on_is_over():
    """One finalist is measured at the last rung, another is on its way there, and may yet do better."""
    grid = {"none--pickscore--0.001-8": [0.4, 0.6, 0.95], "none--pickscore--0.003-8": [0.5, 1.9]}
    records = recorded(grid)
    runs = [replace(run, state="partial") if "0.003" in run.name else run for run in records.runs]
    (outcome,) = tuned(replace(records, runs=tuple(runs)))
    assert outcome.choice is None
    assert as_overrides([outcome]) == {}


def test_what_diverged_on_the_way_is_not_chosen():
    """The one finalist broke on its way to the horizon: it had stood best at the rung before."""
    grid = {"none--pickscore--0.001-8": [0.4, 0.5], "none--pickscore--0.003-8": [0.6, 0.9]}
    (choice,) = tuned(ended_badly(recorded(grid), "none--pickscore--0.003-8"))
    assert (choice.choice, choice.diverged) == ("0.001-8", {"0.003-8"})
    exhibit = TARGETS.get("tuning").show(ended_badly(recorded(grid), "none--pickscore--0.003-8"))
    labels = [name for name, _ in exhibit.tables[0].rows]
    assert labels == ["none, 0.001 × 8 (chosen)", "none, 0.003 × 8 (diverged)"]
    alone = {"none--pickscore--0.003-8": []}
    (nothing,) = tuned(ended_badly(recorded(alone), "none--pickscore--0.003-8"))
    assert nothing.choice is None
    assert as_overrides([nothing]) == {}
    assert TARGETS.get("tuning").show(ended_badly(recorded(alone), "none--pickscore--0.003-8")).tables


def test_a_method_that_breaks_is_not_the_less_sensitive():
    """Its broken configuration has risen by nothing; the two methods are compared configuration by configuration."""
    grid = {
        **{f"{method}--pickscore--{rate}-8": [0.4] for method in ("none", "rlcm") for rate in ("0.001", "0.003")},
        "none--pickscore--0.01-8": [],
        "rlcm--pickscore--0.01-8": [0.4],
    }
    records = ended_badly(recorded(grid), "none--pickscore--0.01-8")
    assert spread(records, "pickscore", "none")["0.01-8"] == 0
    (claim,) = [each for each in load_claims() if each.experiment == "tuning"]
    contrast = contrasts.measure(claim.contrasts[0], records)
    assert sorted(contrast.units) == pytest.approx([-1, 0, 0], abs=0.05)
    without = replace(records, runs=tuple(run for run in records.runs if "rlcm--pickscore--0.01-8" not in run.name))
    assert contrasts.measure(claim.contrasts[0], without) is None
