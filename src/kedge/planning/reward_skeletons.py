"""Rewards as they would be: the true architectures on the meta device, without weights, for planning a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from kedge.rewards.blip import BlipNetwork, blip_large, blip_preprocess, projections
from kedge.rewards.blip import architecture as blip_architecture
from kedge.rewards.catalogue import CLIP_B, REWARDS
from kedge.rewards.clip import FrozenCLIP, read_config
from kedge.rewards.expression import Term, parse
from kedge.rewards.openclip import VIT_H_14, to_clip_config
from kedge.rewards.openclip import architecture as open_clip_architecture
from kedge.rewards.preprocess import CropPreprocess, PadPreprocess
from kedge.rewards.sources import MissingWeightsError, locate
from kedge.rewards.spec import RewardSpec

VIT_L_14: dict[str, Any] = {
    "embed_dim": 768,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12},
}
VIT_B_32 = VIT_L_14 | {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}


@dataclass(frozen=True)
class Blueprint:
    """One network of a reward.

    Attributes:
        name: of the reward.
        network: on the meta device.
        look: images ``[B, 3, H, W]`` to what the reward makes of them, ``[B]`` with graph; the prompt's part, computed
            once and kept, is left out where it does not depend on the image.
    """

    name: str
    network: nn.Module
    look: Callable[[Tensor], Tensor]


class Planned:
    """A reward that can be called on the meta device, in place of the real one.

    Attributes:
        networks: what would be loaded, by name.
        unknown: names of terms of which nothing is known beforehand; they cost nothing here.
    """

    differentiable = True

    def __init__(self, text: str, dtype: torch.dtype):
        self.name, self.networks, self.unknown = text, dict[str, nn.Module](), list[str]()
        self._blueprints = list(self._draw(parse(text), dtype))

    def _draw(self, terms: Sequence[Term], dtype: torch.dtype) -> Iterator[Blueprint]:
        for term in terms:
            found = _blueprint(term, dtype)
            if found is not None:
                self.networks[found.name] = found.network
                yield found
            elif term.name not in REWARDS or REWARDS[term.name].parts:
                self.unknown.append(term.name)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``[B]`` from ``[B, 3, H, W]`` on the meta device."""
        total = images.float().flatten(1).mean(1)  # some gradient, also where no network is known
        for blueprint in self._blueprints:
            total = total + blueprint.look(images)
        return total


def _blueprint(term: Term, dtype: torch.dtype) -> Blueprint | None:
    spec = REWARDS.get(term.name)
    if spec is None or spec.source != "weights":
        return None
    try:
        places = locate(spec, term.source)
    except MissingWeightsError:
        places = {}
    draw = (
        _blip if "checkpoint" in {part.key for part in spec.parts} and "blip" in spec.parts[0].where.lower() else _clip
    )
    if spec.factory.endswith(":ImageReward"):
        draw = _blip
    return draw(f"reward {term.name}", spec, places, dtype)


def _clip(name: str, spec: RewardSpec, places: dict[str, Path], dtype: torch.dtype) -> Blueprint:
    config = _clip_config(spec, places)
    network = _on_meta(lambda: CLIPModel(config), dtype)
    size = config.vision_config.image_size
    preprocess = PadPreprocess(size) if spec.factory.endswith(":HPS") else CropPreprocess(size)
    clip = FrozenCLIP(network, lambda _: torch.zeros(1, 1), preprocess)
    return Blueprint(name, network, lambda images: clip.image_features(images.float()).sum(-1))


def _clip_config(spec: RewardSpec, places: dict[str, Path]) -> CLIPConfig:
    if "clip" in places:
        return read_config(places["clip"])
    if "checkpoint" in places:
        return open_clip_architecture(places["checkpoint"])
    if CLIP_B in spec.parts:
        return to_clip_config(VIT_B_32)
    large = spec.name.startswith(("clipscore", "aesthetic"))
    return to_clip_config(VIT_L_14 if large else VIT_H_14)


def _blip(name: str, spec: RewardSpec, places: dict[str, Path], dtype: torch.dtype) -> Blueprint:
    config = blip_architecture(places["checkpoint"]) if "checkpoint" in places else blip_large()
    network = _on_meta(lambda: BlipNetwork(config, projections(config)), dtype)
    preprocess, reads = blip_preprocess(config), spec.factory.endswith((":ImageReward", ":BLIPMatch"))

    def look(images: Tensor) -> Tensor:
        states: Tensor = network.vision_model(pixel_values=preprocess(images.float())).last_hidden_state
        if reads:  # the text looks at the image
            ones = torch.ones(len(images), 35, dtype=torch.long, device="meta")
            states = network.read({"input_ids": ones, "attention_mask": ones}, states)[:, None]
        return states[:, 0].float().sum(-1)

    return Blueprint(name, network, look)


def _on_meta(build: Callable[[], Any], dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        return build().to(dtype).eval().requires_grad_(False)
