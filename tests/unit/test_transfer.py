"""``kedge compare --transfer``: what remains of a gain under other samplers, in table, report and card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import kedge
from helpers.family_models import Builder, pictures, policy_of
from helpers.training_world import recipe
from kedge.cli.app import app
from kedge.evaluation.transfer import Transfer, read_transfer
from kedge.export.lora import load_lora, save_lora
from kedge.policies.lora_beside import lora_beside

REWARD = "helpers.training_world:lightness"


@pytest.fixture(scope="module")
def run(micro_lcm: Path, tmp_path_factory: pytest.TempPathFactory) -> kedge.TrainedRun:
    """A consistency model that has learnt to draw lighter pictures."""
    small = recipe(
        model={"name": str(micro_lcm), "steps": 2, "guidance": 1.0, "lora": {"rank": 4}},
        reward=REWARD,
        algorithm={"name": "rocm", "divergence": "none", "beta": 0.0},
        optimizer={"lr": 2e-2},
        training={"steps": 12, "batch_size": 2, "device": "cpu"},
    )
    small["prompts"] = {"source": "animals-45"}
    return kedge.train(small, out=tmp_path_factory.mktemp("runs") / "lighter")


def compared(run: kedge.TrainedRun, *texts: str) -> str:
    command = ["compare", str(run.path), "--count", "6", "--encoder", "none", "--device", "cpu"]
    for text in texts:
        command += ["--transfer", text]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table_stands_in_the_output_the_folder_the_report_and_the_card(run: kedge.TrainedRun) -> None:
    output = compared(run, "renoise=0", "steps=1", "guidance=2,size=[64,96]", f"beside={run.path}=0.5")
    transfer = read_transfer(run.path)
    assert transfer is not None
    labels = ["as trained", "renoise=0", "steps=1", "guidance=2 size=[64,96]", "beside=lighter=0.5"]
    assert list(transfer.gains) == labels
    assert transfer.trained == (REWARD,)
    as_trained = transfer.gains["as trained"][REWARD].difference
    assert as_trained.low > 0
    for label in labels[1:]:
        gain = transfer.gains[label][REWARD]
        assert gain.remaining.value == pytest.approx(gain.difference.value / as_trained.value)
        assert gain.remaining.value != 1
        assert label in output
    assert Transfer.from_dict(json.loads(json.dumps(transfer.to_dict()))) == transfer
    report, card = run.folder.report.read_text(), run.folder.card.read_text()
    assert "Under other samplers" in report
    assert "steps=1" in report
    assert card.count("## Under other samplers") == 1
    assert "| beside=lighter=0.5 |" in card
    assert str(run.path.parent) not in card
    assert (run.folder.transfer / "grid.png").is_file()
    # Asked again, it is read from the folder: the same to the last digit.
    numbers = (run.folder.transfer / "transfer.json").read_bytes()
    assert compared(run, "renoise=0", "steps=1", "guidance=2,size=[64,96]", f"beside={run.path}=0.5") == output
    assert (run.folder.transfer / "transfer.json").read_bytes() == numbers
    assert run.folder.card.read_text() == card


def test_the_gain_under_another_sampler_is_that_of_the_run_sampled_so(run: kedge.TrainedRun) -> None:
    """Loaded anew with other settings, measured on the same prompts and noise."""
    options = {"count": 4, "encoder": "none", "samples": 1}
    transfer = kedge.compare(run, transfer=["steps=3,renoise=0.5"], **options).transfer
    other = kedge.load_run(run.path, steps=3, renoise=0.5)
    pair = kedge.evaluate(other, **options)
    ours, theirs = pair[1].scores[REWARD], pair[0].scores[REWARD]
    gain = transfer.gains["steps=3 renoise=0.5"][REWARD]
    assert gain.difference.value == pytest.approx(float((ours - theirs).mean()), abs=1e-6)


def test_the_usual_samplers_and_those_that_cannot_be(run: kedge.TrainedRun) -> None:
    from kedge.workflows.targets import load_target
    from kedge.workflows.transfer import other_samplers

    samplers = other_samplers(load_target(run), ["auto"])
    labels = ["renoise=0", "steps=1", "steps=4", "guidance=0.5", "guidance=1.5", "size=[48,48]"]
    assert [row.label for row in samplers.rows] + list(samplers.skipped) == labels
    assert not samplers.skipped


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["stepps=2"], "--transfer stepps=2: write KEY=VALUE with one of steps.* Did you mean 'steps'"),
        (["size=50"], "multiple of 8"),
        (["eta=0"], "means nothing to lcm"),
        (["steps=999"], "50"),
        (["beside=nowhere"], "--transfer beside: no 'nowhere'"),
        (["beside=lighter=much"], "beside=LORA=WEIGHT"),
        (["beside=LCM"], "holds no|no layer|no 'LCM'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(run, texts, message) -> None:
    before = read_transfer(run.path)
    with pytest.raises(ValueError, match=message):
        kedge.compare(run, count=5, encoder="none", transfer=texts)
    assert read_transfer(run.path) == before
    with pytest.raises(ValueError, match="leave out --against"):
        kedge.compare(run, against=run, transfer=["auto"])


def test_a_policy_of_ones_own_has_its_own_sampler(tmp_path: Path) -> None:
    own = kedge.train(recipe(training__steps=1), out=tmp_path / "own")
    with pytest.raises(ValueError, match=r"own is drawn by a policy of your own .Paint."):
        kedge.compare(own, transfer=["auto"])
    assert "transfer" not in own.folder.card.read_text()


@pytest.mark.parametrize("name", ["sd15-lcm", "flux2-klein", "sana-sprint"])
def test_a_second_lora_adds_what_it_adds_and_leaves_no_trace(name: str, models: Builder, tmp_path: Path) -> None:
    """At half its weight it is what an adapter at half its strength is; afterwards nothing has changed."""
    built = models(name)
    other = policy_of(built, 2, drift=0.05)
    save_lora(other, tmp_path / "lora", {"base_model": "tiny"})
    policy = policy_of(built, 2)
    before = pictures(policy, 3)
    with lora_beside(policy, str(tmp_path / "lora"), 0.5, "--transfer beside"):
        with policy.reference():
            beside = pictures(policy, 3)
        assert torch.equal(pictures(policy, 3), beside)  # a fresh adapter adds nothing
    assert torch.equal(pictures(policy, 3), before)
    load_lora(policy, tmp_path / "lora")
    with policy.adapter.scaled(0.5):
        assert (pictures(policy, 3) - beside).abs().max() < 1e-5
    assert (beside - before).abs().max() > 1e-3
