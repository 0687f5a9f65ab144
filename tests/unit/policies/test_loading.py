"""True file trees, from a folder or the hub's cache: variants, parts, kinds found out, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from huggingface_hub import constants

from helpers.family_models import FAMILIES, TINY, Builder
from kedge.config import ConfigError, parse_config
from kedge.models import ModelParts
from kedge.policies import detect_kind, load_policy
from kedge.policies.families import default_guidance
from kedge.policies.latent import LatentPolicy
from kedge.random_models import build_layout
from kedge.registry import UnknownNameError


def cache(folder: Path, owner_and_name: str, hub: Path) -> None:
    """Put ``folder`` where huggingface_hub keeps what it downloaded, in its layout."""
    repository = hub / f"models--{owner_and_name.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_kind_is_found_out(name: str, models: Builder) -> None:
    built = models(name)
    if not built.family.untold:
        assert detect_kind(built.folder, built.parts) == built.family.kind
        return
    with pytest.raises(UnknownNameError, match=r"does not say how: set model\.kind to .*lightning.*dmd2, tcd or lcm"):
        detect_kind(built.folder, built.parts)


def test_a_name_tells_while_the_files_are_not_here() -> None:
    assert detect_kind("SimianLuo/LCM_Dreamshaper_v7") == "lcm"
    assert detect_kind("Lykon/dreamshaper-7") == "diffusion"
    assert detect_kind("stabilityai/sdxl-turbo") == "turbo"
    assert detect_kind("Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers") == "sana-sprint"
    lora = ModelParts(lcm_lora="latent-consistency/lcm-lora-sdv1-5")
    assert detect_kind("Lykon/dreamshaper-7", lora) == "lcm"


@pytest.mark.parametrize(
    "name", ["owner/my-finetune", "black-forest-labs/FLUX.1-dev", "PixArt-alpha/PixArt-LCM-XL-2-1024-MS", "a/Krea-2"]
)
def test_what_a_name_does_not_tell_is_not_guessed(name: str) -> None:
    with pytest.raises(
        UnknownNameError, match=rf"{name} is not on this machine.*hf download {name}, or say model\.kind="
    ):
        detect_kind(name)


def test_a_part_that_is_nowhere_to_be_had_is_named_at_once(models: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = models("sdxl-diffusion").folder
    for parts, what in (
        (ModelParts(unet="a/b"), r"model\.unet 'a/b'"),
        (ModelParts(few_step_lora="a/b/c.safetensors"), r"model\.few_step_lora 'a/b'"),
    ):
        with pytest.raises(OSError, match=f"{what} is not on this machine, and HF_HUB_OFFLINE"):
            load_policy("tcd", folder, steps=2, parts=parts)


def test_more_guidance_than_an_lcm_lora_bears_is_remarked_on(models: Builder, caplog: pytest.LogCaptureFixture) -> None:
    built = models("sd15-lcm-lora")
    load_policy("auto", built.folder, steps=1, guidance=1.0, parts=built.parts)
    assert not caplog.records
    load_policy("auto", built.folder, steps=1, guidance=5.0, parts=built.parts)
    assert "model.guidance=5: a model made by model.lcm_lora is made for at most about 1" in caplog.text


def test_guidance_where_nobody_chose_one() -> None:
    assert default_guidance("lcm", "SimianLuo/LCM_Dreamshaper_v7") == 7.5
    assert default_guidance("turbo", "stabilityai/sd-turbo") == 0
    assert default_guidance("lcm", "Lykon/dreamshaper-7", ModelParts(lcm_lora="a/b")) == 0
    assert default_guidance("sana-sprint", "owner/sana") == 3.5


def test_hub_ids_load_from_the_cache_without_a_network(
    models: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = models("sdxl-lcm-lora")
    cache(built.folder, "owner/sdxl", tmp_path)
    cache(Path(str(built.parts.lcm_lora)), "owner/lcm-lora", tmp_path)
    for name, value in (("HF_HUB_CACHE", str(tmp_path)), ("HF_HUB_OFFLINE", True)):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr("diffusers.configuration_utils.HF_HUB_OFFLINE", True, raising=False)
    monkeypatch.setattr("diffusers.loaders.lora_base.HF_HUB_OFFLINE", True)
    assert detect_kind("owner/sdxl") == "diffusion"
    parts = ModelParts(lcm_lora="owner/lcm-lora")
    local = load_policy("auto", built.folder, steps=2, guidance=0, parts=built.parts)
    from_hub = load_policy("auto", "owner/sdxl", steps=2, guidance=0, parts=parts)
    for ours, theirs in zip(from_hub.network.parameters(), local.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert len(from_hub.schedule) == 2


def test_a_folder_with_fp16_files_only_is_loaded_as_it_is(tmp_path: Path) -> None:
    folder = build_layout("sdxl", tmp_path / "sdxl", TINY, dtype="float16", variant="fp16")
    unet = build_layout("sdxl-lcm-unet", tmp_path / "unet", TINY, dtype="float16", variant="fp16")
    parts = ModelParts(unet=str(unet))
    policy = load_policy("auto", folder, steps=2, guidance=7.0, parts=parts)
    assert isinstance(policy, LatentPolicy)
    assert policy.network.dtype == torch.float32
    with pytest.raises((OSError, ValueError), match="int8"):
        load_policy("auto", folder, steps=2, guidance=7.0, parts=ModelParts(variant="int8"))
    # In several files, as large models are.
    network, shards = UNet2DConditionModel.from_pretrained(unet, variant="fp16"), tmp_path / "shards"
    network.save_pretrained(shards, variant="fp16", max_shard_size="500KB")
    assert len(list(shards.glob("*.fp16-0*.safetensors"))) > 1
    again = load_policy("auto", folder, steps=2, guidance=7.0, parts=ModelParts(unet=str(shards)))
    for weight, other in zip(again.network.parameters(), policy.network.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_sdxls_vae_stays_in_float32_where_the_rest_is_float16(models: Builder, tmp_path: Path) -> None:
    built = models("sdxl-diffusion")
    policy = load_policy("diffusion", built.folder, steps=2, guidance=0, dtype="float16")
    assert isinstance(policy, LatentPolicy)
    assert (policy.network.dtype, policy.vae.dtype) == (torch.float16, torch.float32)
    fixed = tmp_path / "fp16-fix"
    shutil.copytree(built.folder / "vae", fixed)
    config = json.loads((fixed / "config.json").read_text())
    (fixed / "config.json").write_text(json.dumps(config | {"force_upcast": False}))
    parts = ModelParts(vae=str(fixed))
    policy = load_policy("diffusion", built.folder, steps=2, guidance=0, dtype="float16", parts=parts)
    assert isinstance(policy, LatentPolicy)
    assert policy.vae.dtype == torch.float16


def test_an_lcm_lora_is_summed_in_float32_and_rounded_once(models: Builder) -> None:
    built = models("sd15-lcm-lora")
    full, half = (
        load_policy("auto", built.folder, steps=2, guidance=0, parts=built.parts, dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )
    plain = load_policy("diffusion", built.folder, steps=2, guidance=0)
    fused = dict(full.network.named_parameters())
    changed = [name for name, weight in plain.network.named_parameters() if not torch.equal(weight, fused[name])]
    assert len(changed) > 50
    for exact, rounded in zip(full.network.parameters(), half.network.parameters(), strict=True):
        assert torch.equal(exact.bfloat16(), rounded)


@pytest.mark.parametrize("size", [32, (32, 96)])
def test_pictures_of_another_size(size: int | tuple[int, int], models: Builder) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    for name in ("sdxl-turbo", "sana-sprint"):
        built = models(name)
        policy = load_policy(**built.policy_settings(), steps=1, size=size)
        x0 = torch.zeros(1, *policy.latent_shape)
        assert policy.decode(x0).shape == (1, 3, height, width)
    time_ids = (
        load_policy(**models("sdxl-turbo").policy_settings(), steps=1, size=size).encode(["a"]).tensors["time_ids"]
    )
    assert time_ids.tolist() == [[height, width, 0, 0, height, width]]
    with pytest.raises(ValueError, match="multiple of 32 pixels"):
        load_policy(**models("sana-sprint").policy_settings(), steps=1, size=40)


def test_other_models_are_refused_with_what_is_supported(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "PixArtSigmaPipeline"}))
    for kind in ("auto", "lcm"):
        with pytest.raises(
            UnknownNameError, match=r"PixArtSigmaPipeline.*Supported: Stable Diffusion.*SDXL.*nearest: .*Sprint"
        ):
            load_policy(kind, tmp_path, steps=2, guidance=0)
    with pytest.raises(ConfigError, match=r"model: .*PixArtSigmaPipeline.*docs/extending\.md"):
        parse_config({"model": str(tmp_path)})
    (tmp_path / "model_index.json").write_text(json.dumps({"unet": ["diffusers", "UNet2DConditionModel"]}))
    for kind in ("auto", "lcm"):
        with pytest.raises(UnknownNameError, match=r"model_index\.json has no _class_name"):
            load_policy(kind, tmp_path, steps=2, guidance=0)


def test_a_model_that_lacks_a_part_is_told_which(micro_lcm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(micro_lcm, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    shutil.rmtree(folder / "vae")
    with pytest.raises(ValueError, match=r"has no folder vae, which its model_index\.json names"):
        load_policy("lcm", folder, steps=2, guidance=1.0)
    del index["scheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model_index\.json does not name a scheduler"):
        load_policy("lcm", folder, steps=2, guidance=1.0)


def test_the_wrong_kind_or_place_is_explained(models: Builder, tmp_path: Path) -> None:
    sprint, lcm = models("sana-sprint"), models("sd15-lcm")
    with pytest.raises(UnknownNameError, match=r"so model\.kind=sana-sprint"):
        load_policy("lcm", sprint.folder, steps=2, guidance=0)
    with pytest.raises(ValueError, match=r"use model\.kind=lcm"):
        load_policy("turbo", lcm.folder, steps=2, guidance=0)
    unet, lora = (models(name) for name in ("sdxl-lcm", "sdxl-lcm-lora"))
    with pytest.raises(UnknownNameError, match=r"goes into model\.unet.*stable-diffusion-xl-base"):
        load_policy("auto", str(unet.parts.unet), steps=2, guidance=0)
    with pytest.raises(UnknownNameError, match=r"goes into model\.lcm_lora"):
        load_policy("auto", str(lora.parts.lcm_lora), steps=2, guidance=0)
    with pytest.raises(ValueError, match=r"model\.unet and model\.name do not belong together"):
        load_policy("auto", lcm.folder, steps=2, guidance=0, parts=unet.parts)
    with pytest.raises(UnknownNameError, match=r"model\.lcm_lora: no 'nowhere'"):
        load_policy("auto", lcm.folder, steps=2, guidance=0, parts=ModelParts(lcm_lora="nowhere"))
    with pytest.raises(ValueError, match="between 1 and 1000"):
        load_policy("auto", sprint.folder, steps=1001, guidance=0)


def test_a_plain_model_that_is_called_a_consistency_model_is_remarked_on(
    models: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    load_policy("lcm", models("sd15-diffusion").folder, steps=2, guidance=0.0)
    assert "nothing in the model's files says that it is a consistency model" in caplog.text
    assert "model.lcm_lora=" in caplog.text
    caplog.clear()
    for name in ("sd15-lcm-lora", "sdxl-lcm"):
        built = models(name)
        load_policy("lcm", built.folder, steps=2, guidance=0.0, parts=built.parts)
    assert not caplog.records
