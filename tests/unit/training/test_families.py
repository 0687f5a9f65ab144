"""Every family through the whole trainer: a step of ROCM and one of RLCM, its files, and the model loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.family_models import FAMILIES, Builder
from helpers.training_world import recipe
from kedge.config import ModelConfig, parse_config, parse_model, resolve_kind
from kedge.planning.skeletons import meta_policy
from kedge.policies import load_policy
from kedge.policies.lora import LoraConfig
from kedge.policies.sampling import draw
from kedge.registry import UnknownNameError
from kedge.runs.folder import RunFolder
from kedge.training.run import train
from kedge.workflows.load_run import load_run

ALGORITHMS = {
    "rocm": {"name": "rocm", "divergence": "kl", "beta": 1e-6},
    "rlcm": {"name": "rlcm", "sample_batch_size": 2, "buffer_size": 4, "min_count": 2},
}
# The others differ from these in parts only.
QUICK = (
    "sd15-lcm-lora",
    "sdxl-lcm",
    "sdxl-turbo",
    "sd15-tcd",
    "sdxl-dmd2",
    "sana-sprint",
    "z-image-turbo",
)
QUICK_RLCM = ("sd15-lcm-lora", "sana-sprint", "z-image-turbo")  # one for each kind of network
EVERY = [(name, algorithm) for name in FAMILIES for algorithm in ALGORITHMS]


def quick(name: str, algorithm: str) -> bool:
    return name in (QUICK_RLCM if algorithm == "rlcm" else QUICK)


@pytest.mark.parametrize(
    ("name", "algorithm"), [pytest.param(*case, marks=[pytest.mark.slow] * (not quick(*case))) for case in EVERY]
)
def test_a_step_through_the_trainer(name: str, algorithm: str, models: Builder, tmp_path: Path) -> None:
    built = models(name)
    block = built.block(steps=2, guidance=built.family.guidance, lora={"rank": 4, "alpha": 8})
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


@pytest.mark.parametrize("name", FAMILIES)
def test_the_plan_knows_the_networks(name: str, models: Builder) -> None:
    """Without weights: every parameter's name and shape, and the latents'."""
    built = models(name)
    steps = built.family.steps
    model = parse_model(built.block(steps=steps, lora={"rank": 4}))
    drawn, loaded = meta_policy(model, steps), load_policy(**built.policy_settings(), steps=steps, lora=model.lora)
    assert drawn is not None
    assert drawn.device.type == "meta"
    assert drawn.latent_shape == loaded.latent_shape
    for part in (drawn.backbone.network, "vae", "text_encoder"):
        shapes = [
            {key: tensor.shape for key, tensor in getattr(policy.pipeline, part).named_parameters()}
            for policy in (drawn, loaded)
        ]
        assert shapes[0] == shapes[1]


def test_the_plan_refuses_a_model_of_another_kind(models: Builder) -> None:
    built = models("sana-sprint")
    with pytest.raises(UnknownNameError, match=r"SanaSprintPipeline, so model.kind=sana-sprint \(or auto\), not lcm"):
        meta_policy(ModelConfig(str(built.folder), kind="lcm"), 2)


@pytest.mark.slow
def test_the_plan_knows_hub_models_by_name() -> None:
    x = "stabilityai/stable-diffusion-xl-base-1.0"
    model = ModelConfig(x, unet="latent-consistency/lcm-sdxl", lora=LoraConfig(rank=4))
    drawn = meta_policy(resolve_kind(model), 2)
    assert drawn is not None
    assert drawn.network.config.time_cond_proj_dim == 256
    assert drawn.guidance == 7.5
