"""Every family through the whole trainer: a step of ROCM and one of RLCM, its files, and the model loaded again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from family_models import FAMILIES, Builder, build
from kedge.config import parse_config
from kedge.sampling import draw
from kedge.training.run import train
from kedge.training.run_folder import RunFolder
from kedge.training.tuned import load_run
from training_world import recipe

ALGORITHMS = {
    "rocm": {"name": "rocm", "divergence": "kl", "beta": 1e-6},
    "rlcm": {"name": "rlcm", "sample_batch_size": 2, "buffer_size": 4, "min_count": 2},
}
QUICK = ("sd15-lcm-lora", "sdxl-lcm", "sdxl-turbo", "sana-sprint")  # the others differ from these in parts only


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    folder = tmp_path_factory.mktemp("families")
    return lambda name: build(name, folder)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_a_step_through_the_trainer(name: str, algorithm: str, models: Builder, tmp_path: Path) -> None:
    built = models(name)
    block = {
        "name": str(built.folder),
        "steps": 2,
        "guidance": built.family.guidance,
        "lora": {"rank": 4, "alpha": 8},
        **{key: value for key, value in asdict(built.parts).items() if value},
    }
    config = parse_config(recipe(model=block, algorithm=ALGORITHMS[algorithm], training__steps=1, optimizer__lr=0.01))
    assert config.model.kind == built.family.kind
    outcome = train(config, tmp_path)
    assert (outcome.step, outcome.ended) == (1, "finished")
    folder = RunFolder(tmp_path)
    assert (folder.lora / "pytorch_lora_weights.safetensors").is_file()
    assert (folder.lora / "comfyui.safetensors").is_file() == (name != "sana-sprint")
    assert "DiffusionPipeline.from_pretrained" in folder.card.read_text()

    run = load_run(tmp_path)
    tuned = draw(run.policy, ["a cat"], [1])
    with run.policy.reference():
        base = draw(run.policy, ["a cat"], [1])
    assert tuned.shape == (1, 3, 64, 64)
    assert torch.isfinite(tuned).all()
    assert (tuned - base).abs().max() > 1e-4  # it moved
