"""A base in 8 or 4 bits: pictures and gradients are those of the weights that the bits stand for.

These need ``kedge-rl[quantize]``: torchao and bitsandbytes.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import kedge
from helpers.family_models import Builder, pictures, policy_of
from helpers.gradient_ways import PLAIN, Way, gradient, relative
from helpers.training_world import recipe
from kedge.config import ConfigError, parse_config
from kedge.export.lora import DIFFUSERS_FILE
from kedge.policies import load_policy
from kedge.policies.base import Backprop
from kedge.policies.latent import LatentPolicy
from kedge.policies.memory import apply_memory_settings
from kedge.policies.quantized import FORMATS, block_layers, is_quantized, quantize, savings
from kedge.policies.settings import LoraConfig, MemorySettings

HERE = {name: find_spec(form.package) is not None for name, form in FORMATS.items()}
WITH = [pytest.param(name, marks=pytest.mark.skipif(not HERE[name], reason=f"no {name}")) for name in FORMATS]


def unpacked(weight: Tensor) -> Tensor:
    """Ŵ."""
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state)
    return weight.dequantize()


def drifted(policy: LatentPolicy) -> LatentPolicy:
    generator = torch.Generator().manual_seed(1)
    for name, weight in policy.adapter.weights.items():
        if "lora_B" in name:
            weight.data.normal_(std=0.05, generator=generator)
    return policy


def pair_of(folder: Path, kind: str, way: Way = PLAIN, **settings) -> tuple[LatentPolicy, LatentPolicy, float]:
    """The policy on quantised weights, one on what they stand for, and how far those are from the true ones."""
    policies = []
    for stored in (kind, None):
        torch.manual_seed(0)
        policy = load_policy("auto", folder, steps=2, lora=LoraConfig(rank=4), quantize=stored, **settings)
        apply_memory_settings(policy, way.memory, way.speed)
        policies.append(drifted(policy))
    quantized, plain = policies
    layers, far = dict(plain.network.named_modules()), []
    for name, module in quantized.network.named_modules():
        weight = module._parameters.get("weight")
        if weight is None or not is_quantized(weight):
            continue
        own = layers[name].weight.data
        far.append(float((own - unpacked(weight).to(own.dtype)).norm() / own.norm()))
        own.copy_(unpacked(weight))
    assert far
    return quantized, plain, max(far)


@pytest.mark.parametrize("kind", WITH)
@pytest.mark.parametrize(
    "way", [PLAIN, Way(Backprop(checkpoint=True, paired=True), MemorySettings(unet_checkpoint=True))]
)
def test_pictures_and_gradients_are_those_of_what_the_bits_stand_for(kind: str, way: Way, micro_lcm: Path) -> None:
    quantized, plain, far = pair_of(micro_lcm, kind, way, guidance=1.0)
    assert 1e-4 < far < {"int8": 0.02, "nf4": 0.2}[kind]
    assert (pictures(quantized, 3, ["cat"]) - pictures(plain, 3, ["cat"])).abs().max() < 1e-4
    assert relative(gradient(quantized, way), gradient(plain, way)) < 1e-3


@pytest.mark.parametrize("kind", WITH)
def test_transformers_too(kind: str, models: Builder) -> None:
    built = models("flux2-klein")
    quantized, plain, _ = pair_of(built.folder, kind)
    assert (pictures(quantized, 3) - pictures(plain, 3)).abs().max() < 1e-4
    fresh = policy_of(built, 2, quantize=kind)
    with fresh.reference():
        base = pictures(fresh, 3)
    assert torch.equal(pictures(fresh, 3), base)


@pytest.mark.parametrize("kind", WITH)
def test_the_plan_counts_what_is_stored(kind: str) -> None:
    network = torch.nn.Module()
    network.blocks = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Linear(512, 768, dtype=torch.bfloat16)) for _ in range(2)
    )
    network.first = torch.nn.Linear(8, 512)
    before, expected = 2 * 512 * 768 * 2, savings(network, kind)
    assert expected.unpacked == 512 * 768 * 2
    quantize(network, kind, torch.device("cpu"))
    assert type(network.first) is torch.nn.Linear
    after = 0
    for _, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and is_quantized(weight):
            after += sum(part.numel() * part.element_size() for part in parts_of(weight))
    assert before - after == pytest.approx(expected.saved, rel=0.005)


def parts_of(weight: Tensor) -> list[Tensor]:
    """Everything that is stored of a layer's weights but tables of constants."""
    if not hasattr(weight, "quant_state"):
        return [weight.qdata, weight.scale]
    state = weight.quant_state
    return [weight.data, state.absmax, state.state2.absmax]


@pytest.mark.parametrize("kind", WITH)
def test_a_run_trains_resumes_is_compared_and_merged(kind: str, micro_lcm: Path, tmp_path: Path) -> None:
    small = recipe(
        model={"name": str(micro_lcm), "steps": 2, "guidance": 1.0, "quantize": kind, "lora": {"rank": 4}},
        reward="helpers.training_world:lightness",
        algorithm={"name": "rocm", "beta": 1e-4},
        training={"steps": 2, "batch_size": 2, "device": "cpu"},
        checkpoint={"every": 1, "keep": 2},
    )
    small["memory"] = {"unet_checkpoint": True}
    run = kedge.train(small, out=tmp_path / "run")
    assert f"the base in {kind}" in run.folder.card.read_text()
    longer = kedge.train(run.path, "training.steps=3", resume=True)
    assert longer.step == 3
    straight = kedge.train(small, "training.steps=3", out=tmp_path / "straight")
    resumed, whole = (load_file(place.folder.lora / DIFFUSERS_FILE) for place in (longer, straight))
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name])
    assert any(weight.any() for name, weight in whole.items() if "lora_B" in name)
    compared = kedge.compare(longer, count=3, samples=1, encoder="none", transfer=["steps=1"])
    assert compared.comparison.rewards[0].difference.value != 0
    with pytest.raises(ValueError, match="stored in fewer bits"):
        kedge.compare(longer, count=3, samples=1, encoder="none", transfer=[f"beside={run.path}"])
    with pytest.raises(ConfigError, match=r"model\.quantize was"):
        kedge.train(run.path, "model.quantize=null", "training.steps=4", resume=True)
    from kedge.workflows.export import export_run

    merged = export_run(longer.path, "merged", tmp_path / "merged")
    assert pictures(load_policy("auto", merged, steps=2, guidance=1.0), 0, ["cat"]).isfinite().all()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_package_is_named(kind: str, micro_lcm: Path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, FORMATS[kind].package, None)
    monkeypatch.setitem(sys.modules, f"{FORMATS[kind].package}.quantization", None)
    with pytest.raises(ValueError, match=r"pip install 'kedge-rl\[quantize\]'"):
        load_policy("auto", micro_lcm, steps=2, guidance=1.0, quantize=kind)


def test_int8_is_refused_without_blocks_that_are_recomputed(micro_lcm: Path) -> None:
    block = {"name": str(micro_lcm), "quantize": "int8"}
    with pytest.raises(ConfigError, match=r"int8 needs memory\.unet_checkpoint=true"):
        parse_config({"model": block, "reward": "compressibility_proxy"})
    assert parse_config({"model": block, "reward": "compressibility_proxy", "memory": {"unet_checkpoint": True}})
    with pytest.raises(ConfigError, match=r"model\.quantize.*'int8' or 'nf4'"):
        parse_config({"model": block | {"quantize": "int4"}, "reward": "compressibility_proxy"})


def test_what_stands_before_and_after_the_blocks_stays(micro_lcm: Path) -> None:
    network = load_policy("auto", micro_lcm, steps=2, guidance=1.0).network
    names = [name for name, _ in block_layers(network)]
    assert names
    assert all("blocks." in name for name in names)
    assert "time_embedding.linear_1" in dict(network.named_modules())
