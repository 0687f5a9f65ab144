"""``kedge probe``: a model drawn with several amounts of noise, before training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from kedge.cli.app import app
from kedge.evaluation.records import load_record
from kedge.policies import load_policy
from kedge.workflows.probe import probe
from kedge.workflows.samplers import changed, separated, usual_changes

REWARD, TEXTS = "helpers.training_world:lightness", ["a cat", "a fox", "a cow"]


def test_the_command_writes_pictures_numbers_and_what_to_train_with(micro_lcm: Path, tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "probed"
    prompts.write_text("\n".join(TEXTS))
    command = ["probe", micro_lcm, "--metrics", REWARD, "--prompts", prompts, "--steps", "2,3", "--noise", "0,1"]
    command += ["--out", out, "--device", "cpu", "--encoder", "none"]
    done = CliRunner().invoke(app, [str(part) for part in command])
    assert done.exit_code == 0, done.output
    assert "steps=2, beside renoise=0: renoise=1 " in done.output
    data = json.loads((out / "probe.json").read_text())
    assert [(record["steps"], record["noise"]) for record in data["draws"]] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert data["prompts"] == TEXTS
    assert data["model"]["kind"] == "lcm"
    with Image.open(out / "grid.png") as grid:
        assert grid.width > 4 * 128
    # What was drawn is what a model draws that is loaded so.
    stored = load_record(out, "steps=2 renoise=0")
    assert stored is not None
    other = load_policy("auto", micro_lcm, steps=2, guidance=7.5, renoise=0.0)
    from kedge.evaluation import evaluate
    from kedge.rewards import load_reward

    again = evaluate(
        other, {REWARD: load_reward(REWARD)}, TEXTS, seed=0, batch_size=6, samples_per_prompt=2, keep_images=1
    )
    assert torch.allclose(torch.tensor(again.scores[REWARD]), torch.tensor(stored.scores[REWARD]), atol=1e-5)
    # The same question is answered from the folder, to the last digit.
    before = (out / "probe.json").read_bytes()
    assert CliRunner().invoke(app, [str(part) for part in command]).output == done.output
    assert (out / "probe.json").read_bytes() == before


def test_a_model_whose_noise_has_no_key_is_drawn_in_several_steps(tmp_path: Path, emoji_as_turbo: Path) -> None:
    outcome = probe(emoji_as_turbo, [REWARD], TEXTS, kind="turbo", steps=[1, 2], out=tmp_path / "out", encoder="none")
    assert [draw.noise for draw in outcome.bearing] == [None, None]
    assert "the noise between steps of this family is as it is" in str(outcome)


@pytest.fixture
def emoji_as_turbo(micro_diffusion: Path) -> Path:
    """Any model without a guidance embedding may be drawn by Turbo's steps."""
    return micro_diffusion


def test_eta_is_what_diffusion_models_have(micro_diffusion: Path, tmp_path: Path) -> None:
    outcome = probe(
        micro_diffusion, [REWARD], TEXTS, steps=[2], noise=[0, 1], guidance=0, out=tmp_path / "out", encoder="none"
    )
    assert outcome.bearing.key == "eta"
    means = [draw.evaluation.interval(REWARD).value for draw in outcome.bearing]
    assert means[0] != means[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": [2.0]}, "from 0 .the ODE. to 1, not 2"),
        ({"noise": []}, "not None"),
        ({"steps": [0]}, "steps must be 1 or more"),
        ({"overrides": ["colour=red"]}, "unknown key 'model.colour'"),
        ({"kind": "helpers.training_world:load"}, "policy of your own"),
        ({"metrics": None}, "which rewards"),
        ({"steps": [999]}, "50"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(options, message, micro_lcm: Path, tmp_path: Path) -> None:
    keywords = {"metrics": [REWARD], "prompts": TEXTS, "out": tmp_path / "out", "encoder": "none"} | options
    with pytest.raises(ValueError, match=message):
        probe(micro_lcm, **keywords)
    assert not (tmp_path / "out").exists()


def test_a_run_is_sent_to_compare(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"kedge compare .* --transfer auto"):
        probe(tmp_path)


def test_samplers_are_written_as_keys_and_values(micro_lcm: Path) -> None:
    from kedge.config import parse_model

    model = parse_model({"name": str(micro_lcm), "steps": 4, "timesteps": [900, 700, 400, 100], "size": [64, 96]})
    assert separated("steps=2, size=[64,96],guidance=1") == ["steps=2", "size=[64,96]", "guidance=1"]
    other = changed(model, ["steps=2", "guidance=1"], "--transfer")
    assert (other.steps, other.timesteps, other.guidance) == (2, None, 1.0)
    assert changed(model, ["renoise=0"], "--transfer").timesteps == (900, 700, 400, 100)
    for text, message in [
        ("stepps=2", "Did you mean 'steps'"),
        ("steps", "write KEY=VALUE"),
        ("eta=0", "means nothing to lcm: there it is renoise"),
        ("steps=x", "model.steps"),
        ("renoise=2", "renoise"),
    ]:
        with pytest.raises(ValueError, match=message):
            changed(model, [text], "--transfer")
    usual = list(usual_changes(model, (64, 96)))
    assert usual == ["renoise=0", "steps=2", "steps=8", "guidance=3.75", "guidance=11.25", "size=[48,72]"]
