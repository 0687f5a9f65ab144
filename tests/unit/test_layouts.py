"""Random-weight models: the true file trees, the true sizes, and plain diffusers opens them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from typer.testing import CliRunner

from kedge.cli.app import app
from kedge.quiet import quiet_loading
from kedge.random_models import Scale, build_layout
from kedge.random_models.sana import sana_sprint
from kedge.random_models.sdxl import sdxl_unet
from kedge.random_models.stable_diffusion import sd15_unet
from kedge.registry import UnknownNameError

TINY = Scale(width=0.02, depth=0.01, size=64)
PIPELINES = ("sd15-lcm", "sd15", "sd-turbo", "sdxl", "sdxl-turbo", "sana-sprint")  # the others: test_family_parity.py


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", PIPELINES)
def test_plain_diffusers_opens_it_and_draws(name: str, tmp_path: Path) -> None:
    folder = build_layout(name, tmp_path / "model", TINY)
    with quiet_loading():
        pipeline = DiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    own = {"use_resolution_binning": False} if name == "sana-sprint" else {}
    image = pipeline("a cat", num_inference_steps=2, height=64, width=64, output_type="pt", **own).images
    assert image.shape == (1, 3, 64, 64)
    assert image.isfinite().all()
    assert image.std() > 0.01


def test_the_file_trees_are_those_of_the_hub(tmp_path: Path) -> None:
    tree = files(build_layout("sdxl", tmp_path / "sdxl", TINY, dtype="float16", variant="fp16"))
    assert {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder_2/model.fp16.safetensors",
    } <= tree
    assert not any(name.endswith("_model.safetensors") for name in tree)
    alone = files(build_layout("sdxl-lcm-unet", tmp_path / "unet", TINY))
    assert alone == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert files(build_layout("sd15-lcm-lora", tmp_path / "lora", TINY)) == {"pytorch_lora_weights.safetensors"}
    lcm = files(build_layout("sd15-lcm", tmp_path / "lcm", TINY))
    assert {"safety_checker/model.safetensors", "feature_extractor/preprocessor_config.json"} <= lcm
    assert {"tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/special_tokens_map.json"} <= lcm


def test_at_full_width_it_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        networks = {
            "sd15": sd15_unet(Scale()),
            "sdxl": sdxl_unet(Scale()),
            "sana": sana_sprint(Scale()).transformer,
        }
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert counts["sd15"] == 859_520_964
    assert counts["sdxl"] == 2_567_463_684
    assert counts["sana"] == pytest.approx(1.6e9, rel=0.02)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.15, 0.3, 0.55, 0.8, 0.95])
def test_sana_sprint_decodes_at_every_width(width: float) -> None:
    vae = sana_sprint(Scale(width, 0.01, 64)).vae
    with torch.no_grad():
        assert vae.decode(torch.zeros(1, 32, 2, 2)).sample.shape == (1, 3, 64, 64)


def test_seeds_and_precision(tmp_path: Path) -> None:
    def weight(folder: str, **settings: object) -> torch.Tensor:
        path = build_layout("sdxl-lcm-unet", tmp_path / folder, TINY, **settings)
        return UNet2DConditionModel.from_pretrained(path).conv_in.weight

    assert torch.equal(weight("a", seed=1), weight("b", seed=1))
    assert not torch.equal(weight("c", seed=1), weight("d", seed=2))
    path = build_layout("sdxl-lcm-unet", tmp_path / "e", TINY, dtype="bfloat16")
    weights = load_file(path / "diffusion_pytorch_model.safetensors").values()
    assert {tensor.dtype for tensor in weights} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(FileExistsError, match="is not empty"):
        build_layout("sd15", tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'sdxl-turbo'"):
        build_layout("sdx-turbo", tmp_path / "new")
    with pytest.raises(ValueError, match="width must lie above 0"):
        Scale(width=2)
    with pytest.raises(ValueError, match="multiple of 8, not 60"):
        build_layout("sd15", tmp_path / "new", Scale(0.02, 0.01, 60))
    with pytest.raises(ValueError, match="no variants"):
        build_layout("sd15-lcm-lora", tmp_path / "new", TINY, variant="fp16")
    with pytest.raises(ValueError, match="dtype must be one of"):
        build_layout("sd15", tmp_path / "new", TINY, dtype="float8")


def test_the_command(tmp_path: Path) -> None:
    command = ["random-model", "sd15-lcm", str(tmp_path / "model"), "--width", "0.02", "--depth", "0.01"]
    done = CliRunner().invoke(app, [*command, "--size", "64", "--dtype", "float16"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "model" / "model_index.json").is_file()
