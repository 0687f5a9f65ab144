"""Figure 3: trained models meet in studies of their own, raters vote over HTTP, and what they said is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kedge.evaluation.statistics import crossed_rate
from kedge_papers import TARGETS
from kedge_papers.claims.claim import Contrast
from kedge_papers.claims.contrasts import first_seeds, measure
from kedge_papers.records.result import Result
from kedge_papers.runner.command_call import CommandCall
from kedge_papers.runner.experiment_set import load_experiment_set
from kedge_papers.runner.options import MatrixOptions
from kedge_papers.targets.rocm_study import preferences

PARTS = {"facts": {"rewards": {"pickscore": "pickscore@emoji"}}}


@pytest.fixture
def call(tmp_path) -> CommandCall:
    """One reward, KL against RLCM, as little training as there can be."""
    experiments = load_experiment_set("emoji")
    experiments = replace(experiments, rows={"aesthetic": ("kl", "rlcm")}, samples=1, test_count=2)
    few = {"training.batch_size": 2, "training.accumulation": 1, "training.device": "cpu"}
    return CommandCall("fig3", MatrixOptions(experiments, budget=1000, count=4, overrides=few, least_steps=1), tmp_path)


@pytest.mark.slow
def test_models_of_one_seed_meet_and_raters_decide(call, tmp_path):
    call.matrix.go(lambda _: None)
    written = {path.suffix for path in call.finish()}
    assert written == {".md", ".csv", ".tex", ".png", ".svg"}
    text = (tmp_path / "fig3/fig3.md").read_text()
    titles = ["General preference", "Visual appeal", "Prompt alignment"]
    assert [
        line.split(": ")[1].split(" |")[0] for line in text.splitlines() if line.startswith("| Aesthetic")
    ] == titles
    assert "One pair of models: says nothing about the methods." in text

    votes = call.recorded().extra["votes"]["aesthetic"]
    assert set(votes["seed"]) == {0}
    assert votes["outcome"]
    call.finish()  # all have voted already
    assert call.recorded().extra["votes"]["aesthetic"] == votes


def study(*rates: float, raters: int = 3) -> Result:
    """Twenty prompts and some raters for each seed; ours wins by the seed's rate."""
    columns: dict[str, list] = {name: [] for name in ("question", "seed", "prompt", "rater", "outcome")}
    for seed, rate in enumerate(rates):
        for prompt in range(20):
            for rater in range(raters):
                row = ("preference", seed, f"prompt {prompt}", f"{seed}/r{rater}", float(prompt < 20 * rate))
                for column, value in zip(columns, row, strict=True):
                    columns[column].append(value)
    questions = {"preference": "General preference"}
    extra = {"votes": {"pickscore": columns}, "questions": questions, "pairs": 20, "raters": 3}
    return Result("fig3", PARTS["facts"], (), extra)


def test_a_win_rate_of_one_pair_of_models_has_no_seeds_in_it():
    """One seed's 75 % was far from one half; three seeds that disagree are not."""
    one, three = preferences(study(0.75))[0], preferences(study(0.75, 0.75, 0.2))[0]
    assert (one.seeds, three.seeds) == (1, 3)
    assert one.rate.low > 0.5
    assert three.rate.low < 0.5 < three.rate.high
    assert three.rate.value == pytest.approx((0.75 + 0.75 + 0.2) / 3)
    table = TARGETS.get("fig3").show(study(0.75)).tables[0]
    assert not table.rows[0][1][-1].bold
    agreed = TARGETS.get("fig3").show(study(0.75, 0.8, 0.7, 0.75)).tables[0]
    assert agreed.rows[0][1][-1].bold


def test_many_raters_do_not_make_up_for_seeds():
    """Sixty raters of three pairs of models that disagree: over raters and prompts alone it was beyond chance."""
    result = study(0.95, 0.9, 0.35, raters=20)
    votes = result.extra["votes"]["pickscore"]
    assert crossed_rate(votes["outcome"], [votes["prompt"], votes["rater"]]).low > 0.5
    assert preferences(result)[0].rate.low < 0.5
    assert not TARGETS.get("fig3").show(result).tables[0].rows[0][1][-1].bold


def test_one_pair_of_models_decides_no_claim():
    contrast = Contrast("raters", "preference", {"reward": "pickscore", "question": "preference"})
    assert preferences(study(0.75))[0].rate.low > 0.5
    assert measure(contrast, study(0.75)) is None
    assert measure(contrast, study(0.75, 0.8, 0.7, 0.75)).p < 0.05


def test_the_first_seeds_votes_are_a_study_of_their_own():
    assert first_seeds(study(0.75, 0.2), 1).extra["votes"] == study(0.75).extra["votes"]
    later = study(0.75, 0.2)  # of a study whose seeds count from 2000
    seeds = [seed + 2000 for seed in later.extra["votes"]["pickscore"]["seed"]]
    later.extra["votes"]["pickscore"]["seed"] = seeds
    assert set(first_seeds(later, 1).extra["votes"]["pickscore"]["seed"]) == {2000}
