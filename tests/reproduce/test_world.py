"""Experiment sets: those that ship, and files that change them."""

from __future__ import annotations

import pytest

from kedge.config import ConfigError
from kedge_papers.runner.experiment_set import SHIPPED, load_experiment_set
from kedge_papers.runner.options import MatrixOptions


@pytest.mark.parametrize("name", SHIPPED)
def test_experiment_sets_that_ship_have_what_the_papers_have(name):
    experiments = load_experiment_set(name)
    assert list(experiments.rewards) == ["pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward"]
    assert list(experiments.methods) == ["none", "js", "kl", "hellinger", "fisher", "rlcm", "ddpo", "d3po", "dpok"]
    assert list(experiments.tasks) == ["compression", "incompression", "aesthetic", "alignment"]


def test_a_file_says_only_what_it_changes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("from: papers\npasses: 45000\nbases: {consistency: {title: mine, recipe: my.yaml}}\n")
    mine, papers = load_experiment_set(str(path)), load_experiment_set("papers")
    assert (mine.passes, mine.bases["consistency"].title) == (45000, "mine")
    assert mine.bases["diffusion"] == papers.bases["diffusion"]
    assert mine.methods == papers.methods


def test_mistakes_are_told(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("from: emoji\npases: 45000\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: pases: "):
        load_experiment_set(str(path))
    with pytest.raises(ConfigError, match="choose from emoji, papers, or give a YAML file"):
        load_experiment_set("emojis")


def test_a_rows_beta_is_in_units_of_its_rewards_spread():
    options = MatrixOptions(load_experiment_set("emoji"))
    beta = {
        reward: options.row("kl", reward, 0, {}).overrides["algorithm.beta"] for reward in ("pickscore", "aesthetic")
    }
    assert beta["aesthetic"] == pytest.approx(beta["pickscore"] * options.experiments.spreads["aesthetic"], rel=1e-2)
    assert options.row("none", "pickscore", 0, {}).config().algorithm.settings.weight == 0


def test_overrides_of_the_command_have_the_last_word():
    options = MatrixOptions(
        load_experiment_set("emoji"), overrides={"training.device": "cpu", "training.batch_size": 2}
    )
    run = options.row("kl", "pickscore", 0, {})
    assert (run.config().training.device, run.config().training.batch_size) == ("cpu", 2)
