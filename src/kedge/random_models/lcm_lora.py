"""LCM-LoRA as it is published: one file in kohya's names, rank 64, on the linear layers and convolutions of a UNet."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from kedge.policies.families.backbones import UNETS
from kedge.random_models.scale import Scale
from kedge.random_models.sdxl import sdxl_unet
from kedge.random_models.stable_diffusion import sd15_unet

FILE = "pytorch_lora_weights.safetensors"
RANK, ALPHA = 64, 8.0
LAYERS = re.compile(
    r"(to_[qkv]|to_out\.0|proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2|conv_shortcut"
    r"|downsamplers\.0\.conv|upsamplers\.0\.conv|time_emb_proj)$"
)


@dataclass(frozen=True)
class LoraFile:
    """The tensors of a LoRA, with diffusers' way to save them."""

    tensors: dict[str, Tensor]

    def save_pretrained(self, folder: Path, variant: str | None = None) -> None:
        """Write ``pytorch_lora_weights.safetensors``.

        Raises:
            ValueError: for a variant: the published LoRAs have none.
        """
        if variant:
            raise ValueError(f"an LCM-LoRA has no variants: leave out {variant!r}")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, folder / FILE, {"format": "pt"})


def sd15_lcm_lora(scale: Scale) -> LoraFile:
    """``latent-consistency/lcm-lora-sdv1-5``."""
    return lora_for(scale, sd15_unet)


def sdxl_lcm_lora(scale: Scale) -> LoraFile:
    """``latent-consistency/lcm-lora-sdxl``."""
    return lora_for(scale, sdxl_unet)


def lora_for(scale: Scale, unet: Callable[[Scale], UNet2DConditionModel]) -> LoraFile:
    """A LoRA of LCM-LoRA's rank, α and layers on such a UNet."""
    with torch.device("meta"):
        network = unet(scale)
    rank, kohya = scale.channels(RANK, multiple=4), UNETS.kohya
    assert kohya is not None
    tensors: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if not LAYERS.search(name) or not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        out, into, *kernel = module.weight.shape
        key = kohya.key(name)
        tensors[f"{key}.lora_down.weight"] = torch.randn(rank, into, *kernel) / rank
        tensors[f"{key}.lora_up.weight"] = 0.1 * torch.randn(out, rank, *([1] * len(kernel)))
        tensors[f"{key}.alpha"] = torch.tensor(ALPHA * rank / RANK)
    return LoraFile(tensors)
