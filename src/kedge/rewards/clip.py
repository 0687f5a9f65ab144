"""PickScore and CLIPScore: cosine similarities in a frozen CLIP, differentiable in the image."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig
from transformers.initialization import no_init_weights

from kedge.files import read_json
from kedge.rewards.openclip import VIT_B_32, VIT_H_14, VIT_L_14, to_clip_config
from kedge.rewards.preprocess import CropPreprocess, PadPreprocess, check_batch, read_preprocess
from kedge.rewards.skeleton import Paths, Skeleton, on_meta
from kedge.rewards.texts import TextCache, clean_text
from kedge.rewards.weights import Device, at_least_float32, build_frozen, read_folder, without
from kedge.vocabulary import check_vocabulary

Style = Literal["openai", "transformers"]


class FrozenCLIP:
    """A frozen CLIP: unit-length image and text features, the latter cached.

    Args:
        tokenize: a prompt to token ids ``[1, L]``.
    """

    def __init__(self, model: CLIPModel, tokenize: Callable[[str], Tensor], preprocess: CropPreprocess | PadPreprocess):
        self.model, self.tokenize, self.preprocess = model, tokenize, preprocess
        self.text_features = TextCache(self._encode_text)

    @property
    def device(self) -> torch.device:
        """Where it computes; images may come from elsewhere."""
        device: torch.device = self.model.logit_scale.device
        return device

    def image_features(self, images: Tensor) -> Tensor:
        """``[B, D]`` of images ``[B, 3, H, W]`` in [0, 1]."""
        pixels = self.preprocess(images.to(self.device))
        embedding = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(at_least_float32(self.model.visual_projection(embedding)), dim=-1)

    def cosine(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``[B]``, each image with its own prompt."""
        images = check_batch(images, prompts)
        text = self.text_features(prompts)
        return (self.image_features(images) * text).sum(-1).to(images.device)

    def _encode_text(self, prompt: str) -> Tensor:
        embedding = self.model.text_model(input_ids=self.tokenize(prompt).to(self.device)).pooler_output
        return F.normalize(at_least_float32(self.model.text_projection(embedding)), dim=-1)


_LOADED: weakref.WeakValueDictionary[tuple[Path, str, str, torch.dtype], FrozenCLIP] = weakref.WeakValueDictionary()


def load_clip(folder: Path, device: Device, style: Style, dtype: torch.dtype = torch.float32) -> FrozenCLIP:
    """Load a transformers CLIP folder; rewards that want the same one at the same time share it.

    Args:
        style: whose treatment of texts (cleaned or not) and of odd crops to follow: ``openai`` or ``transformers``.

    Raises:
        WrongWeightsError: the weights do not fit the folder's config.
    """
    key = (folder.resolve(), str(device), style, dtype)
    clip = _LOADED.get(key)
    if clip is None:
        config = read_config(folder)
        state, file = read_folder(folder)
        model = build_frozen(
            lambda: CLIPModel(config), without(state, "position_ids"), file=file, device=device, dtype=dtype
        )
        openai = style == "openai"
        preprocess = read_preprocess(folder, config.vision_config.image_size)
        text = config.text_config
        clip = FrozenCLIP(
            model,
            folder_tokenizer(folder, text, clean_text) if openai else folder_tokenizer(folder, text),
            replace(preprocess, offset="round" if openai else "floor"),
        )
        _LOADED[key] = clip
    return clip


def read_config(folder: Path) -> CLIPConfig:
    """The folder's ``config.json``.

    Raises:
        ValueError: it describes another kind of model.
    """
    config = read_json(folder / "config.json")
    if config.get("model_type", "clip") != "clip":
        raise ValueError(f"{folder}/config.json: expected a model of type 'clip', found {config['model_type']!r}")
    return CLIPConfig.from_pretrained(folder, local_files_only=True)


def folder_tokenizer(
    folder: Path, config: CLIPTextConfig, clean: Callable[[str], str] = lambda text: text
) -> Callable[[str], Tensor]:
    """Token ids ``[1, L]`` of a prompt, cut at the network's context as CLIP does.

    Raises:
        ValueError: for another network's tokenizer.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    check_vocabulary(len(tokenizer), config.vocab_size, "this CLIP", folder, spare=0)
    context = config.max_position_embeddings

    def tokenize(prompt: str) -> Tensor:
        ids = tokenizer(clean(prompt), truncation=True, max_length=context, return_tensors="pt")["input_ids"]
        return torch.as_tensor(ids)

    return tokenize


class PickScore:
    """``exp(logit scale) · cos(image, text)``, as in the model card of PickScore_v1 (Kirstain et al. 2023)."""

    differentiable = True

    def __init__(self, clip: Path, name: str = "pickscore", device: Device = "cpu", dtype: torch.dtype = torch.float32):
        self.name = name
        self.clip = load_clip(clip, device, "transformers", dtype)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        scale = at_least_float32(self.clip.model.logit_scale).exp()
        return scale.to(images.device) * self.clip.cosine(images, prompts)


class CLIPScore:
    """``scale · cos(image, prefix + text)``, the cosine cut at 0 if ``clip_negative``.

    The plain cosine is ROCM's (and ImageReward's) "CLIP score"; the published variants differ in scale, cut, prefix
    and network, and are registered by name.
    """

    differentiable = True

    def __init__(
        self,
        clip: Path,
        name: str = "clipscore",
        device: Device = "cpu",
        scale: float = 1.0,
        clip_negative: bool = False,
        prefix: str = "",
        style: Style = "openai",
        dtype: torch.dtype = torch.float32,
    ):
        self.name, self.scale, self.clip_negative, self.prefix = name, scale, clip_negative, prefix
        self.clip = load_clip(clip, device, style, dtype)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``."""
        cosine = self.clip.cosine(images, [self.prefix + prompt for prompt in prompts])
        return self.scale * (cosine.clamp(min=0) if self.clip_negative else cosine)


def meta_clip(config: CLIPConfig, preprocess: CropPreprocess | PadPreprocess, dtype: torch.dtype) -> FrozenCLIP:
    """A CLIP on the meta device, for images alone."""
    with no_init_weights():  # it ties none
        network = on_meta(lambda: CLIPModel(config), dtype)
    return FrozenCLIP(network, lambda _: torch.zeros(1, 1, dtype=torch.long), preprocess)


def skeleton(paths: Paths, dtype: torch.dtype, published: dict[str, Any] = VIT_H_14) -> Skeleton:
    """The CLIP of a cosine: by its folder's config, or as published (PickScore's: ViT-H/14)."""
    clip = meta_clip_of(paths, dtype, published)
    return Skeleton(clip.model, lambda images: clip.image_features(images.float()).sum(-1))


def vit_l14_skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """As :func:`skeleton`, published as ViT-L/14."""
    return skeleton(paths, dtype, VIT_L_14)


def vit_b32_skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """As :func:`skeleton`, published as ViT-B/32."""
    return skeleton(paths, dtype, VIT_B_32)


def meta_clip_of(paths: Paths, dtype: torch.dtype, published: dict[str, Any]) -> FrozenCLIP:
    """The CLIP in the folder ``paths["clip"]`` on the meta device; without that folder, the published architecture."""
    config = read_config(paths["clip"]) if "clip" in paths else to_clip_config(published)
    return meta_clip(config, CropPreprocess(config.vision_config.image_size), dtype)
