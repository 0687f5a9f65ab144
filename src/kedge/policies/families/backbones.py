"""The networks of a pipeline by their names: what a backbone is, and the one of all UNet pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")  # ROCM's adapter (page 5)
OMEGA = "time_embedding.cond_proj.weight"  # [channels, width of ω's embedding], of UNets that take ω as an input


@dataclass(frozen=True)
class Architecture:
    """What kohya's tools and the model specification call the model under a LoRA.

    Attributes:
        base_model: ``ss_base_model_version``.
        specification: ``modelspec.architecture``.
    """

    base_model: str
    specification: str


@dataclass(frozen=True)
class KohyaNames:
    """How ComfyUI, A1111 and kohya's tools name the layers of a LoRA.

    Attributes:
        prefix: before each layer's name, in which dots become underscores.
        architectures: width of the text that the network reads → what its architecture is called.
    """

    prefix: str
    architectures: Mapping[int, Architecture] = field(default_factory=dict)

    def key(self, layer: str) -> str:
        """``down_blocks.0.….to_out.0`` → ``lora_unet_down_blocks_0_…_to_out_0``."""
        return self.prefix + layer.replace(".", "_")


@dataclass(frozen=True)
class Backbone:
    """The networks of a pipeline, by their names in it; several families may share them.

    Attributes:
        pipelines: classes in diffusers that have them, as ``model_index.json`` names them.
        network: the one that denoises: it gets the adapter, and its name stands before the adapter's layers in
            diffusers' LoRA files.
        guidance_input: the key of that network's config which says that it takes ω as an input; None if it never does.
        text_encoders: those that memory settings keep in the host's memory.
        lora_targets: endings of the names of the layers that get the adapter by default.
        kohya: names for LoRA files in kohya's format; None where other programs have not agreed on any.
    """

    pipelines: tuple[str, ...]
    network: str
    guidance_input: str | None = None
    text_encoders: tuple[str, ...] = ("text_encoder",)
    lora_targets: tuple[str, ...] = ATTENTION
    kohya: KohyaNames | None = None

    def takes_guidance(self, config: Mapping[str, Any]) -> bool:
        """Whether a network with this config was distilled with ω as an input."""
        return self.guidance_input is not None and bool(config.get(self.guidance_input))


UNETS = Backbone(
    pipelines=("StableDiffusionPipeline", "LatentConsistencyModelPipeline", "StableDiffusionXLPipeline"),
    network="unet",
    guidance_input="time_cond_proj_dim",
    text_encoders=("text_encoder", "text_encoder_2"),
    kohya=KohyaNames(
        prefix="lora_unet_",
        architectures={
            768: Architecture("sd_v1", "stable-diffusion-v1"),
            1024: Architecture("sd_v2", "stable-diffusion-v2-512"),
            2048: Architecture("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
        },
    ),
)
