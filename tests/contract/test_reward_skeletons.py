"""The network that each reward draws before its weights are here is the one that is loaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from kedge.planning.skeletons import reward_skeleton
from kedge.rewards import REWARDS, Term, load_reward
from kedge.rewards.bertscore import BertScore
from kedge.rewards.hpsv3 import VOCABULARY
from kedge.rewards.sources import locate

IN_WORLD = [name for name, spec in REWARDS.items() if spec.in_world and spec.source == "weights"]
BUNDLED = [(name, "emoji") for name in IN_WORLD]
PUBLISHED = [name for name, spec in REWARDS.items() if spec.parts and spec.source == "weights"]
UNLOADED = {"hpsv3": VOCABULARY * 3584}  # the head that predicts words lies in the file, and is not loaded


def drawn(name: str, source: str | None):
    skeleton = reward_skeleton(Term(1.0, name, source), torch.float32)
    assert skeleton is not None
    return skeleton


def shapes(*networks: nn.Module) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Of all weights, each network's once."""
    weights = {id(weight): weight for network in networks for weight in network.parameters()}
    return sorted((tuple(weight.shape), weight.dtype) for weight in weights.values())


def networks_of(reward: object) -> Iterator[nn.Module]:
    """Networks among a scorer's attributes, and those of its CLIP."""
    for value in vars(reward).values():
        if isinstance(value, nn.Module):
            yield value
        elif hasattr(value, "model"):
            yield value.model


@pytest.mark.parametrize("name", IN_WORLD)
def test_the_bundled_network_is_drawn_as_it_is_loaded(name):
    loaded, skeleton = load_reward(f"{name}@emoji"), drawn(name, "emoji")
    assert shapes(*networks_of(loaded)) == shapes(skeleton.network)


def test_the_bundled_text_encoder_too():
    loaded = BertScore(locate(REWARDS["alignment"], "emoji")["encoder"])
    assert shapes(loaded.model) == shapes(drawn("alignment", "emoji").network)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_architecture_fills_the_published_file(name):
    """Which holds the weights of the largest part in full or half precision, and little else."""
    parameters = sum(weight.numel() for weight in drawn(name, None).network.parameters()) + UNLOADED.get(name, 0)
    largest = max(part.size for part in REWARDS[name].parts)
    assert min(abs(bytes_each * parameters / largest - 1) for bytes_each in (2, 4)) < 0.01


def test_deberta_is_drawn_up_to_the_layer_that_is_used():
    network = drawn("alignment", None).network
    assert len(network.encoder.layer) == 40
    each = sum(weight.numel() for weight in network.encoder.layer[0].parameters())
    whole = sum(weight.numel() for weight in network.parameters()) + 8 * each
    assert abs(4 * whole / REWARDS["alignment"].parts[0].size - 1) < 0.02


@pytest.mark.parametrize(
    ("name", "source"), [*((name, None) for name in REWARDS), *((name, "emoji") for name in IN_WORLD)]
)
def test_every_skeleton_scores_on_the_meta_device_with_a_gradient_if_the_reward_has_one(name, source):
    spec = REWARDS[name]
    images = torch.empty(3, 3, 64, 64, device="meta", requires_grad=True)
    score = drawn(name, source).score
    if score is None:
        assert not spec.differentiable
        return
    scores = score(images)
    assert (scores.shape, scores.device.type) == ((3,), "meta")
    scores.sum().backward()
    assert images.grad.shape == images.shape
