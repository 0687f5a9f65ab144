"""Every ± and every bold number: over prompts and training seeds, of pictures, paired with the right model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.invented_records import PROMPTS, record, result
from kedge.evaluation.statistics import mean_interval, paired_difference
from kedge_papers.records.rows import difference, rows, unit_note, win_rate
from kedge_papers.records.tables import costs, scores_table
from kedge_papers.targets.methods import before_and_after

RNG = np.random.default_rng(0)


def noise(size: float = 0.05) -> np.ndarray:
    return size * RNG.standard_normal(len(PROMPTS))


def seeds(name: str, rises: list[float], base: np.ndarray, metric: str = "oracle"):
    return [record(name, seed, {metric: base + rise + noise()}, title=name) for seed, rise in enumerate(rises)]


@pytest.fixture
def base() -> np.ndarray:
    return RNG.standard_normal(len(PROMPTS))


def test_bold_that_ignored_seeds_vanishes_where_seeds_disagree(base):
    """Beyond chance over prompts, three times over; of three seeds one fell. The same function gives ± and bold."""
    runs = [record("base", None, {"pickscore@emoji": base}), *seeds("a", [0.5, 0.5, -0.4], base, "pickscore@emoji")]
    table = before_and_after(runs, "final", "pickscore@emoji")
    change = table.rows[0][1][2]
    assert not change.bold
    assert change.interval.low < 0 < change.interval.value
    averaged = np.mean([run.evaluations["final"].scores["pickscore@emoji"] for run in runs[1:]], axis=0)
    assert paired_difference(averaged, base, PROMPTS).low > 0  # what was printed: over prompts alone
    steady = [runs[0], *seeds("a", [0.5, 0.45, 0.4], base, "pickscore@emoji")]
    assert before_and_after(steady, "final", "pickscore@emoji").rows[0][1][2].bold


def test_the_interval_of_a_mean_is_over_seeds_too(base):
    """Models that differ by their seed more than by the prompt: ± of a table's mean is that of the seeds."""
    runs = seeds("a", [1.0, -1.0, 0.0], np.zeros(len(PROMPTS)))
    (_, (mean, *_)) = scores_table(result(runs), runs, "final", ["oracle"], "").rows[0]
    assert mean.interval.half_width == pytest.approx(mean_interval([1.0, -1.0, 0.0]).half_width, rel=0.05)


def test_the_best_row_of_a_table_is_bold_if_every_seed_bears_it_out(base):
    for rises, bold in (([0.5, 0.45, 0.4], True), ([0.9, 0.9, -0.3], False)):
        runs = [*seeds("ours", rises, base), *seeds("theirs", [0.0, 0.0, 0.0], base)]
        table = scores_table(result(runs), runs, "final", ["oracle"], "")
        assert {name: cells[0].bold for name, cells in table.rows} == {"ours": bold, "theirs": False}
        assert "20 prompts, 3 training seeds, over both at once" in table.note


def test_a_share_of_pictures_is_counted_before_seeds_are_averaged(base):
    """Averages over seeds win more often than pictures do: here nearly always, where pictures win two in three."""
    lucky = 1.0 * RNG.standard_normal((9, len(PROMPTS))) + 0.43
    runs = [record("ours", seed, {"oracle": base + rise}, title="ours") for seed, rise in enumerate(lucky)]
    measured = rows([record("base", None, {"oracle": base}), *runs], "final")
    rate = win_rate(measured["ours"], measured["base"], "oracle")
    assert rate.value == pytest.approx(float((lucky > 0).mean()))
    assert rate.value < 0.75 < float((lucky.mean(0) > 0).mean())


def test_a_trained_model_is_paired_with_its_own_seed_and_not_with_every_one(base):
    """One run of theirs, seed 1, against three of ours: only seed 1 is a pair. A base model goes with every seed."""
    ours = seeds("ours", [1.0, 2.0, 3.0], base)
    theirs = [record("theirs", 1, {"oracle": base}, title="theirs")]
    measured = rows([*ours, *theirs, record("base", None, {"oracle": base}, title="base")], "final")
    assert difference(measured["ours"], measured["theirs"], "oracle").value == pytest.approx(2.0, abs=0.05)
    assert difference(measured["ours"], measured["base"], "oracle").value == pytest.approx(2.0, abs=0.05)
    assert difference(measured["ours"], measured["base"], "oracle").half_width > 1.0
    other = rows([record("other", 7, {"oracle": base}, title="other")], "final")["other"]
    with pytest.raises(ValueError, match="have no training seed in common"):
        difference(measured["ours"], other, "oracle")


def test_one_seed_makes_nothing_bold(base):
    """Beyond chance over prompts, and yet one training: another seed might have fallen. Base models need no seed."""
    far = record("a", 0, {"pickscore@emoji": base + 5 + noise()}, title="a")
    runs = [record("base", None, {"pickscore@emoji": base}, title="base"), far]
    for table in (
        before_and_after(runs, "final", "pickscore@emoji"),
        scores_table(result(runs), runs, "final", ["pickscore@emoji"], ""),
    ):
        assert not any(cell and cell.bold for _, cells in table.rows for cell in cells)
        assert "one seed, so that nothing is bold" in table.note
    bases = [runs[0], record("other", None, {"pickscore@emoji": base + 5 + noise()}, title="other")]
    table = scores_table(result(bases), bases, "final", ["pickscore@emoji"], "")
    assert {name: cells[0].bold for name, cells in table.rows} == {"base": False, "other": True}


def test_rows_without_a_common_seed_stand_in_one_table_and_none_is_bold(base):
    runs = [record("a", 0, {"oracle": base + 5}, title="a"), record("b", 1, {"oracle": base}, title="b")]
    table = scores_table(result(runs), runs, "final", ["oracle"], "")
    assert [cells[0].bold for _, cells in table.rows] == [False, False]


def test_pictures_of_one_prompt_are_one_observation(base):
    """Two pictures of each prompt, exactly alike, make the interval no narrower."""
    once = rows(
        [record("base", None, {"oracle": base}), record("a", 0, {"oracle": base + noise(1)}, title="a")], "final"
    )
    narrow = difference(once["a"], once["base"], "oracle")
    doubled = tuple(prompt for prompt in PROMPTS for _ in range(2))
    pairs = [
        record("base", None, {"oracle": np.repeat(base, 2)}, prompts=doubled),
        record("a", 0, {"oracle": np.repeat(once["a"].scores("oracle")[0], 2)}, title="a", prompts=doubled),
    ]
    twice = rows(pairs, "final")
    wide = difference(twice["a"], twice["base"], "oracle")
    assert (wide.value, wide.low, wide.high) == pytest.approx((narrow.value, narrow.low, narrow.high))


def test_a_table_says_what_each_row_cost_and_which_hardly_trained(base):
    few = record("few", 0, {"oracle": base}, title="few")
    few = type(few)(**{**few.__dict__, "step": 4})
    runs = [record("base", None, {"oracle": base}), *seeds("enough", [0.1], base), few]
    table = scores_table(result(runs), runs, "final", ["oracle"], "")
    assert table.headers == ("Oracle (true preference)", "Steps", "Queries", "Passes")
    cells = dict(table.rows)
    assert cells["base"][1:] == (None, None, None)
    assert [cell.interval.value for cell in cells["enough"][1:]] == [50, 400, 500]
    assert "Hardly trained, fewer than 10 optimizer steps: few (4)." in table.note


def test_a_score_that_is_no_number_is_named(base):
    """A record keeps it as null, which comes back as NaN."""
    broken = base.copy()
    broken[3] = np.nan
    runs = [record("a", 0, {"oracle": base}, title="A"), record("a", 1, {"oracle": broken}, title="A")]
    with pytest.raises(ValueError, match=r"A, seed 1: 1 of 20 scores of oracle are not numbers. Remove its evaluation"):
        rows(runs, "final")


def test_a_table_says_which_runs_it_is_not_of(base):
    """Two seeds of three survived: the row is theirs, and the note says so."""
    runs = [record("base", None, {"pickscore@emoji": base}), *seeds("a", [0.5, 0.4], base, "pickscore@emoji")]
    runs.append(replace(record("a", 2, title="a"), state="diverged", step=7))
    assert "a (seed 2) diverged at step 7." in before_and_after(runs, "final", "pickscore@emoji").note


def test_a_note_tells_how_many_seeds_its_rows_have(base):
    """Not the most of any row, which the others do not have."""
    scores = {"pickscore@emoji": base}
    every = [record("base", None, scores)] + [record("a", seed, scores) for seed in range(8)]
    every += [record("b", seed, scores) for seed in range(4)]
    shown = list(rows(every, "final").values())
    assert "4 to 8 training seeds" in unit_note(shown)
    assert "8 training seeds" in unit_note(shown[:2])
    assert "to 8" not in unit_note(shown[:2])


def test_what_a_row_cost_is_of_the_runs_that_it_shows():
    """A run that diverged in its third step made the method no cheaper."""
    curve = {"step": [0, 100], "queries": [0, 800]}
    runs = [record("a", seed, curve=curve) for seed in range(2)]
    broken = replace(record("a", 2, curve={"step": [0, 3], "queries": [0, 24]}), state="diverged", step=3)
    assert costs([*runs, broken]) == costs(runs)
    assert costs([broken]) != costs(runs)
