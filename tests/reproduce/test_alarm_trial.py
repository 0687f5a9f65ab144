"""The trial of the alarm: watched as it ships, on runs of no other page; what it heard first is counted run by run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.invented_records import EMOJI, PROMPTS, record, result
from kedge.config import RunConfig, parse_config
from kedge.config.schema import WatchConfig
from kedge.evaluation.diversity import BETWEEN, WITHIN
from kedge.evaluation.guard import JURY
from kedge.evaluation.result import Evaluation
from kedge.runs.folder import RunFolder
from kedge_papers.records.alarm_replay import with_todays_alarm
from kedge_papers.records.run_record import RunRecord, curve
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.alarm_trial import ALARM, heard_table, warned_of_judges
from kedge_papers.targets.hacking import HACKING

TRUTH, REWARD, STEPS = "oracle", "pickscore@emoji", [0, 15, 30, 45]


def watched(seed: int, sounded: list[float], truths: list[float], **signs: list[float]) -> RunRecord:
    """A run with its looks: whether the alarm sounded, what had fallen, and the truth."""
    columns = {"step": STEPS, f"held_out/{TRUTH}": truths, "alarm": [None, *sounded]}
    columns[f"held_out/{WITHIN}"] = [0.25, 0.25, 0.2, 0.2]
    for name in (JURY, WITHIN, BETWEEN):
        columns[f"alarm/{name}"] = [None, *signs.get(name, [0.0] * 3)]
    scores = {TRUTH: np.full(len(PROMPTS), truths[-1])}
    config = {"reward": REWARD, "algorithm": {"beta": 0.01, "beta_unit": 1.0}}
    run = record("alarm-beta-0.01--pickscore", seed, scores, title="0.01", curve=columns)
    return replace(run, config=config)


def test_no_run_of_the_trial_is_another_targets():
    """Neither its seeds nor its noise are those of the sweep that the thresholds were seen on."""
    options = MatrixOptions(EMOJI)
    trial, sweep = ALARM.runs(options), HACKING.runs(options)
    fixed = [run for run in sweep if "auto" not in run.name]
    assert len(trial) == len(fixed)
    assert not {run.name for run in trial} & {run.name for run in sweep}
    ours, theirs = [run for run in trial if run.train], [run for run in sweep if run.train]
    assert not {run.seed for run in ours} & {run.seed for run in theirs}
    assert {run.config().watch.seed for run in ours}.isdisjoint(run.config().watch.seed for run in theirs)


def test_the_trial_is_watched_as_a_run_is_by_default():
    by_default, watch = WatchConfig(), ALARM.runs(MatrixOptions(EMOJI))[1].config().watch
    assert (watch.encoder, watch.pictures, watch.guard) == (by_default.encoder, by_default.pictures, by_default.guard)


def test_what_was_heard_first_is_of_the_first_warning_alone():
    runs = [
        watched(0, [0, 1, 1], [0.7, 0.8, 0.75, 0.5], **{WITHIN: [1, 1, 0], JURY: [0, 0, 1]}),
        watched(1, [0, 0, 1], [0.7, 0.7, 0.6, 0.5], **{JURY: [0, 1, 1], BETWEEN: [0, 0, 1]}),
        watched(2, [0, 0, 0], [0.7, 0.8, 0.8, 0.9]),
    ]
    ((title, cells),) = heard_table({REWARD: runs}, TRUTH).rows
    assert title == "PickScore, 0.01"
    values = [cell.interval.value for cell in cells]
    # warned, of runs, mean first step, judges, within, between, truth then (0.05, -0.2); truth and variety by the end
    assert values == pytest.approx([2, 3, 37.5, 1, 1, 1, -0.075, (-0.2 - 0.2 + 0.2) / 3, 80])


def test_a_warning_of_judges_is_one_at_a_look_at_which_they_had_fallen() -> None:
    falling = watched(0, [0, 1, 1], [0.7, 0.8, 0.7, 0.5], **{WITHIN: [1, 1, 0], JURY: [0, 0, 1]})
    alike = watched(1, [0, 1, 1], [0.7, 0.8, 0.8, 0.8], **{WITHIN: [1, 1, 1], JURY: [1, 0, 0]})  # one look is none
    assert warned_of_judges(falling)
    assert not warned_of_judges(alike)


def test_nobody_warned_leaves_what_was_heard_empty():
    ((_, cells),) = heard_table({REWARD: [watched(0, [0, 0, 0], [0.7, 0.8, 0.8, 0.9])]}, TRUTH).rows
    assert cells[0].interval.value == 0
    assert cells[2:7] == (None,) * 5
    assert heard_table({REWARD: []}, TRUTH) is None


def test_a_thin_curve_keeps_its_ends_and_its_looks() -> None:
    log = [{"step": float(step), "reward": 1.0, **({"held_out/a": 0.5} if step == 20 else {})} for step in range(1, 31)]
    assert curve(log, queries=8, points=1)["step"] == [1, 20, 30]
    assert curve(log, queries=8, points=1)["queries"] == [8, 160, 240]


def test_a_records_curve_keeps_what_the_alarm_heard():
    columns = curve([{"step": 15.0, "alarm": 1.0, f"alarm/{JURY}": 1.0, "loss": 3.0}], queries=8)
    assert columns[f"alarm/{JURY}"] == [1.0]
    assert "loss" not in columns


def test_without_a_truth_there_is_nothing_to_judge_it_by():
    known = result([watched(0, [0, 0, 0], [0.7, 0.8, 0.8, 0.9])])
    shown = ALARM.show(replace(known, facts={**known.facts, "truth": None}))
    assert not shown.tables
    assert "truth" in shown.notes[0]


def looked_at(folder: Path, heights: list[float]) -> tuple[RunFolder, RunConfig, list[dict[str, float | None]]]:
    """A run folder with a look every 15 steps, its judges at such heights; its log says that no alarm sounded."""
    rng = np.random.default_rng(0)
    prompts, run, lines = tuple(f"a cat {i}" for i in range(40)), RunFolder(folder), []
    scores = {name: rng.normal(size=40) for name in (REWARD, "imagereward@emoji", "blipscore@emoji")}
    run.watched.mkdir(parents=True)
    for i, height in enumerate(heights):
        moved = {name: values + height + 0.05 * rng.normal(size=40) for name, values in scores.items()}
        moved[REWARD] = scores[REWARD] + 0.3 * i
        Evaluation("run", prompts, 60, moved).save(run.watched / f"step-{15 * i:08d}.json")
        lines.append({"step": 15.0 * i, "reward": 1.0, **({"alarm": 0.0} if i else {})})
    watch = {"evaluate_every": 15, "metrics": ["imagereward@emoji", "blipscore@emoji"]}
    config = {"model": {"name": "emoji-lcm"}, "reward": REWARD, "prompts": "animals-45", "algorithm": "rocm"}
    return run, parse_config({**config, "training": {"steps": 15 * (len(heights) - 1)}, "watch": watch}), lines


def test_a_record_says_what_todays_alarm_says_of_the_looks_that_were_kept(tmp_path: Path) -> None:
    run, config, log = looked_at(tmp_path / "run", [0.0, 0.9, 0.8, 0.3, 0.25, 0.2])
    replayed = with_todays_alarm(log, run, config)
    assert [line.get("alarm") for line in replayed] == [None, 0, 0, 0, 1, 1]  # past its best, twice in a row
    assert [line.get(f"alarm/{JURY}") for line in replayed] == [None, 0, 0, 1, 1, 1]
    assert [line["reward"] for line in replayed] == [1.0] * 6
    (run.watched / "step-00000045.json").unlink()
    assert with_todays_alarm(log, run, config) == log  # not all looks are there: as it sounded
    silent = [{"step": 0.0}, {"step": 15.0, "reward": 1.0}]
    assert with_todays_alarm(silent, run, config) == silent  # nobody asked it
