"""What the sweep over β says: a peak that was planted is found, alarms are counted, regret is against what was best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from helpers.invented_records import EMOJI, PROMPTS, record, result
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics.rates import wilson
from kedge_papers import TARGETS
from kedge_papers.records.rows import Row
from kedge_papers.records.run_record import RunRecord
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.alarm import alarm_table, verdict_table, worth_table
from kedge_papers.targets.hacking import found
from kedge_papers.targets.hacking_tables import AUTO, by_strength, fit_table
from kedge_papers.targets.regret import AT, noises, regret_table

TRUTH, REWARD = "oracle", "pickscore@emoji"
STEPS = list(range(0, 240, 15))


def sweep_run(
    title: str, seed: int, truth: float, beta: float, alarms: Sequence[float] = (), tilt: float = 0.0
) -> RunRecord:
    """A run that drifts as √step; its truth along the way is d (α − β ln d) with a peak at d = 3."""
    distances = np.sqrt(np.array(STEPS) / 10)
    alpha, fall = 0.3 * (1 + math.log(3)) + tilt, 0.3
    truths = distances * (alpha - fall * np.log(np.maximum(distances, 1e-9)))
    curve = {
        "step": STEPS,
        "queries": [8.0 * step for step in STEPS],
        "path_kl": (distances**2).tolist(),
        f"held_out/{TRUTH}": truths.tolist(),
        f"held_out/{REWARD}": distances.tolist(),
        "alarm": list(alarms) or [0.0] * len(STEPS),
    }
    scores = {TRUTH: np.full(len(PROMPTS), truth), REWARD: np.zeros(len(PROMPTS))}
    config = {"reward": REWARD, "algorithm": {"beta": beta, "beta_unit": 1.6}}
    return replace(record(f"beta-{title}--pickscore", seed, scores, title=title, curve=curve), config=config)


def test_a_planted_peak_is_found_with_an_interval_over_seeds():
    """Seeds peak at 3 and a little beside it; the trained reward rises for ever."""
    runs = [sweep_run("0", seed, 0.0, 0.0, tilt=tilt) for seed, tilt in enumerate((-0.02, 0.0, 0.02))]
    table = fit_table({REWARD: runs})
    cells = dict(table.rows)
    true, trained = cells["PickScore: Oracle (true preference)"], cells["PickScore: PickScore"]
    assert true[2].interval.value == pytest.approx(3, rel=1e-3)
    assert true[2].interval.low < 3 < true[2].interval.high
    assert trained[2] is None
    assert fit_table({REWARD: runs[:1]}) is None  # one seed has no interval over seeds
    assert fit_table({REWARD: [sweep_run("0.01", seed, 0.0, 0.01) for seed in range(2)]}) is None  # anchored


def test_alarms_are_counted_run_by_run_from_the_first_that_sounded():
    loud = [0.0] * 4 + [1.0] * (len(STEPS) - 4)
    runs = [sweep_run("0", 0, 0.0, 0.0, loud), sweep_run("0", 1, 0.0, 0.0)]
    ((_, (warned, of, first, change)),) = alarm_table({REWARD: runs}, TRUTH).rows
    assert (warned.interval.value, of.interval.value, first.interval.value) == (1, 2, STEPS[4])
    assert change.interval.value == pytest.approx(runs[0].curve[f"held_out/{TRUTH}"][-1])


def test_the_alarm_is_judged_by_whether_the_truth_of_finished_runs_fell():
    """Three runs fell, of which two were warned; of the two that rose one was. One that moved by chance alone rose not,
    and fell not: it should not have been warned."""
    loud, rng = [0.0] * 4 + [1.0] * (len(STEPS) - 4), np.random.default_rng(0)
    outcomes = [(0.1, loud), (0.2, loud), (0.3, ()), (0.8, ()), (0.9, loud), (0.4, ())]
    runs = [sweep_run("0", seed, truth, 0.0, alarms) for seed, (truth, alarms) in enumerate(outcomes)]
    chance = {TRUTH: 0.4 + rng.normal(0, 0.1, len(PROMPTS))}
    runs[5] = replace(runs[5], evaluations={"final": Evaluation("0", PROMPTS, 20, chance)})
    base = Row("base", {0: Evaluation("base", PROMPTS, 20, {TRUTH: np.full(len(PROMPTS), 0.4)})}, trained=False)
    auto = sweep_run(AUTO, 0, 0.1, 0.01, loud)  # it has a guard of its own
    ((name, (fell, warned, others, silent)),) = worth_table({REWARD: [*runs, auto]}, base, TRUTH).rows
    assert name == "PickScore"
    assert (fell.interval.value, others.interval.value) == (3, 3)
    assert (warned.interval.value, silent.interval.value) == pytest.approx((2 / 3, 2 / 3))
    assert (warned.interval.low, warned.interval.high) == pytest.approx(wilson(2, 3))
    two = worth_table({REWARD: runs[:2], "hpsv2@emoji": runs[2:]}, base, TRUTH)
    assert [name for name, _ in two.rows] == ["PickScore", "HPSv2", "all"]
    assert dict(two.rows)["PickScore"][3] is None  # nobody to leave in peace
    assert worth_table({REWARD: runs}, None, TRUTH) is None


def test_a_run_that_was_looked_at_once_could_not_have_been_warned():
    """Two looks in a row have to agree: it counts neither for the alarm nor against it."""
    run = sweep_run("0", 0, 0.1, 0.0)
    run = replace(run, curve={**run.curve, "alarm": [None] * (len(STEPS) - 1) + [0.0]})
    base = Row("base", {0: Evaluation("base", PROMPTS, 20, {TRUTH: np.full(len(PROMPTS), 0.4)})}, trained=False)
    assert alarm_table({REWARD: [run]}, TRUTH) is None
    assert worth_table({REWARD: [run]}, base, TRUTH) is None


def test_the_verdict_on_finished_models_is_judged_by_the_truth_that_it_never_sees():
    """Of three whose truth fell one pleased its judge, one cheated, one was damaged; of two others one was accused."""
    rng, judge = np.random.default_rng(0), "imagereward@emoji"
    before = {name: rng.normal(0, 1, len(PROMPTS)) for name in (REWARD, judge, TRUTH)}

    def finished(seed: int, reward: float, judged: float, truth: float) -> RunRecord:
        changes = {REWARD: reward, judge: judged, TRUTH: truth}
        scores = {name: before[name] + changes[name] + rng.normal(0, 0.1, len(PROMPTS)) for name in before}
        return replace(sweep_run("0", seed, 0.0, 0.0), evaluations={"final": Evaluation("0", PROMPTS, 20, scores)})

    runs = [finished(0, 1, 1, -1), finished(1, 1, -1, -1), finished(2, -1, -1, -1)]
    runs += [finished(3, 1, 1, 1), finished(4, 1, -1, 1)]
    base = Row("base", {0: Evaluation("base", PROMPTS, 20, before)}, trained=False)
    ((_, (fell, accused, others, silent)),) = verdict_table({REWARD: runs}, base, TRUTH).rows
    assert (fell.interval.value, others.interval.value) == (3, 2)
    assert (accused.interval.value, silent.interval.value) == pytest.approx((2 / 3, 1 / 2))


def test_regret_is_what_the_best_strength_of_the_other_seeds_has_more():
    """Seeds agree that 0.01 is best: 0.6; without an anchor 0.3; the one that finds itself has 0.5, the base 0.4."""
    runs = []
    for seed in range(3):
        runs += [sweep_run("0.01", seed, 0.6, 0.01), sweep_run("0", seed, 0.3, 0.0)]
        runs.append(sweep_run(AUTO, seed, 0.5, 0.01))
    base = record("base-consistency", None, {TRUTH: np.full(len(PROMPTS), 0.4)})
    exhibit = TARGETS.get("hacking").show(result([base, *runs], "hacking"))
    (table,) = [each for each in exhibit.tables if each.title == "The β that finds itself"]
    ((_, (seeds, gain, on_path, last, hindsight, shipped, weakest)),) = table.rows
    assert seeds.interval.value == 3
    assert (gain.interval.value, hindsight.interval.value) == pytest.approx((0.1, 0.1))
    assert shipped.interval.value == pytest.approx(0.1)  # the recipe of the β that finds itself has 0.01
    assert weakest.interval.value == pytest.approx(-0.2)
    assert on_path is last is None  # nothing was measured along the way
    assert regret_table({REWARD: runs[:3]}, None, TRUTH) is None
    assert list(by_strength(runs)) == ["0.01", "0", AUTO]


def test_a_strength_has_one_colour_in_every_panel():
    """Also where a reward has fewer of them; the one legend names all."""
    base = record("base-consistency", None, {TRUTH: np.full(len(PROMPTS), 0.4)})
    runs = [sweep_run(title, 0, 0.5, float(title)) for title in ("0.03", "0.01", "0")]
    others = []
    for title in ("0.01", "0"):
        run = sweep_run(title, 0, 0.5, float(title))
        others.append(replace(run, name=f"{run.name}-other", config={**run.config, "reward": "hpsv2@emoji"}))
    figure = TARGETS.get("hacking").show(result([base, *others, *runs], "hacking")).figure
    colours = [{line.get_label(): line.get_color() for line in panel.lines} for panel in figure.axes]
    assert [len(each) for each in colours] == [2, 3]
    assert colours[0].items() <= colours[1].items()
    assert len(set(colours[1].values())) == 3
    assert {text.get_text() for text in figure.axes[0].get_legend().get_texts()} == set(colours[1])


TWO = tuple(prompt for prompt in PROMPTS for _ in range(2))  # two pictures of each prompt, of two noises


def measured_at(run: RunRecord, scores: dict[str, np.ndarray]) -> RunRecord:
    """The run with the truth of two pictures of each prompt, by role."""
    evaluations = {role: Evaluation(run.title, TWO, 20, {TRUTH: values}) for role, values in scores.items()}
    return replace(run, evaluations=evaluations)


def regrets_of(paths: Sequence[dict[str, np.ndarray]], fixed: Sequence[np.ndarray], base: np.ndarray) -> list[float]:
    """The row's regrets: of runs with these truths along their paths, beside one fixed β and the base."""
    runs = [measured_at(sweep_run(AUTO, seed, 0.0, 0.01), path) for seed, path in enumerate(paths)]
    runs += [measured_at(sweep_run("0.01", seed, 0.0, 0.01), {"final": values}) for seed, values in enumerate(fixed)]
    before = Row("base", {0: Evaluation("base", TWO, 20, {TRUTH: base})}, trained=False)
    ((_, (_, _, *cells)),) = regret_table({REWARD: runs}, before, TRUTH).rows
    return [cell.interval.value for cell in cells]


def test_the_best_checkpoint_of_a_path_and_its_last_are_what_was_planted():
    """Kept: 0.5. On the way 0.7 at step 30, at the end 0.3; the base 0.1, the shipped β 0.6."""
    level = partial(np.full, len(TWO))
    path = {"final": level(0.5), "at-15": level(0.5), "at-30": level(0.7), "at-120": level(0.3)}
    on_path, last, hindsight, shipped, weakest = regrets_of([path] * 3, [level(0.6)] * 3, level(0.1))
    assert (on_path, last) == pytest.approx((0.2, -0.2))
    assert (hindsight, shipped, weakest) == pytest.approx((0.1, 0.1, 0.1))
    (falls, *_) = regrets_of([{"final": level(0.5), "at-15": level(0.2)}] * 3, [level(0.6)] * 3, level(0.4))
    assert falls == pytest.approx(-0.1)  # the base is on every path


def test_a_checkpoint_that_is_best_by_chance_is_no_regret():
    """Twelve checkpoints of one truth: on the noise that it was chosen by, the best looks 0.1 better than it is."""
    rng, paths = np.random.default_rng(0), []
    for _ in range(200):
        paths.append({role: rng.normal(0, 0.3, len(TWO)) for role in ("final", *map("at-{}".format, range(12)))})
    on_path, *_ = regrets_of(paths, [np.zeros(len(TWO))] * 200, np.zeros(len(TWO)))
    naive = [max(values.mean() for values in path.values()) for path in paths]
    assert abs(on_path) < 3 * 0.3 * math.sqrt(2 / len(TWO) / 200)
    assert np.mean(naive) > 0.06


def test_pictures_of_a_prompt_are_of_two_noises():
    first, second = noises(("a", "a", "b", "b"))
    assert [mask.tolist() for mask in first] == [[True, False, True, False], [False, True, False, True]]
    assert [mask.tolist() for mask in second] == [[False, True, False, True], [True, False, True, False]]
    ((choose, score),) = noises(("a", "b"))
    assert (choose & score).all()


def test_a_run_that_finds_its_beta_is_measured_along_its_path():
    """By the truth, which its judges never see; the checkpoints are there to be measured."""
    (run, *_) = found(MatrixOptions(EMOJI), "hpsv2")
    config = run.config()
    assert config.checkpoint.keep * config.checkpoint.every == config.training.steps == 120
    steps = [measure.at for role, measure in run.measures.items() if role.startswith(AT)]
    assert steps == [15, 30, 45, 60, 75, 90, 105, 120]
    final, along = run.measures["final"], run.measures["at-15"]
    assert along == replace(final, metrics=("oracle",), at=15)  # the same prompts and noise
    assert "oracle" not in config.watch.metrics
    assert config.watch.seed != final.seed
