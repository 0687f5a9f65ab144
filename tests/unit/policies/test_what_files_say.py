"""What the files of a model say is obeyed or refused: LoRAs of every dialect, UNets of one file, schedulers, VAEs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.family_models import Builder
from helpers.micro_models import NOISE_SCHEDULE
from kedge.models import ModelParts, hub_file, resolve_model
from kedge.policies import detect_kind, load_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.merged_lora import merge_lora, read_lora
from kedge.policies.schedulers import TRAINED_ON, as_scheduler
from kedge.policies.unet_file import load_unet_file
from kedge.quiet import quiet_loading
from kedge.registry import UnknownNameError

LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
OTHER = "down_blocks.0.resnets.0.conv1"  # a convolution
RANK = 4


@pytest.fixture(scope="module")
def pipeline(models: Builder) -> DiffusionPipeline:
    """Stable Diffusion 1.5, which these tests leave as it is."""
    with quiet_loading():
        return DiffusionPipeline.from_pretrained(models("sd15-tcd").folder)


def factors(pipeline: DiffusionPipeline) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer → down and up."""
    modules, generator = dict(pipeline.unet.named_modules()), torch.Generator().manual_seed(0)
    weights = {}
    for name in (LAYER, OTHER):
        out, into, *kernel = modules[name].weight.shape
        down = torch.randn(RANK, into, *kernel, generator=generator)
        up = torch.randn(out, RANK, *([1] * len(kernel)), generator=generator)
        weights[name] = (down, up)
    return weights


def kohya(weights: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """α = 2 and 3."""
    state = {}
    for alpha, (name, (down, up)) in enumerate(weights.items(), start=2):
        key = "lora_unet_" + name.replace(".", "_")
        state |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
    return state


def named(prefix: str) -> Callable[[dict[str, tuple[Tensor, Tensor]]], dict[str, Tensor]]:
    def write(weights: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        state = {}
        for name, (down, up) in weights.items():
            state |= {f"{prefix}{name}.lora_A.weight": down, f"{prefix}{name}.lora_B.weight": up}
        return state

    return write


PATTERNED = {"r": RANK, "lora_alpha": 2, "alpha_pattern": {OTHER: 3}}
RANK_STABILISED = {"r": RANK, "lora_alpha": 2, "use_rslora": True}
# Dialect → how it is written, what is written in the file's head, what beside it, and the scales that it means.
DIALECTS: dict[str, tuple[Any, dict[str, Any] | None, dict[str, Any] | None, tuple[float, float]]] = {
    "kohya": (kohya, None, None, (2 / RANK, 3 / RANK)),
    "diffusers": (named("unet."), None, None, (1, 1)),
    "diffusers, alpha pattern": (named("unet."), PATTERNED, None, (2 / RANK, 3 / RANK)),
    "diffusers, rank-stabilised": (named("unet."), RANK_STABILISED, None, (1, 1)),
    "peft": (named("base_model.model."), None, PATTERNED, (2 / RANK, 3 / RANK)),
    "peft, rank-stabilised": (named("base_model.model."), None, RANK_STABILISED, (1, 1)),
    "bare": (named(""), None, None, (1, 1)),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_lora_means_the_same_in_every_dialect(name: str, pipeline: DiffusionPipeline, tmp_path: Path) -> None:
    write, head, beside, scales = DIALECTS[name]
    weights, path = factors(pipeline), tmp_path / "adapter_model.safetensors"
    about = {f"unet.{key}": value for key, value in (head or {}).items()}
    save_file(write(weights), path, {"lora_adapter_metadata": json.dumps(about)} if head else None)
    if beside:
        (tmp_path / "adapter_config.json").write_text(json.dumps(beside))
    layers = read_lora(path, pipeline, "model.few_step_lora")
    assert (layers[LAYER].scale, layers[OTHER].scale) == scales
    assert len(layers) == 2
    for layer, (down, up) in weights.items():
        product = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).reshape(layers[layer].update().shape)
        assert torch.allclose(layers[layer].update(), layers[layer].scale * product, atol=1e-5)


def test_merging_equals_diffusers_own_bit_for_bit(models: Builder) -> None:
    built = models("sd15-tcd")
    with quiet_loading():
        own, theirs = (DiffusionPipeline.from_pretrained(built.folder) for _ in range(2))
        theirs.load_lora_weights(built.parts.few_step_lora)
    theirs.fuse_lora(components=["unet"])
    theirs.unload_lora_weights()
    before = own.unet.conv_in.weight.clone()
    merge_lora(own, str(built.parts.few_step_lora), "model.few_step_lora")
    expected = theirs.unet.state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in own.unet.state_dict().items())
    assert torch.equal(own.unet.conv_in.weight, before)  # no layer of the LoRA


def test_a_lora_that_does_not_fit_changes_nothing(
    models: Builder, pipeline: DiffusionPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {name: weight.clone() for name, weight in pipeline.unet.state_dict().items()}

    def refused(state: dict[str, Tensor], message: str) -> None:
        path = tmp_path / "lora.safetensors"
        save_file(state, path)
        with pytest.raises(ValueError, match=message):
            merge_lora(pipeline, str(path), "model.few_step_lora")

    sdxl = str(models("sdxl-hyper-sd").parts.few_step_lora)
    with pytest.raises(ValueError, match=r"model\.lcm_lora: .*layers are not in this UNet.*another architecture"):
        merge_lora(pipeline, sdxl, "model.lcm_lora")
    weights = factors(pipeline)
    strangers = {f"transformer.{key}": value for key, value in named("")(weights).items()}
    refused(strangers, r"no layer of this UNet, as 'transformer\.")
    wide = {LAYER: (torch.randn(RANK, 7), torch.randn(9, RANK))}
    refused(named("unet.")(wide), r"to_q is 9 × 7, this UNet's is \d+ × \d+: it was made for another")
    refused(named("unet.")(weights) | {f"unet.{LAYER}.dora_scale": torch.ones(1)}, "DoRA")
    refused({"lora_unet_x.hada_w1_a": torch.ones(1)}, "LoHa")
    refused(named("base_model.model.")(weights), r"adapter_config\.json beside it")
    half = {name: value for name, value in named("unet.")(weights).items() if "lora_B" not in name}
    refused(half, "is the file whole")
    refused({name: value for name, value in kohya(weights).items() if "up" not in name}, "is the file whole")
    refused(kohya(weights) | {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(1, 1)}, "text")
    assert all(torch.equal(weight, before[name]) for name, weight in pipeline.unet.state_dict().items())
    assert not caplog.records


def test_a_unet_of_one_file_is_the_network_itself(models: Builder, tmp_path: Path) -> None:
    built = models("sdxl-lightning")
    path = Path(str(built.parts.unet))
    state = load_file(path)
    network = load_unet_file(path, built.folder, torch.float32)
    assert all(torch.equal(weight, state[name]) for name, weight in network.state_dict().items())
    torch.save(state, tmp_path / "unet.bin")
    half = load_unet_file(tmp_path / "unet.bin", built.folder, torch.bfloat16)
    assert half.dtype == torch.bfloat16

    def refused(state: dict[str, Tensor], message: str) -> None:
        save_file(state, tmp_path / "wrong.safetensors")
        with pytest.raises(ValueError, match=message):
            load_unet_file(tmp_path / "wrong.safetensors", built.folder, torch.float32)

    refused({name: weight for name, weight in state.items() if "conv_out" not in name}, r"2 missing.*'conv_out")
    refused(state | {"extra": torch.ones(1)}, "1 unknown, 0 of another shape, as 'extra'")
    refused(state | {"conv_in.bias": torch.ones(3)}, r"1 of another shape, as 'conv_in\.bias' \(3 here, \d+ there\)")
    refused(state | {"first_stage_model.x": torch.ones(1)}, r"whole checkpoint.*from_single_file")


def test_a_unet_of_one_file_says_whether_it_takes_guidance(models: Builder, tmp_path: Path) -> None:
    built = models("sdxl-lcm")
    whole = UNet2DConditionModel.from_pretrained(str(built.parts.unet))
    save_file(whole.state_dict(), tmp_path / "lcm.safetensors")
    parts = ModelParts(unet=str(tmp_path / "lcm.safetensors"))
    assert detect_kind(built.folder, parts) == "lcm"
    policies = [load_policy("auto", built.folder, steps=2, guidance=7.0, parts=each) for each in (parts, built.parts)]
    one, other = (policy.network.state_dict() for policy in policies if isinstance(policy, LatentPolicy))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.mark.parametrize("target", [DDIMScheduler, LCMScheduler, EulerDiscreteScheduler])
def test_what_a_network_was_trained_on_stays(target: Any) -> None:
    for source in (
        PNDMScheduler(**NOISE_SCHEDULE, skip_prk_steps=True),
        DEISMultistepScheduler(**NOISE_SCHEDULE, prediction_type="v_prediction"),
        DPMSolverMultistepScheduler(**NOISE_SCHEDULE, use_karras_sigmas=True),
        EulerDiscreteScheduler(**NOISE_SCHEDULE, rescale_betas_zero_snr=True, prediction_type="v_prediction"),
    ):
        converted = as_scheduler(target, source)
        assert {key: converted.config.get(key) or None for key in TRAINED_ON} == {
            key: source.config.get(key) or None for key in TRAINED_ON
        }


def test_a_scheduler_that_would_mean_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"leaves out beta_start, which is 0\.0001 in DDIM.* and 0\.00085 in LCM"):
        as_scheduler(LCMScheduler, DDIMScheduler.from_config({"_class_name": "DDIMScheduler"}))
    for other in (EDMEulerScheduler(), FlowMatchEulerDiscreteScheduler()):
        with pytest.raises(ValueError, match="knows no betas"):
            as_scheduler(DDIMScheduler, other)
    as_scheduler(LCMScheduler, PNDMScheduler(**NOISE_SCHEDULE))
    assert "not expected" not in capsys.readouterr().err


def scheduler_of(folder: Path, **keys: Any) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_models_are_told_by_their_schedulers(models: Builder, tmp_path: Path) -> None:
    folder = shutil.copytree(models("sdxl-turbo").folder, tmp_path / "model")
    assert detect_kind(folder) == "turbo"
    scheduler_of(folder, prediction_type="v_prediction")  # usual for undistilled models that predict v
    assert detect_kind(folder) == "diffusion"
    scheduler_of(folder, _class_name="TCDScheduler", prediction_type="epsilon")
    assert detect_kind(folder) == "tcd"
    scheduler_of(folder, _class_name="EulerDiscreteScheduler", use_karras_sigmas=True)
    with pytest.raises(ValueError, match="use_karras_sigmas: true"):
        load_policy("turbo", folder, steps=2)


def test_a_vae_or_tokenizer_of_another_model_is_refused(models: Builder, tmp_path: Path) -> None:
    folder = shutil.copytree(models("sd15-tcd").folder, tmp_path / "model")
    path = folder / "vae" / "config.json"
    config = json.loads(path.read_text())
    for key, value in (("shift_factor", 0.1), ("latents_mean", [0.1] * 4)):
        path.write_text(json.dumps(config | {key: value}))
        with pytest.raises(ValueError, match=rf"vae/config\.json sets {key}"):
            load_policy("diffusion", folder, steps=2)
    path.write_text(json.dumps(config))
    path = folder / "tokenizer" / "vocab.json"
    words = json.loads(path.read_text())
    path.write_text(json.dumps(words | {f"word{number}": len(words) + number for number in range(600)}))
    with pytest.raises(ValueError, match=r"the tokenizer in tokenizer has \d+ words, but the text encoder of"):
        load_policy("diffusion", folder, steps=2)


def test_single_files_on_the_hub_and_here(tmp_path: Path) -> None:
    file = hub_file("ByteDance/SDXL-Lightning/sub/x.safetensors")
    assert file is not None
    assert (file.repository, file.path) == ("ByteDance/SDXL-Lightning", "sub/x.safetensors")
    for other in ("owner/name", "owner/name/folder", "/abs/name/x.safetensors", "./a/b.safetensors"):
        assert hub_file(other) is None
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(UnknownNameError, match=r"is a file.*goes into model\.unet.*from_single_file"):
        resolve_model(tmp_path / "x.safetensors")
    marked = ModelParts(lcm_lora="ByteDance/SDXL-Lightning/sdxl_lightning_4step_lora.safetensors")
    with pytest.raises(UnknownNameError, match=r"name says lightning.*few_step_lora=.*model\.kind=lightning"):
        detect_kind("owner/sdxl", marked)
