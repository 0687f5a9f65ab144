"""``speed.compile``: the same gradient, with the adapter on and off in turns, and the network really compiled."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_blocks import UpBlock2D
from torch._dynamo.utils import counters

from helpers.gradient_ways import PLAIN, Way, gradient, policy_for, relative
from kedge.policies.base import Backprop
from kedge.policies.memory import _compile
from kedge.policies.settings import MemorySettings, SpeedSettings

# Way → the least share of the network's calls that has to be compiled.
WAYS = {
    "plain": (Way(speed=SpeedSettings(compile=True)), 1.0),
    "steps": (Way(Backprop(checkpoint=True), speed=SpeedSettings(compile=True)), 1.0),
    "paired": (Way(Backprop(paired=True), speed=SpeedSettings(compile=True)), 1.0),
    "blocks": (Way(memory=MemorySettings(unet_checkpoint=True), speed=SpeedSettings(compile=True)), 0.2),
}
QUICK = ("plain",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in WAYS])
def test_the_gradient_is_that_of_plain_torch(name: str, micro_lcm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for the real compiler, then run by plain kernels: those take minutes to make."""
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_: real(module, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    way, share = WAYS[name]
    actual = gradient(policy_for(micro_lcm, way), way)
    assert relative(actual, gradient(policy_for(micro_lcm, PLAIN), PLAIN)) < (1e-6 if name == "paired" else 1e-12)
    assert not counters["graph_break"]
    # Policy and reference are two graphs, and each of them one with gradients and one without.
    assert counters["stats"]["calls_captured"] > share * 1600


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_an_upsampling_block_keeps_its_gradient() -> None:
    """torch's own setting for convolutions' layouts loses it on a CPU (2.13)."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    block = UpBlock2D(32, 64, 64, 128, num_layers=1, resnet_groups=8).requires_grad_(False)
    sizes = ((2, 64, 4, 4), (2, 32, 4, 4), (2, 128))
    x, skipped, time = inputs = [torch.randn(size, requires_grad=True) for size in sizes]

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(block(x, (skipped,), time).sin().sum(), inputs))

    expected = gradients()
    _compile(block, blocks=False)
    torch.testing.assert_close(gradients(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_and_with_the_real_compiler(micro_lcm: Path) -> None:
    """One call: the timestep's sines, float32 in any case, are rounded otherwise, which more calls would magnify."""
    torch._dynamo.reset()
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    results = []
    for way in (Way(speed=SpeedSettings(compile=True)), PLAIN):
        policy = policy_for(micro_lcm, way)
        mean = policy.transition(noise, 3, policy.encode(["a cat", "a dog"])).mean
        gradients = torch.autograd.grad(mean.square().sum(), list(policy.trainable()))
        with policy.reference(), torch.no_grad():
            reference = policy.transition(noise, 3, policy.encode(["a cat", "a dog"])).mean
        results.append((torch.cat([g.flatten() for g in gradients]), reference))
    (compiled, compiled_reference), (plain, plain_reference) = results
    assert relative(compiled, plain) < 0.01
    assert relative(compiled_reference, plain_reference) < 1e-5
