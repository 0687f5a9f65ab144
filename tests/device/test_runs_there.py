"""Whole runs on another device than the CPU: nothing is left behind on the wrong one, and the numbers are the CPU's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from helpers.training_world import recipe
from kedge.cli.app import app
from kedge.config import parse_config
from kedge.evaluation.run_log import read_log
from kedge.policies.sampling import draw
from kedge.training.run import train
from kedge.workflows.load_run import load_run

pytestmark = pytest.mark.gpu

ROCM = {"name": "rocm", "divergence": "js", "beta": 1e-6}
POLICY_GRADIENT = {"sample_batch_size": 2, "buffer_size": 4, "min_count": 2}
FRUGAL = {"vae_checkpoint": True, "vae_slicing": True, "offload_text_encoders": True, "offload_activations": True}
MEASURED = ("--metrics", "pickscore@emoji,compressibility", "--count", "2", "--prompts", "animals-45")
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "rocm": ("sd15-lcm", {"algorithm": ROCM}),
    "rocm, frugal": (
        "sd15-lcm",
        {"algorithm": ROCM, "memory": FRUGAL, "backprop": {"checkpoint": True}, "speed": {"paired_reference": True}},
    ),
    "rocm, every metric": ("sd15-lcm", {"algorithm": ROCM, "watch": {"metrics": ["pickscore@emoji", "oracle"]}}),
    "rlcm": ("sd15-lcm-lora", {"algorithm": {"name": "rlcm", **POLICY_GRADIENT, "score_last_step": True}}),
    "ddpo": ("sd15-diffusion", {"algorithm": {"name": "ddpo", **POLICY_GRADIENT}}),
    "dpok": ("sd15-diffusion", {"algorithm": {"name": "dpok", "sample_batch_size": 2}}),
    "d3po": ("sd15-diffusion", {"algorithm": {"name": "d3po", "sample_batch_size": 2}}),
    "sdxl": ("sdxl-lcm", {"algorithm": ROCM}),
    "turbo": ("sdxl-turbo", {"algorithm": ROCM}),
    "sana": ("sana-sprint", {"algorithm": ROCM}),
    "texts of their own length": (
        "z-image-turbo",
        {"algorithm": ROCM, "memory": {"unet_checkpoint": True}, "speed": {"paired_reference": True}},
    ),
    "tokens": ("flux2-klein", {"algorithm": {"name": "dpok", "sample_batch_size": 2}}),
}
if os.environ.get("KEDGE_TEST_DEVICE", "cuda") == "cuda":  # nobody compiles for an emulated device
    RUNS["rocm, compiled"] = ("sd15-lcm", {"algorithm": ROCM, "speed": {"compile": True}})


def settings(built: Any, changes: dict[str, Any], device: torch.device | str, steps: int) -> Any:
    parts = {key: value for key, value in vars(built.parts).items() if value}
    block = {"name": str(built.folder), "steps": 2, "guidance": built.family.guidance, "lora": {"rank": 4}, **parts}
    changed = {"optimizer": {"lr": 0.01, "ema": 0.5}, "training__device": str(device), "training__steps": steps}
    return parse_config(recipe(model=block, **changed, **changes))


def numbers(run: Path) -> list[dict[str, Any]]:
    clocks = ("seconds", "peak_memory_mb", "time")
    return [{key: x for key, x in line.items() if key not in clocks} for line in read_log(run / "metrics.jsonl")]


# Alike to another one that runs on the emulated device too; on a GPU all run.
ALIKE = {"rocm", "rocm, every metric", "ddpo", "d3po", "sdxl", "sana", "tokens"}


@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x in ALIKE)) for x in RUNS])
def test_a_run_there_is_the_run_here(name: str, models: Any, device: torch.device, close: Any, tmp_path: Path) -> None:
    layout, changes = RUNS[name]
    built = models(layout)
    train(settings(built, changes, "cpu", 2), tmp_path / "here")
    train(settings(built, changes, device, 1), tmp_path / "there")
    train(settings(built, changes, device, 2), tmp_path / "there", resume=True)
    local, there = numbers(tmp_path / "here"), numbers(tmp_path / "there")
    assert [line.keys() for line in there] == [line.keys() for line in local]
    close(there, local)

    run = load_run(tmp_path / "there", device=device)
    assert all(weight.device.type == device.type for weight in run.policy.trainable())
    close(draw(run.policy, ["a cat"], [1]).cpu(), draw(load_run(tmp_path / "here").policy, ["a cat"], [1]))


def test_the_commands_draw_and_score_there(models: Any, device: torch.device, tmp_path: Path) -> None:
    train(settings(models("sd15-lcm"), {"algorithm": ROCM}, device, 1), tmp_path / "run")
    where = ("--device", str(device))
    for command in (
        ("sample", tmp_path / "run", "--prompt", "a cat", "--seed", "1", "--out", tmp_path / "cat.png"),
        ("eval", tmp_path / "run", *MEASURED, "--out", tmp_path / "eval.md"),
        ("compare", tmp_path / "run", *MEASURED, "--out", tmp_path / "compare.md"),
    ):
        done = CliRunner().invoke(app, [*map(str, command), *where])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "cat.png").is_file()
