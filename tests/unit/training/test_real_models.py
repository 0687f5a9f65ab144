"""The whole path on Stable Diffusion's true layout at random weights: train, resume, sample, export, diffusers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import LatentConsistencyModelPipeline
from typer.testing import CliRunner

from helpers.micro_models import save_micro_diffusion, save_micro_lcm
from helpers.training_world import recipe
from kedge.cli.app import app
from kedge.config import parse_config
from kedge.policies.sampling import draw
from kedge.runs.folder import RunFolder
from kedge.training.run import train
from kedge.workflows.load_run import load_run

SAVE = {"lcm": save_micro_lcm, "diffusion": save_micro_diffusion}


def config_for(model: Path, kind: str, **changes):
    block = {"name": str(model), "kind": kind, "steps": 2, "guidance": 2.0, "lora": {"rank": 4, "alpha": 8}}
    rocm = {"name": "rocm", "divergence": "kl", "beta": 1e-6}
    return parse_config(
        recipe(**{"model": block, "algorithm": rocm, "training__steps": 2, "optimizer__lr": 0.05, **changes})
    )


@pytest.mark.parametrize("kind", ["lcm", "diffusion"])
def test_a_run_on_the_true_layout_resumes_and_reloads(kind, tmp_path):
    model = SAVE[kind](tmp_path / "model")
    whole = train(config_for(model, kind, training__steps=3, checkpoint__every=1), tmp_path / "whole")
    assert (whole.step, whole.ended) == (3, "finished")
    train(config_for(model, kind, training__steps=1), tmp_path / "parts")
    train(config_for(model, kind, training__steps=3), tmp_path / "parts", resume=True)
    one, other = (load_run(tmp_path / name) for name in ("whole", "parts"))
    for a, b in zip(one.policy.trainable(), other.policy.trainable(), strict=True):
        assert torch.equal(a, b)

    images = draw(one.policy, ["a cat", "a dog"], [1, 2])
    with one.policy.reference():
        base = draw(one.policy, ["a cat", "a dog"], [1, 2])
    assert images.shape == (2, 3, 64, 64)
    assert (images - base).abs().max() > 1e-3  # it has learnt something
    folder = RunFolder(tmp_path / "whole")
    for path in (folder.card, folder.report, folder.lora / "pytorch_lora_weights.safetensors"):
        assert path.is_file()


def test_what_a_run_exports_draws_the_same_in_diffusers_and_by_the_command(tmp_path):
    model = save_micro_lcm(tmp_path / "model")
    run = tmp_path / "run"
    train(config_for(model, "lcm", optimizer__ema=0.5, training__steps=4), run)

    pipeline = LatentConsistencyModelPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(run / "lora")
    theirs = pipeline(
        "a cat", num_inference_steps=2, guidance_scale=3.0, generator=torch.Generator().manual_seed(7), output_type="np"
    ).images
    ours = draw(load_run(run).policy, ["a cat"], [7]).permute(0, 2, 3, 1).numpy()
    assert np.abs(ours - theirs).max() <= 1e-5

    exported = CliRunner().invoke(app, ["export", str(run), "--for", "comfyui", "--out", str(tmp_path / "out")])
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "out" / "comfyui.safetensors").is_file()
    command = ["sample", str(run), "--prompt", "a cat", "--seed", "7", "--out", str(tmp_path / "cat.png")]
    sampled = CliRunner().invoke(app, command)
    assert sampled.exit_code == 0, sampled.output
    grid = ["sample", str(model), "--prompt", "a cat", "--prompt", "a dog", "--count", "2", "--steps", "2"]
    result = CliRunner().invoke(app, [*grid, "--out", str(tmp_path / "grid.png")])
    assert result.exit_code == 0, result.output


def test_the_demo_trains_compares_and_shows_where_everything_is(tmp_path):
    """The same command as ``make demo``, on random weights and with a reward that needs none."""
    changes = {
        "model.name": save_micro_lcm(tmp_path / "model"),
        "model.steps": 2,
        "reward": "compressibility_proxy",
        "watch.metrics": "[oracle]",
        "watch.held_out.count": 2,
        "training.steps": 2,
        "training.batch_size": 1,
    }
    pairs = [f"{key}={value}" for key, value in changes.items()]
    done = CliRunner().invoke(app, ["demo", *pairs, "--out", str(tmp_path / "run"), "--count", "4"])
    assert done.exit_code == 0, done.output
    for word in ("compressibility proxy", "Oracle", "±", "grid", "report", "adapter", "4 prompts that neither"):
        assert word in done.output
    folder = RunFolder(tmp_path / "run")
    assert folder.report.is_file()
    assert (folder.lora / "pytorch_lora_weights.safetensors").is_file()
    assert len(list(folder.samples.iterdir())) == 1
