"""Exported adapters act in diffusers exactly as they do in Kedge, and come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, LatentConsistencyModelPipeline, StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.toys import ToyPolicy
from kedge.config import ModelConfig
from kedge.export.combined import save_merged, stack
from kedge.export.lora import COMFYUI_FILE, DIFFUSERS_FILE, adapter_layers, load_lora, save_lora
from kedge.export.lora_files import Layer
from kedge.policies import load_policy
from kedge.policies.base import draw_noise, rollout
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.quiet import quiet_loading
from kedge.workflows.export import USAGE, export_run
from kedge.workflows.weighted import place_and_weight

PROMPTS = ["a cat", "the fox at night"]
ABOUT = {"base_model": "micro", "reward": "0.7*hpsv2", "seed": 3, "algorithm": {"name": "rocm", "beta": 1e-4}}


def tuned(folder: Path, kind: str = "lcm", alpha: float = 32, targets: tuple[str, ...] | None = None) -> LatentPolicy:
    """A policy whose adapter is random and strong."""
    lora = LoraConfig(rank=8, alpha=alpha, targets=targets)
    policy = load_policy(kind, folder, steps=4, guidance=7.5, lora=lora, eta=0.0)
    assert isinstance(policy, LatentPolicy)
    generator = torch.Generator().manual_seed(0)
    for weight in policy.trainable():
        weight.data.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return policy


@torch.no_grad()
def pictures(policy: LatentPolicy) -> Tensor:
    noise = draw_noise(policy, torch.Generator().manual_seed(1), 2)
    return policy.decode(rollout(policy, policy.encode(PROMPTS), noise).x0)


def diffusers_pictures(cls: type[DiffusionPipeline], model: Path, lora: Path | None, file: str | None) -> Tensor:
    with quiet_loading():
        pipeline = cls.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    if lora is not None:
        pipeline.load_lora_weights(str(lora), **({"weight_name": file} if file else {}))
    generator = torch.Generator().manual_seed(1)
    return pipeline(PROMPTS, num_inference_steps=4, guidance_scale=8.5, generator=generator, output_type="pt").images


@pytest.mark.parametrize(
    ("file", "alpha"), [(None, 32), (COMFYUI_FILE, 32), (DIFFUSERS_FILE, 8), (DIFFUSERS_FILE, 3), (COMFYUI_FILE, 3)]
)
def test_an_exported_lora_acts_the_same_in_diffusers(
    micro_lcm: Path, tmp_path: Path, file: str | None, alpha: float
) -> None:
    policy = tuned(micro_lcm, alpha=alpha)
    save_lora(policy, tmp_path, ABOUT)
    ours = pictures(policy)
    theirs = diffusers_pictures(LatentConsistencyModelPipeline, micro_lcm, tmp_path, file)
    base = diffusers_pictures(LatentConsistencyModelPipeline, micro_lcm, None, None)
    assert (ours - theirs).abs().max() <= 1e-5
    assert (ours - base).abs().max() > 0.1


def test_a_lora_of_a_diffusion_model_too(micro_diffusion: Path, tmp_path: Path) -> None:
    policy = tuned(micro_diffusion, "diffusion")
    save_lora(policy, tmp_path, ABOUT)
    theirs = diffusers_pictures(StableDiffusionPipeline, micro_diffusion, tmp_path, None)
    assert (pictures(policy) - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize(("file", "alpha"), [("", 32), (DIFFUSERS_FILE, 4), (COMFYUI_FILE, 8)])
def test_a_saved_lora_comes_back_whatever_the_alpha(micro_lcm: Path, tmp_path: Path, file: str, alpha: float) -> None:
    policy, other = (
        tuned(micro_lcm),
        load_policy("lcm", micro_lcm, steps=4, guidance=7.5, lora=LoraConfig(rank=8, alpha=alpha)),
    )
    save_lora(policy, tmp_path, ABOUT)
    parameters = [id(parameter) for parameter in other.trainable()]
    load_lora(other, tmp_path / file)
    assert [id(parameter) for parameter in other.trainable()] == parameters
    assert torch.equal(pictures(other), pictures(policy))


def test_the_bare_adapter_is_loaded_too(micro_lcm: Path, tmp_path: Path) -> None:
    policy, other = tuned(micro_lcm), tuned(micro_lcm)
    save_file(policy.adapter.state_dict(), tmp_path / "adapter.safetensors")
    for weight in other.trainable():
        weight.data.zero_()
    load_lora(other, tmp_path / "adapter.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(policy.trainable(), other.trainable(), strict=True))


def test_a_file_saved_by_diffusers_itself_is_loaded_at_the_strength_it_says(micro_lcm: Path, tmp_path: Path) -> None:
    policy, other = tuned(micro_lcm, alpha=32), tuned(micro_lcm, alpha=8)
    state = policy.adapter.state_dict()
    shape = {"r": 8, "lora_alpha": 32, "target_modules": ["to_q", "to_k", "to_v", "to_out.0"]}
    policy.pipeline.save_lora_weights(tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata=shape)
    load_lora(other, tmp_path)
    assert (pictures(other) - pictures(policy)).abs().max() <= 1e-6


def test_both_files_say_what_they_are(micro_lcm: Path, tmp_path: Path) -> None:
    policy = tuned(micro_lcm)
    paths = save_lora(policy, tmp_path, ABOUT)
    assert paths == {"diffusers": tmp_path / DIFFUSERS_FILE, "comfyui": tmp_path / COMFYUI_FILE}
    for path in paths.values():
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
        assert about["kedge.reward"] == "0.7*hpsv2"
        assert about["kedge.seed"] == "3"
        assert about["kedge.algorithm"] == '{"name": "rocm", "beta": 0.0001}'
    assert about["ss_network_dim"] == "8"
    assert about["ss_network_alpha"] == "32"
    tensors = load_file(paths["comfyui"])
    alphas = [tensor.item() for name, tensor in tensors.items() if name.endswith(".alpha")]
    assert set(alphas) == {32.0}
    assert len(tensors) == 3 * len(alphas) == 3 * len(adapter_layers(policy))
    assert all(name.startswith("lora_unet_") and name.count(".") <= 2 for name in tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == [COMFYUI_FILE, DIFFUSERS_FILE]


def test_convolutions_survive_the_trip(micro_lcm: Path, tmp_path: Path) -> None:
    targets = ("to_q", "conv1", "proj_in")
    policy, other = tuned(micro_lcm, targets=targets), tuned(micro_lcm, targets=targets)
    paths = save_lora(policy, tmp_path, ABOUT)
    for path in paths.values():
        for weight in other.trainable():
            weight.data.zero_()
        load_lora(other, path)
        assert (pictures(other) - pictures(policy)).abs().max() <= 1e-6


def test_nothing_broken_replaces_a_good_file(micro_lcm: Path, tmp_path: Path) -> None:
    policy = tuned(micro_lcm)
    save_lora(policy, tmp_path, ABOUT)
    good = (tmp_path / DIFFUSERS_FILE).read_bytes()
    next(iter(policy.trainable())).data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"was not written: layer .* reads back nan"):
        save_lora(policy, tmp_path, ABOUT)
    assert (tmp_path / DIFFUSERS_FILE).read_bytes() == good
    assert sorted(path.name for path in tmp_path.iterdir()) == [COMFYUI_FILE, DIFFUSERS_FILE]


def test_wrong_files_are_explained(micro_lcm: Path, tmp_path: Path) -> None:
    policy = tuned(micro_lcm)
    paths = save_lora(policy, tmp_path, ABOUT)
    with pytest.raises(FileNotFoundError, match="no LoRA at"):
        load_lora(policy, tmp_path / "nothing")
    thin = load_policy("lcm", micro_lcm, steps=4, guidance=7.5, lora=LoraConfig(rank=4))
    for path in paths.values():
        with pytest.raises(ValueError, match=r"shape \(8, .*rank 4"):
            load_lora(thin, path)
    narrow = load_policy("lcm", micro_lcm, steps=4, guidance=7.5, lora=LoraConfig(rank=8, targets=("to_q",)))
    for path in paths.values():
        with pytest.raises(ValueError, match=r"0 missing, .* unknown"):
            load_lora(narrow, path)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(paths["diffusers"].read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_lora(policy, cut)
    tensors = load_file(paths["diffusers"])
    save_file({**tensors, "text_encoder.q.lora_A.weight": torch.zeros(8, 4)}, cut)
    with pytest.raises(ValueError, match=r"layers are called as 'lora_unet_down.*what is 'text_encoder\.q\.lora_"):
        load_lora(policy, cut)


def test_a_policy_without_lora_has_nothing_to_export(micro_lcm: Path, tmp_path: Path) -> None:
    for policy in (load_policy("lcm", micro_lcm, steps=4, guidance=7.5), ToyPolicy()):
        with pytest.raises(ValueError, match="has no LoRA"):
            save_lora(policy, tmp_path, ABOUT)


def test_a_tilde_is_the_home_folder_wherever_a_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell writes it out after an equals sign, and Python never does."""
    from kedge.workflows.targets import run_path

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").touch()
    assert place_and_weight("~/mine=0.5", USAGE) == (f"{tmp_path}/mine", 0.5)
    assert place_and_weight("~/mine", USAGE) == (f"{tmp_path}/mine", 1.0)
    assert run_path("~/mine") == tmp_path / "mine"


def test_what_is_added_may_have_a_weight_and_a_name_with_an_equals_sign(tmp_path: Path) -> None:
    """A run folder or a file."""
    (tmp_path / "lr=1e-4").mkdir()
    (tmp_path / "rank=8.safetensors").touch()
    for name in ("lr=1e-4", "rank=8.safetensors"):
        assert place_and_weight(f"{tmp_path}/{name}", USAGE) == (f"{tmp_path}/{name}", 1.0)
        assert place_and_weight(f"{tmp_path}/{name}=-2", USAGE) == (f"{tmp_path}/{name}", -2.0)
    assert place_and_weight("runs/other", USAGE) == ("runs/other", 1.0)
    assert place_and_weight("runs/other=0.5", USAGE) == ("runs/other", 0.5)
    for wrong in ("runs/other=nan", "runs/other=inf", "runs/other=much"):
        with pytest.raises(ValueError, match=f"--with takes RUN or RUN=WEIGHT, .* not '{wrong}'"):
            place_and_weight(wrong, USAGE)


def test_stacked_adapters_add_what_both_add(micro_lcm: Path, tmp_path: Path) -> None:
    """As one file, in diffusers: the pictures of a model whose adapter adds A + 0.5 B."""
    policy, layers = tuned(micro_lcm), adapter_layers(tuned(micro_lcm))
    other = {name: Layer(-layer.a, layer.b.flip(1), layer.scale) for name, layer in layers.items()}
    both = stack([(layers, 1.0), (other, 0.5)])
    for name in layers:
        expected = layers[name].delta() + 0.5 * other[name].delta()
        assert torch.allclose(both[name].delta(), expected, atol=1e-5 * float(expected.abs().max()))
    paths = save_lora(policy, tmp_path, ABOUT, both)
    with safe_open(paths["comfyui"], framework="pt") as file:
        assert file.metadata()["ss_network_dim"] == file.metadata()["ss_network_alpha"] == "16"  # of both together
    save_merged(ModelConfig(name=str(micro_lcm), kind="lcm"), both, tmp_path / "merged")
    stacked = diffusers_pictures(LatentConsistencyModelPipeline, micro_lcm, tmp_path, None)
    merged = diffusers_pictures(LatentConsistencyModelPipeline, tmp_path / "merged", None, None)
    assert (stacked - merged).abs().max() < 5e-3  # float32, through steps that make 15 of 1
    plain = diffusers_pictures(LatentConsistencyModelPipeline, micro_lcm, None, None)
    assert not torch.allclose(plain, merged, atol=1e-2)
    with pytest.raises(ValueError, match="different layers"):
        stack([(layers, 1.0), (dict(list(layers.items())[1:]), 1.0)])
    with pytest.raises(ValueError, match="exists: give another --out"):
        save_merged(ModelConfig(name=str(micro_lcm), kind="lcm"), both, tmp_path / "merged")


def test_a_merged_model_has_the_sum_in_its_weights_and_draws_alike(micro_lcm: Path, tmp_path: Path) -> None:
    policy = tuned(micro_lcm)
    layers = adapter_layers(policy)
    save_merged(ModelConfig(name=str(micro_lcm), kind="lcm"), layers, tmp_path / "merged")
    places = (tmp_path / "merged", micro_lcm)
    merged, base = (load_policy("lcm", place, steps=4, guidance=7.5, eta=0.0) for place in places)
    assert isinstance(merged, LatentPolicy)
    assert isinstance(base, LatentPolicy)
    for name, layer in layers.items():
        before, after = (each.network.get_submodule(name).weight for each in (base, merged))
        assert torch.allclose(after, before + layer.delta().view_as(before), atol=1e-6)
    distance = (pictures(merged) - pictures(policy)).abs().mean()  # float32, through steps that make 15 of 1
    assert distance < 0.02 * (pictures(base) - pictures(policy)).abs().mean()


def test_where_it_goes_is_checked_before_anything_loads(tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "file"
    (run / "lora").mkdir(parents=True)
    file.write_text("")
    with pytest.raises(ValueError, match="is the run's own adapter"):
        export_run(run, "diffusers", run / "lora", ["other=0.5"])
    for program, others in (("diffusers", []), ("diffusers", ["other"]), ("merged", [])):
        with pytest.raises(ValueError, match=r"cannot be written: .*file is a file"):
            export_run(run, program, file / "deep" if program == "merged" else file, others)
    with pytest.raises(ValueError, match="run exists: give another --out"):
        export_run(run, "merged", run)
