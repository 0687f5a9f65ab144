"""The host never waits for the device inside a rollout, nor in its backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.gradient_ways import Contrast
from helpers.toys import PROMPTS, Cycle
from kedge.algorithms.base import Context
from kedge.algorithms.rocm import ROCM
from kedge.planning.skeletons import OnePrompt
from kedge.policies import load_policy
from kedge.policies.base import Backprop, Conditioning
from kedge.policies.families.diffusion import diffusion_policy
from kedge.policies.families.lcm import lcm_policy
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.quiet import quiet_loading

FAMILIES = {"lcm": lcm_policy, "diffusion": diffusion_policy}
WAYS = {"plain": Backprop(), "frugal": Backprop(checkpoint=True, paired=True), "truncated": Backprop(last_steps=1)}


class Device(TorchDispatchMode):
    """Takes the meta device for an accelerator, and notes every crossing between it and the host.

    A value that the host wants to see (``.item()``, ``bool``) is an error of the meta device itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.crossings: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        places = {x.device.type for x in (*args, result) if isinstance(x, Tensor)}
        if "copy" in function.__name__ and len(places) > 1:
            self.crossings.append(str(function))
        return result


def on_meta(folder: Path, kind: str) -> LatentPolicy:
    with quiet_loading():
        pipeline = DiffusionPipeline.from_pretrained(folder).to("meta")
    return FAMILIES[kind](pipeline, steps=3, guidance=7.5, lora=LoraConfig(rank=2))


def encoded(policy: LatentPolicy) -> Conditioning:
    states = torch.empty(1, 77, policy.network.config.cross_attention_dim, device="meta")
    return Conditioning({"text": states, "empty_text": states})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", FAMILIES)
def test_nothing_crosses_between_host_and_device(micro_lcm: Path, micro_diffusion: Path, kind: str, way: str) -> None:
    policy = on_meta(micro_lcm if kind == "lcm" else micro_diffusion, kind)
    cache, generator = OnePrompt(encoded(policy)), torch.Generator()
    context = Context(policy, Contrast(), Cycle(PROMPTS), generator, WAYS[way], 2, accumulation=1, cache=cache)
    noise = torch.empty(3, 2, *policy.latent_shape, device="meta")
    with Device() as device:
        reward, divergence = ROCM(beta=1.0).evaluate(context, PROMPTS[:2], noise)
        (reward - divergence).sum().backward()
    assert device.crossings == []
    assert all(weight.grad is not None for weight in policy.trainable())


def test_a_crossing_would_be_noticed() -> None:
    with Device() as device:
        torch.zeros(2).to("meta")
    assert len(device.crossings) == 1
    with pytest.raises((RuntimeError, NotImplementedError)), Device():
        torch.empty([], device="meta").item()


@pytest.mark.gpu
def test_no_synchronisation_on_a_gpu(micro_lcm: Path) -> None:
    """The same with CUDA's own alarm."""
    policy = load_policy("lcm", micro_lcm, steps=3, guidance=7.5, lora=LoraConfig(rank=2), device="cuda")
    context = Context(policy, Contrast(), Cycle(PROMPTS), torch.Generator(), Backprop(), batch_size=2, accumulation=1)
    noise = context.noise(2)
    context.cache = OnePrompt(context.encode(PROMPTS[:1]))
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        reward, divergence = ROCM(beta=1.0).evaluate(context, PROMPTS[:2], noise)
        (reward - divergence).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode(before)
