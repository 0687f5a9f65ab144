"""One tiny model for each supported family, in its true layout, and diffusers' own pipeline for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    UNet2DConditionModel,
)

from kedge.models import ModelParts
from kedge.quiet import quiet_loading
from kedge.random_models import Scale, build_layout

TINY = Scale(width=0.02, depth=0.01, size=64)


@dataclass(frozen=True)
class Family:
    """A supported kind of model.

    Attributes:
        kind: what it is found to be.
        layout: the whole model.
        parts: key of ``ModelParts`` → layout of the part.
        scheduler: from the folder's scheduler's config to what a user gives the pipeline; None leaves it as it is.
        steps, guidance: that suit it.
        call: further arguments of the pipeline's call.
    """

    kind: str
    layout: str
    parts: dict[str, str] = field(default_factory=dict)
    scheduler: Callable[[Any], Any] | None = None
    steps: int = 3
    guidance: float = 0.0
    call: dict[str, Any] = field(default_factory=dict)


def _ddim(config: Any) -> DDIMScheduler:
    return DDIMScheduler.from_config(config, clip_sample=False)


FAMILIES = {
    "sd15-lcm": Family("lcm", "sd15-lcm", guidance=7.5),
    "sd15-diffusion": Family("diffusion", "sd15", scheduler=_ddim, guidance=7.5, call={"eta": 1.0}),
    "sd15-lcm-lora": Family("lcm", "sd15", {"lcm_lora": "sd15-lcm-lora"}, LCMScheduler.from_config, guidance=0.5),
    "sdxl-diffusion": Family("diffusion", "sdxl", scheduler=_ddim, guidance=4.0, call={"eta": 1.0}),
    "sdxl-lcm": Family("lcm", "sdxl", {"unet": "sdxl-lcm-unet"}, LCMScheduler.from_config, guidance=7.0),
    "sdxl-lcm-lora": Family("lcm", "sdxl", {"lcm_lora": "sdxl-lcm-lora"}, LCMScheduler.from_config),
    "sd-turbo": Family("turbo", "sd-turbo", scheduler=EulerAncestralDiscreteScheduler.from_config, steps=4),
    "sdxl-turbo": Family("turbo", "sdxl-turbo", steps=2),
    "sana-sprint": Family("sana-sprint", "sana-sprint", steps=2, guidance=3.5, call={"use_resolution_binning": False}),
}


@dataclass(frozen=True)
class Built:
    """A family's model on disk."""

    family: Family
    folder: Path
    parts: ModelParts

    def policy_settings(self) -> dict[str, Any]:
        """The arguments of ``load_policy``, without steps."""
        return {"kind": "auto", "model": self.folder, "guidance": self.family.guidance, "parts": self.parts}

    def pipeline(self) -> DiffusionPipeline:
        """As a user of diffusers alone sets it up; the LCM-LoRA is an adapter named ``lcm`` there."""
        options = {}
        with quiet_loading():
            if self.parts.unet:
                options["unet"] = UNet2DConditionModel.from_pretrained(self.parts.unet)
            pipeline = DiffusionPipeline.from_pretrained(self.folder, **options)
            if self.family.scheduler:
                pipeline.scheduler = self.family.scheduler(pipeline.scheduler.config)
            if self.parts.lcm_lora:
                pipeline.load_lora_weights(self.parts.lcm_lora, adapter_name="lcm")
        return pipeline

    def draw(self, pipeline: DiffusionPipeline, prompts: list[str], steps: int, seed: int) -> torch.Tensor:
        """Pictures ``[B, 3, 64, 64]`` by the pipeline."""
        pipeline.set_progress_bar_config(disable=True)
        pipeline.safety_checker = None
        call = dict(self.family.call)
        if self.family.kind == "sana-sprint" and steps != 2:
            call["intermediate_timesteps"] = None
        images: torch.Tensor = pipeline(
            prompts,
            num_inference_steps=steps,
            guidance_scale=self.family.guidance + 1,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
            height=64,
            width=64,
            **call,
        ).images
        return images


def build(name: str, folder: Path, scale: Scale = TINY, **settings: Any) -> Built:
    """Write family ``name`` below ``folder``, unless it is there."""
    family = FAMILIES[name]

    def place(layout: str) -> Path:
        path = folder / layout
        return path if path.exists() else build_layout(layout, path, scale, **settings)

    parts = ModelParts(**{key: str(place(layout)) for key, layout in family.parts.items()})
    return Built(family, place(family.layout), parts)


Builder = Callable[[str], Built]
