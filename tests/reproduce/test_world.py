"""Experiment sets: those that ship, files that change them, and the three sets of prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from docs.result_pages import published

from kedge.algorithms.advantages import Scope
from kedge.config import ConfigError
from kedge.config.workload import workload_of
from kedge.prompts import load_prompts
from kedge_papers import TARGETS
from kedge_papers.runner.experiment_set import SHIPPED, load_experiment_set
from kedge_papers.runner.options import MatrixOptions

EMOJI = load_experiment_set("emoji")


@pytest.mark.parametrize("name", SHIPPED)
def test_experiment_sets_that_ship_have_what_the_papers_have(name):
    experiments = load_experiment_set(name)
    assert list(experiments.rewards) == ["pickscore", "aesthetic", "hpsv2", "clipscore", "blipscore", "imagereward"]
    rows = ["none", "js", "kl", "hellinger", "fisher", "rlcm", "ddpo", "d3po", "dpok"]
    assert list(experiments.methods)[: len(rows)] == rows  # what else one would take comes after them
    assert list(experiments.tasks) == ["compression", "incompression", "aesthetic", "alignment"]


def test_a_file_says_only_what_it_changes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("from: papers\npasses: 45000\nbases: {consistency: {title: mine, recipe: my.yaml}}\n")
    own, papers = load_experiment_set(str(path)), load_experiment_set("papers")
    assert (own.passes, own.bases["consistency"].title) == (45000, "mine")
    assert own.bases["diffusion"] == papers.bases["diffusion"]
    assert own.methods == papers.methods


def test_a_file_may_change_a_file_that_changes_one(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("from: emoji\npasses: 45000\nqueries: 90\n")
    second.write_text(f"from: {first}\nqueries: 100\n")
    own = load_experiment_set(str(second))
    assert (own.passes, own.queries, own.methods) == (45000, 100, EMOJI.methods)
    first.write_text(f"from: {second}\n")
    with pytest.raises(ConfigError, match=r"first\.yaml: from: .*second\.yaml is itself from there"):
        load_experiment_set(str(second))
    first.write_text("from: nowhere.yaml\n")
    with pytest.raises(ConfigError, match=r"first\.yaml: from: nowhere\.yaml is no file"):
        load_experiment_set(str(first))


def test_mistakes_are_told(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("from: emoji\npases: 45000\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: pases: "):
        load_experiment_set(str(path))
    choices = "emoji, papers, again, again-bases, again-raters"
    with pytest.raises(ConfigError, match=f"choose from {choices}, or give a YAML file"):
        load_experiment_set("emojis")


def test_no_prompt_is_trained_tuned_and_tested_on():
    """Three sets, no two of which share a prompt; and none of the tuning's is among the unseen ones."""
    train, tuning, test, unseen = (set(load_prompts(s)) for s in (EMOJI.train, EMOJI.tuning, EMOJI.test, EMOJI.unseen))
    assert [len(prompts) for prompts in (train, tuning, test)] == [54, 48, 132]
    assert not train & tuning
    assert not train & test
    assert not tuning & test
    assert not tuning & unseen
    assert not train & unseen


def test_training_prompts_are_all_trained_on():
    """A function's prompts count as the user's own, of which a tenth would be kept back a second time."""
    from kedge.prompts.sets import PromptSets

    for target in ("table1b", "methods", "hacking", "tuning"):
        for run in TARGETS.get(target).runs(MatrixOptions(EMOJI)):
            if run.train:
                prompts = run.config().prompts
                assert (prompts.source, prompts.tuning, prompts.test) == (EMOJI.train, 0, 0)
    assert len(PromptSets(run.config(), new=True).train) == 54


@pytest.mark.parametrize("target", ["table1", "methods", "hacking", "fig4", "js", "tuning", "demo"])
def test_models_are_measured_on_prompts_that_they_were_not_trained_on(target):
    for run in TARGETS.get(target).runs(MatrixOptions(EMOJI)):
        if run.train:
            config = run.config()
            trained = set(load_prompts(config.prompts.source))
            sources = [measure.prompts for measure in run.measures.values()]
            sources += [config.watch.held_out.source] if config.watch.held_out and config.watch.evaluate_every else []
            for source in sources:
                assert not trained & set(load_prompts(source)), f"{run.name} is measured on prompts of its training"


def test_one_pictures_luck_is_not_the_models():
    """Several pictures of each test prompt, from a noise seed that no training, tuning or demo uses."""
    measure = MatrixOptions(EMOJI).measure()
    assert measure.samples >= 2
    tuning = TARGETS.get("tuning").runs(MatrixOptions(EMOJI))[0]
    assert {each.seed for each in tuning.measures.values()} == {measure.seed + 1}
    assert measure.seed not in (0, 1, 2, 1000, 1234)


def test_beta_is_in_deviations_of_the_reward_everywhere():
    """In the comparison of all methods it was in PickScore's units, whatever was trained on."""
    options = MatrixOptions(EMOJI)
    others = [run for name in ("methods", "hacking") for run in TARGETS.get(name).runs(options)]
    for reward, spread in EMOJI.spreads.items():
        for run in (options.row("kl", reward, 0, {}), *others):
            rocm = run.config().algorithm.instance
            if run.overrides.get("reward") == EMOJI.rewards[reward] and getattr(rocm, "beta", 0):
                assert rocm.beta in {0.01, *EMOJI.sweep.betas}  # the same number for every reward
                assert rocm.weight == pytest.approx(rocm.beta * spread)
    assert options.row("none", "pickscore", 0, {}).config().algorithm.instance.weight == 0


def test_a_reward_without_a_deviation_is_refused_where_beta_counts_in_them():
    """It was taken for 1: β of a reward that varies by 0.1 was ten times too strong."""
    few = MatrixOptions(replace(EMOJI, spreads={"pickscore": 1.58}), "mine")
    with pytest.raises(ConfigError, match="mine: spreads has no standard deviation of hpsv2"):
        few.row("kl", "hpsv2", 0, {})
    assert few.row("none", "hpsv2", 0, {}).config().algorithm.instance.weight == 0
    assert few.row("rlcm", "hpsv2", 0, {}).train
    assert set(EMOJI.spreads) == set(EMOJI.rewards)


def test_the_papers_betas_stay_in_the_rewards_own_numbers():
    papers = MatrixOptions(load_experiment_set("papers"), "papers", least_steps=1)
    for reward in papers.experiments.rewards:
        rocm = papers.row("kl", reward, 0, {}).config().algorithm.instance
        assert (rocm.beta, rocm.beta_unit, rocm.weight) == (None, 1, 1e-4)
    swept = [run.config().algorithm.instance for run in TARGETS.get("hacking").runs(papers) if run.train]
    assert {rocm.weight for rocm in swept} == set(papers.experiments.sweep.betas)
    assert "numbers" in " ".join(papers.experiments.protocol.split())


def test_the_deviations_are_those_of_the_recorded_base_model():
    base = published()["table4"].result.run("base-consistency").evaluations["final"]
    page = (Path(__file__).parents[2] / "docs" / "algorithms" / "rocm.md").read_text(encoding="utf-8")
    for reward, spread in EMOJI.spreads.items():
        assert spread == pytest.approx(base.scores[EMOJI.rewards[reward]].std(ddof=1), rel=5e-3)
        assert f"| `{EMOJI.rewards[reward]}` | {spread:g} |" in page


def test_overrides_of_the_command_have_the_last_word():
    options = MatrixOptions(EMOJI, overrides={"training.device": "cpu", "training.batch_size": 2})
    run = options.row("kl", "pickscore", 0, {})
    assert (run.config().training.device, run.config().training.batch_size) == ("cpu", 2)


def test_what_tuning_chose_is_what_is_trained():
    chosen = {"pickscore": {"rlcm": {"optimizer.lr": 1e-3, "training.batch_size": 8, "training.accumulation": 1}}}
    tuned = MatrixOptions(type(EMOJI)(**{**EMOJI.__dict__, "tuned": chosen}))
    for run in (tuned.row("rlcm", "pickscore", 0, {}), *TARGETS.get("methods").runs(tuned)):
        if run.train and "rlcm" in run.name:
            config = run.config()
            assert (config.optimizer.lr, config.training.batch_size, config.training.accumulation) == (1e-3, 8, 1)
    assert tuned.row("rlcm", "hpsv2", 0, {}).config().optimizer.lr == 3e-3  # the preset's own


@pytest.mark.parametrize("name", SHIPPED)
def test_no_policy_gradient_learns_from_a_single_sample(name):
    """RLCM with a batch of one, on 4,000 prompts: the advantage was exactly 0 in all 20,454 steps."""
    experiments = load_experiment_set(name)
    options = MatrixOptions(experiments, name, least_steps=1)
    rng = np.random.default_rng(0)
    for method in ("rlcm", "ddpo"):
        config = options.row(method, "pickscore", 0, {}).config()
        algorithm = config.algorithm.instance
        samples = workload_of(config).samples
        assert samples >= 2
        largest = 0.0
        scope: Scope = algorithm.normalise
        state: dict = {}
        for _ in range(20):
            prompts = [f"prompt {i}" for i in rng.integers(0, 4000, samples)]
            largest = max(largest, largest_advantage(algorithm, prompts, rng.normal(20, 1, samples), state, scope))
        assert largest > 0.1


def largest_advantage(algorithm, prompts, rewards, state, scope) -> float:
    """Of one batch of experience, by the algorithm's own rule."""
    import torch

    from kedge.algorithms.base import Context

    class Prompts:
        def take(self, count):
            return prompts[:count]

        def state_dict(self):
            return {}

        def load_state_dict(self, state): ...

    context = Context(None, None, Prompts())  # type: ignore[arg-type]
    context.state.update(state)
    advantages = algorithm.advantages(context, prompts, torch.tensor(rewards, dtype=torch.float32))
    state.update(context.state)
    return float(advantages.abs().max())
