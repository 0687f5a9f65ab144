"""Vision networks whose features say how far apart two pictures are; what is not on this machine is never fetched.

A picture's features are two unit vectors side by side, over √2: the state of the network's [CLS] token (what is there)
and the mean patch states of the picture's four quarters (where, and before what). Both halves count alike, so that
neither animals nor backgrounds alone can hide a collapse of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from kedge.registry import UnknownNameError, suggest
from kedge.rewards.parts import BLIP, CLIP_L
from kedge.rewards.pil_resize import resize_like_pil
from kedge.rewards.preprocess import centre_crop, normalise
from kedge.rewards.sources import MissingWeightsError, fetch_command, find_published, size_in_words, world_assets
from kedge.rewards.spec import Part
from kedge.rewards.weights import WrongWeightsError, at_least_float32, build_frozen, read_state

AUTO, NONE = "auto", "none"
QUARTERS = 2  # a side
# facebook/dinov2-…: preprocessor_config.json of all sizes.
SHORTEST, CROP = 256, 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

States = Callable[[Tensor], Tensor]


class Encoder(Protocol):
    """What diversity is measured by."""

    @property
    def name(self) -> str:
        """As the config writes it; evaluations of different encoders are never compared."""

    def __call__(self, images: Tensor) -> Tensor:
        """Unit vectors ``[B, D]`` float32 of images ``[B, 3, H, W]`` in [0, 1]."""


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder that can be named.

    Attributes:
        part: what it is loaded from.
        load: from the part's path, a device and a dtype to a function from images to the last states ``[B, 1 + N, W]``:
            [CLS], then a square of patches.
        about: what it is, for people.
    """

    name: str
    part: Part
    load: Callable[[Path, torch.device, torch.dtype], States]
    about: str


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder with its weights."""

    name: str
    states: States

    def __call__(self, images: Tensor) -> Tensor:
        """See :class:`Encoder`."""
        return scene_features(at_least_float32(self.states(images))).float()


def scene_features(states: Tensor) -> Tensor:
    """Unit vectors ``[B, 5 W]`` from a vision transformer's states ``[B, 1 + N, W]``, N patches in a square."""
    patches = states[:, 1:]
    side = round(patches.shape[1] ** 0.5)
    grid = patches.transpose(1, 2).unflatten(2, (side, side))
    quarters = F.adaptive_avg_pool2d(grid, QUARTERS).flatten(1)
    return torch.cat([F.normalize(states[:, 0], dim=-1), F.normalize(quarters, dim=-1)], 1) / 2**0.5


def _emoji(path: Path, device: torch.device, dtype: torch.dtype) -> States:
    """The vision tower of the emoji world's BLIP."""
    from transformers import BlipVisionModel

    from kedge.rewards.blip import architecture, blip_preprocess, from_published

    config = architecture(path)
    prefix = "vision_model."
    state = from_published(read_state(path, unwrap="model"))
    vision = {}
    for key, value in state.items():
        if key.startswith(prefix):
            vision[key.removeprefix(prefix)] = value
    model = build_frozen(lambda: BlipVisionModel(config.vision_config), vision, file=path, device=device, dtype=dtype)
    pixels = blip_preprocess(config)
    return lambda images: model(pixel_values=pixels(images.to(device))).last_hidden_state


def _clip(path: Path, device: torch.device, dtype: torch.dtype) -> States:
    """A CLIP's vision tower; shared with the rewards that are loaded from the same folder."""
    from kedge.rewards.clip import load_clip

    clip = load_clip(path, device, "openai", dtype)
    return lambda images: clip.model.vision_model(pixel_values=clip.preprocess(images.to(device))).last_hidden_state


def _dinov2(path: Path, device: torch.device, dtype: torch.dtype) -> States:
    """DINOv2 (Oquab et al. 2023) as transformers has it.

    Raises:
        WrongWeightsError: the folder does not hold all of its weights.
    """
    from transformers import Dinov2Model

    from kedge.quiet import quiet_loading

    with quiet_loading():
        model, report = Dinov2Model.from_pretrained(path, local_files_only=True, output_loading_info=True, dtype=dtype)
    wrong = {}
    for kind, keys in report.items():
        if keys:
            wrong[kind] = sorted(map(str, keys))
    if wrong:
        raise WrongWeightsError(f"{path} does not hold DINOv2's weights: {wrong}")
    model = model.eval().requires_grad_(False).to(device)
    return lambda images: model(pixel_values=dinov2_pixels(images.to(device))).last_hidden_state


def dinov2_pixels(images: Tensor) -> Tensor:
    """What DINOv2 reads, ``[B, 3, 224, 224]``: shortest side to 256 as Pillow does, centre crop, ImageNet's scale."""
    height, width = images.shape[-2:]
    short = min(height, width)
    images = resize_like_pil(images, SHORTEST * height // short, SHORTEST * width // short)
    return normalise(centre_crop(images, CROP), IMAGENET_MEAN, IMAGENET_STD)


DINOV2_FILES = ("config.json", "model.safetensors|pytorch_model.bin")
DINOV2 = Part("encoder", "facebook/dinov2-base", files=DINOV2_FILES, size=346_000_000, licence="Apache-2.0")

ENCODERS = {
    spec.name: spec
    for spec in (
        EncoderSpec("emoji", BLIP, _emoji, "the vision tower of the emoji world's BLIP"),
        EncoderSpec("dinov2", DINOV2, _dinov2, "DINOv2 ViT-B/14, trained on pictures alone"),
        EncoderSpec("clip", CLIP_L, _clip, "OpenAI's CLIP ViT-L/14, as in clipscore"),
    )
}


def choose_encoder(text: str, model: str) -> str | None:
    """The encoder meant by a config's ``watch.encoder``; None for none.

    ``auto`` is ``emoji`` for bundled models, else the first of ``dinov2`` and ``clip`` that is on this machine.

    Raises:
        UnknownNameError: listing the names.
    """
    name = text.partition("@")[0]
    if name == AUTO:
        if model.startswith("emoji-"):
            return "emoji"
        return next((other for other in ("dinov2", "clip") if find_published(ENCODERS[other].part)), None)
    if name == NONE:
        return None
    if name not in ENCODERS:
        names = [AUTO, NONE, *ENCODERS]
        raise UnknownNameError(f"unknown encoder {name!r}.{suggest(name, names)} Choose from: {', '.join(names)}")
    return text


def load_encoder(text: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Encoder:
    """Load ``NAME`` or ``NAME@FOLDER``.

    Raises:
        UnknownNameError: there is none of this name.
        MissingWeightsError: it is not on this machine; the message says how to fetch it.
    """
    chosen = choose_encoder(text, "") or NONE
    name, _, source = chosen.partition("@")
    if name == NONE:
        raise UnknownNameError(f"no encoder {text!r}. {fetch_advice()}")
    spec = ENCODERS[name]
    return LoadedEncoder(chosen, spec.load(_place(spec, source), torch.device(device), dtype))


def fetch_advice() -> str:
    """How to get an encoder for real models."""
    return f"To measure how much pictures vary ({size_in_words(DINOV2.size)}): {fetch_command(DINOV2)}"


def _place(spec: EncoderSpec, source: str) -> Path:
    part = spec.part
    if spec.name == "emoji":
        return world_assets() / str(part.bundled)
    if source:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise MissingWeightsError(f"encoder {spec.name}@{source}: no such folder")
        return folder
    folder_of_part = find_published(part)
    if folder_of_part is None:
        raise MissingWeightsError(
            f"encoder {spec.name!r} needs {part.where} ({size_in_words(part.size)}, licence: {part.licence}), which is "
            f"not on this machine. Fetch it with:\n  {fetch_command(part)}"
        )
    return folder_of_part
