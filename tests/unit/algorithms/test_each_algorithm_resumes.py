"""Every algorithm through the real trainer: an interrupted run equals a whole one, bit for bit, trackers included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.training_world import recipe
from kedge.config import RunConfig, parse_config
from kedge.config.workload import workload_of
from kedge.evaluation.run_log import read_log
from kedge.runs.checkpoint import CheckpointStore
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.processes import Processes

ALGORITHMS: dict[str, dict[str, Any]] = {
    "rlcm": {"name": "rlcm", "buffer_size": 4, "min_count": 2},
    "ppo, many updates": {"name": "ppo", "epochs": 2, "minibatches": 2, "step_fraction": 0.5, "normalise": "run"},
    "ppo, last step": {"name": "ppo", "score_last_step": True, "normalise": "batch"},
    "dpok": {"name": "dpok", "policy_steps": 2, "value_steps": 2, "value_batch_size": 8, "step_fraction": 0.5},
    "dpok, held": {"name": "dpok", "policy_steps": 2, "step_fraction": 0.5, "target": {"nats": 0.01}},
    "rlcm, held": {"name": "rlcm", "buffer_size": 4, "min_count": 2, "target": {"nats": 0.01}},
    "rocm, held": {"name": "rocm", "target": {"nats": 0.01}},
    "rocm, stages": {"name": "rocm", "anchor": "auto"},
    "rlcm, pathwise last step": {"name": "rlcm", "normalise": "batch", "last_step": "pathwise"},
    "grpo": {"name": "grpo", "group_size": 2},
    "draft": {"name": "draft", "draws": 2},
    "alignprop": {"name": "alignprop"},
    "hybrid": {"name": "hybrid", "surrogate": "helpers.training_world:lightness", "min_count": 2, "beta": 0.1},
    "hybrid, held": {"name": "hybrid", "surrogate": "helpers.training_world:lightness", "target": {"nats": 0.01}},
    "hybrid, stages": {"name": "hybrid", "surrogate": "helpers.training_world:lightness", "anchor": "auto"},
    "hybrid, ridge": {"name": "hybrid", "surrogate": "ridge(clipscore@emoji)", "min_count": 2, "beta": 0.1},
    "refl": {"name": "refl", "ceiling": 0.1},
    "soft_q": {"name": "soft_q", "beta": 0.1},
    "alignprop, held": {"name": "alignprop", "divergence": "kl", "target": {"nats": 0.01}},
    "d3po": {"name": "d3po", "epochs": 2},
    "d3po, votes": {"name": "d3po", "votes": "votes.jsonl"},
}


def config_for(settings: dict[str, Any], steps: int) -> RunConfig:
    gradient = settings["name"] in ("rocm", "draft", "alignprop", "refl", "soft_q") or "last_step" in settings
    reward = "helpers.training_world:" + ("redness" if gradient else "darkness")  # the latter has no gradient
    return parse_config(recipe(algorithm=settings, reward=reward, training__steps=steps, training__accumulation=2))


def fit(settings: dict[str, Any], folder: Path, steps: int, resume: bool = False) -> None:
    config, run_folder = config_for(settings, steps), RunFolder(folder)
    run_folder.open(config, 1, "cpu")
    assemble(config, run_folder, Processes("cpu"), resume=resume).fit()


def flat(value: Any) -> list[Any]:
    """Every leaf of a checkpoint, tensors as lists."""
    if isinstance(value, dict):
        return [(key, flat(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [flat(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("settings", ALGORITHMS.values(), ids=ALGORITHMS)
def test_a_resumed_run_equals_an_uninterrupted_one(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    votes = [{"prompt": ("cat", "dog")[i % 2], "seed": i, "preferred": i % 2} for i in range(5)]
    Path("votes.jsonl").write_text("\n".join(json.dumps(vote) for vote in votes))
    half = max(2, workload_of(config_for(settings, 1)).updates)  # a batch of experience at least
    fit(settings, tmp_path / "whole", 2 * half)
    fit(settings, tmp_path / "parts", half)
    fit(settings, tmp_path / "parts", 2 * half, resume=True)
    states, logs = [], []
    for name in ("whole", "parts"):
        newest = CheckpointStore(tmp_path / name / "checkpoints").latest()
        assert newest is not None
        assert newest[0] == 2 * half
        states.append(flat(newest[1]))
        lines = read_log(tmp_path / name / "metrics.jsonl")
        logs.append(
            [{key: value for key, value in line.items() if key not in ("seconds", "peak_memory_mb")} for line in lines]
        )
    assert states[0] == states[1]
    assert logs[0] == logs[1]
