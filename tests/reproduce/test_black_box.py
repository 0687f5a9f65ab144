"""Rewards without a gradient: who learns through what, and how much sooner, of records that never were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.invented_records import EMOJI, PROMPTS, record
from kedge_papers.records.run_record import RunRecord
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.black_box import runs, sooner_table
from kedge_papers.targets.tuning import runs as tuning_runs
from kedge_papers.targets.tuning_grid import Standing

SIZE, SMOOTH = "compressibility", "compressibility_proxy"


def test_each_learns_through_what_it_can():
    """The policy gradient by the reward, hybrid by both, ROCM by the surrogate; all are judged by the reward."""
    by_name = {run.name: run for run in runs(MatrixOptions(EMOJI))}
    rlcm, hybrid, rocm = (by_name[f"black-box-{name}--{SIZE}--0"] for name in ("rlcm", "hybrid", "surrogate"))
    assert [run.config().reward for run in (rlcm, hybrid, rocm)] == [SIZE, SIZE, SMOOTH]
    assert hybrid.config().algorithm.instance.surrogate == SMOOTH
    for run in (rlcm, hybrid, rocm):
        config, wanted = run.config(), run.measures[SIZE]
        assert {config.reward, *config.watch.metrics} == {SIZE, SMOOTH}
        assert wanted.metrics[0] == SIZE
        assert (wanted.prompts, config.watch.held_out.source) == (EMOJI.test, EMOJI.test)
        assert config.training.steps * config.training.batch_size * config.training.accumulation == 1920


def test_they_are_tuned_by_the_reward_on_prompts_of_its_own_and_no_judge_has_a_say():
    chosen = [run for run in tuning_runs(MatrixOptions(EMOJI)) if f"--{SIZE}--" in run.name]
    assert len(chosen) == 3 * 6
    for run in chosen:
        (measure,) = run.measures.values()
        assert (measure.prompts, measure.metrics) == (EMOJI.tuning, (SIZE,))
    assert Standing(0.5, ()).qualifies
    assert Standing(0.5, ()).order > Standing(0.4, ()).order


def size_run(method: str, seed: int, queries: list[float], rises: list[float], end: float) -> RunRecord:
    """A run whose curve on the test prompts goes through these points."""
    curve = {"step": list(range(len(queries))), "queries": queries, "seconds": [2 * each for each in queries]}
    curve[f"held_out/{SIZE}"] = [-3 + rise for rise in rises]
    scores = {SIZE: np.full(len(PROMPTS), end)}
    run = record(f"black-box-{method}--{SIZE}", seed, scores, title=method, curve=curve, role=SIZE, reward=SIZE)
    return replace(run, step=len(queries) - 1)


def test_ten_times_fewer_queries_are_found_where_they_were_planted():
    """RLCM ends 0.8 above its start; hybrid is there after a tenth of the queries, the surrogate never."""
    everyone: dict[str, list[RunRecord]] = {"rlcm": [], "hybrid": [], "surrogate": []}
    for seed in range(3):
        everyone["rlcm"].append(size_run("rlcm", seed, [0, 960, 1920], [0, 0.4, 0.8], -2.2))
        everyone["hybrid"].append(size_run("hybrid", seed, [0, 192, 1920], [0, 0.8, 1.5], -1.5))
        everyone["surrogate"].append(size_run("surrogate", seed, [0, 960, 1920], [0, 0.3, 0.5], -2.5))
    table = sooner_table(SIZE, everyone)
    lines = dict(table.rows)
    seeds, queries, time, above = lines["hybrid"]
    assert seeds.interval.value == 3
    assert (queries.interval.value, time.interval.value) == pytest.approx((10, 10))
    assert above is None
    _, queries, _, above = lines["surrogate"]
    assert queries is None or queries.interval.value <= 1
    assert above.interval.value == pytest.approx(1.0)
    assert "0.8" in table.note
    flat = {"rlcm": [size_run("rlcm", 0, [0, 1920], [0, -0.1], -3.1)], "hybrid": everyone["hybrid"]}
    assert sooner_table(SIZE, flat) is None
