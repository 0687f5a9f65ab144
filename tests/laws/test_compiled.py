"""``speed.compile``: the same gradient, with the adapter on and off in turns, and the network really compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_memory_modes import PLAIN, Way, gradient, policy_for, relative
from torch._dynamo.utils import counters

from kedge.policies.base import Backprop
from kedge.policies.economy import Economy

# Way → the least share of the network's calls that has to be compiled.
WAYS = {
    "plain": (Way(economy=Economy(compile=True)), 1.0),
    "steps": (Way(Backprop(checkpoint=True), Economy(compile=True)), 1.0),
    "paired": (Way(Backprop(paired=True), Economy(compile=True)), 1.0),
    "blocks": (Way(economy=Economy(compile=True, unet_checkpoint=True)), 0.2),
}
QUICK = ("plain", "blocks")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in WAYS])
def test_the_gradient_is_that_of_plain_torch(name: str, micro_lcm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for the real compiler, then run by plain kernels: those take minutes to make."""
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: real(module, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    way, share = WAYS[name]
    found = gradient(policy_for(micro_lcm, way), way)
    assert relative(found, gradient(policy_for(micro_lcm, PLAIN), PLAIN)) < (1e-6 if name == "paired" else 1e-12)
    assert not counters["graph_break"]
    # Policy and reference are two graphs, and each of them one with gradients and one without.
    assert counters["stats"]["calls_captured"] > share * 1600


@pytest.mark.slow
def test_and_with_the_real_compiler(micro_lcm: Path) -> None:
    torch._dynamo.reset()
    way = Way(economy=Economy(compile=True))
    assert relative(gradient(policy_for(micro_lcm, way), way), gradient(policy_for(micro_lcm, PLAIN), PLAIN)) < 1e-6
