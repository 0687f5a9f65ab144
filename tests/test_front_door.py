"""``import kedge``: a flat namespace that costs nothing, and in which a library user does what each command does."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import kedge
from helpers.training_world import Climb, Paint, recipe, redness
from kedge.cli.app import app
from kedge.config import load_config

OTHER = "helpers.training_world:darkness"
ROOT = Path(__file__).parents[1]


def command(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


# The namespace.


def test_type_checkers_see_every_name_where_it_is_loaded_from():
    tree = ast.parse(Path(kedge.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.asname: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert seen == kedge._HOME


def test_every_name_is_there_and_nothing_loads_before_it_is_used():
    for name in kedge.__all__:
        assert getattr(kedge, name) is not None, name
    assert set(kedge.__all__) <= set(dir(kedge))
    script = "import sys, kedge; kedge.__all__; dir(kedge); assert not {'torch', 'pydantic', 'typer'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("registry", "least"), [(kedge.ALGORITHMS, 12), (kedge.DIVERGENCES, 9)])
def test_what_a_recipe_names_has_its_class_here(registry, least):
    names = {registry.get(name).__name__ for name in registry}
    assert len(names) >= least
    assert names <= set(kedge.__all__)


@pytest.mark.parametrize(
    ("wrong", "right"), [("rocm", "ROCM"), ("evalute", "evaluate"), ("load_rewards", "load_reward"), ("Ppo", "PPO")]
)
def test_a_wrong_name_is_answered_with_the_nearest(wrong, right):
    with pytest.raises(AttributeError, match=f"no attribute {wrong!r}. Did you mean {right!r}"):
        getattr(kedge, wrong)
    assert not hasattr(kedge, "nothing_like_it")


def test_packages_are_reached_through_it_too():
    script = "import kedge; assert kedge.rewards.REWARDS and kedge.gaussian.Gaussian"
    subprocess.run([sys.executable, "-c", script], check=True)


# Training.


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[kedge.TrainedRun, kedge.TrainedRun]:
    """One by keywords with Python's own objects, one by text: otherwise alike."""
    root = tmp_path_factory.mktemp("runs")
    small = recipe(optimizer__lr=1.0, training__steps=1, watch__metrics=[OTHER])
    first = kedge.train(
        small,
        out=root / "first",
        reward=redness,
        algorithm=Climb(beta=0.0),
        optimizer={"lr": 1e-2},
        training={"steps": 40, "batch_size": 8},
    )
    texts = ("optimizer.lr=1e-2", "training.steps=40", "training.batch_size=8", "algorithm.beta=0.0")
    return first, kedge.train(small, *texts, out=root / "second")


def test_objects_and_keywords_are_what_text_is(runs):
    first, second = runs
    assert first.config == second.config
    assert load_config(first.folder.config).reward == "helpers.training_world:redness"
    assert [line["loss"] for line in first.metrics] == [line["loss"] for line in second.metrics]


def test_a_run_knows_its_files_its_numbers_and_its_model(runs):
    run, _ = runs
    assert run.path.name == "first"
    assert run.step == 40
    assert len(run.metrics) == 40
    assert run.metrics[-1]["reward"] > run.metrics[0]["reward"]
    assert run.folder.report.is_file()
    assert isinstance(run.policy, Paint)
    loaded = kedge.load_run(run.path)
    assert loaded.step == 40
    for ours, theirs in zip(run.policy.trainable(), loaded.policy.trainable(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_goes_on(runs, tmp_path):
    folder = shutil.copytree(runs[0].path, tmp_path / "again")
    run = kedge.train(folder, "training.steps=42", resume=True)
    assert run.path == folder
    assert [line["step"] for line in run.metrics][-1] == 42
    with pytest.raises(kedge.FolderTaken):
        kedge.train(folder, out=folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": lambda images, prompts: images}, "reward: .*'<lambda>'.* at the top of a module"),
        ({"optimizer": {"lrr": 1}}, "unknown key 'optimizer.lrr'. Did you mean 'lr'?"),
        ({"training": {"steps": {1, 2}}}, "training.steps takes text, numbers, lists, functions or a block, not set"),
        ({"optimiser": {"lr": 1}}, "unknown key 'optimiser'. Did you mean 'optimizer'?"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(changes, message, tmp_path):
    with pytest.raises(kedge.ConfigError, match=message):
        kedge.train(recipe(), out=tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_presets_by_name_with_any_change():
    from kedge.workflows.recipes import read_recipe

    text = read_recipe("emoji-rocm", ["algorithm=rlcm", "algorithm.epochs=2", "prompts=animals-45", "model.steps=4"])
    changes = {
        "algorithm": kedge.RLCM(epochs=2),
        "prompts": {"source": "animals-45"},
        "model": {"steps": 4, "lora": kedge.LoraConfig()},
    }
    assert read_recipe("emoji-rocm", changes=changes) == text
    assert read_recipe(text) == text
    assert read_recipe(text, ["model.steps=4"], {"algorithm": {"name": "rlcm", "epochs": 2}}) == text
    assert "emoji-rocm" in [preset.name for preset in kedge.presets()]


def test_prompts_may_be_the_list_of_them(tmp_path):
    texts = ["a cat", "a dog, and two cats", "a fox"]
    run = kedge.train(recipe(training__steps=1), out=tmp_path / "run", prompts={"source": texts, "shuffle": False})
    assert load_config(run.folder.config).prompts.source == tuple(texts)
    assert kedge.load_prompts(load_config(run.folder.config, ["prompts=[a cow, a hen]"]).prompts.source) == [
        "a cow",
        "a hen",
    ]
    assert set(kedge.evaluate(run, metrics=[redness])[0].prompts) == set(texts)
    assert set(kedge.evaluate(run, metrics=[redness], prompts=texts, count=2)[0].prompts) < set(texts)


# What the commands say of a run, Python says too.


def test_evaluate_is_the_command(runs):
    run, _ = runs
    data = json.loads(command("eval", run.path, "--count", 12, "--samples", 2, "--format", "json", "--fresh"))
    evaluations = kedge.evaluate(run, count=12, samples=2, fresh=True)
    assert (
        [row["name"] for row in data["rows"]] == [evaluation.name for evaluation in evaluations] == ["paint", "first"]
    )
    for row in data["rows"]:
        for metric in evaluations.metrics:
            assert row[metric] == evaluations[row["name"]].interval(metric).to_dict()
    assert (
        evaluations["first"].interval("helpers.training_world:redness").value
        > evaluations[0].interval("helpers.training_world:redness").value
    )
    assert str(evaluations) == command("eval", run.path, "--count", 12, "--samples", 2)
    with pytest.raises(KeyError, match="there are paint, first"):
        evaluations["second"]


def test_compare_is_the_command(runs):
    run, other = runs
    options = ("--count", 12, "--format", "json", "--fresh")
    data = json.loads(command("compare", run.path, *options))
    compared = kedge.compare(run, count=12, fresh=True)
    changes = {change.metric: change for change in compared.comparison.rewards}
    assert len(data["rows"]) == len(changes) == 2
    for row, metric in zip(data["rows"], changes, strict=True):
        assert row["difference"] == changes[metric].difference.to_dict()
        assert row["wins"] == changes[metric].wins.to_dict()
    assert compared.verdict is not None
    assert compared.grid.is_file()
    assert compared.report == run.folder.report
    assert str(compared) == command("compare", run.path, "--count", 12).rstrip("\n")
    against = kedge.compare(run.path, against=other, count=6, metrics=[OTHER])
    assert against.verdict is None
    assert against.comparison[OTHER].difference.value == 0  # both are one training


def test_rewards_and_prompts_of_ones_own(runs):
    run, _ = runs

    def redder(images, prompts):
        return 2 * redness(images, prompts)

    evaluations = kedge.evaluate(
        run, metrics={"redder": redder, "red": redness}, prompts=["a cat", "a dog"], base=False
    )
    assert len(evaluations) == 1
    assert evaluations[0].prompts == ("a cat", "a dog")
    assert evaluations[0].values("redder") == pytest.approx(2 * evaluations[0].values("red"))
    listed = kedge.evaluate(run, metrics=[redness, OTHER], prompts=["a cat", "a dog"], base=False)
    assert listed.metrics == ("helpers.training_world:redness", OTHER)
    assert listed[0].values("helpers.training_world:redness") == pytest.approx(evaluations[0].values("red"))


def test_functions_are_measured_again_since_they_may_have_changed(runs):
    def scorer(factor):
        def score(images, prompts):
            return factor * redness(images, prompts)

        return {"score": score}

    once, thrice = (
        kedge.evaluate(runs[0], metrics=scorer(factor), prompts=["a cat", "a dog"])["first"] for factor in (1, 3)
    )
    assert thrice.values("score") == pytest.approx(3 * once.values("score"))


def test_a_policy_in_memory_is_measured_beside_its_base(runs):
    policy = runs[0].policy
    options = {"metrics": [OTHER], "prompts": ["a cat", "a dog"], "fresh": True}
    by_run, by_policy = (kedge.evaluate(target, **options) for target in (runs[0], policy))
    assert [evaluation.name for evaluation in by_policy] == ["base", "tuned"]
    for ours, theirs in zip(by_policy, by_run, strict=True):
        assert ours.values(OTHER) == pytest.approx(theirs.values(OTHER))


def test_sample_and_plan_are_the_commands(runs, tmp_path):
    run, _ = runs
    command("sample", run.path, "--prompt", "a cat", "--prompt", "a dog", "--count", 2, "--out", tmp_path / "a.png")
    samples = kedge.sample(run, ["a cat", "a dog"], count=2)
    assert samples.images.shape == (4, 3, 8, 8)
    assert samples.save(tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    base = kedge.sample(run.policy, "a cat", base=True)
    assert not torch.equal(base.images[0], samples.images[0])
    text = command("plan", run.path, "training.steps=7")
    assert str(kedge.plan(run.path, training={"steps": 7})) == text.rstrip("\n")
