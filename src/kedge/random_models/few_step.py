"""Distillations that come as one file: a UNet in diffusers' names, and LoRAs in kohya's, as LCM-LoRA is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from kedge.random_models.lcm_lora import LoraFile, lora_for
from kedge.random_models.scale import Scale
from kedge.random_models.sdxl import sdxl_unet
from kedge.random_models.stable_diffusion import sd15_unet

UNET_FILE = "unet.safetensors"


@dataclass(frozen=True)
class UnetFile:
    """A UNet without its config, with diffusers' way to save it."""

    network: UNet2DConditionModel

    def save_pretrained(self, folder: Path, variant: str | None = None) -> None:
        """Write ``unet.safetensors`` alone.

        Raises:
            ValueError: for a variant: such files have none.
        """
        if variant:
            raise ValueError(f"a UNet of one file has no variants: leave out {variant!r}")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / UNET_FILE, {"format": "pt"})


def sdxl_unet_file(scale: Scale) -> UnetFile:
    """``ByteDance/SDXL-Lightning`` and ``tianweiy/DMD2``: the UNet of SDXL, without guidance embedding."""
    return UnetFile(sdxl_unet(scale))


def sdxl_lora(scale: Scale) -> LoraFile:
    """A distillation LoRA of SDXL."""
    return lora_for(scale, sdxl_unet)


def sd15_lora(scale: Scale) -> LoraFile:
    """A distillation LoRA of Stable Diffusion 1.5."""
    return lora_for(scale, sd15_unet)
