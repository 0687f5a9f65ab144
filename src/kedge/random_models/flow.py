"""What the flow-matching models share: their scheduler, and the VAE of FLUX.1, Z-Image and Stable Diffusion 3."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler

from kedge.random_models.scale import Scale
from kedge.random_models.stable_diffusion import autoencoder

FLUX_VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
SD3_VAE = {"scaling_factor": 1.5305, "shift_factor": 0.0609}


def flow_scheduler(**settings: Any) -> FlowMatchEulerDiscreteScheduler:
    """A scheduler whose numbers are real also where networks are made without weights."""
    with torch.device("cpu"):
        return FlowMatchEulerDiscreteScheduler(**settings)


def sixteen_channels(scale: Scale, published: dict[str, float]) -> AutoencoderKL:
    """A VAE of 16 channels, with the constants by which its latents were normalised."""
    return autoencoder(
        scale,
        latent_channels=16,
        sample_size=scale.size or 1024,
        use_quant_conv=False,
        use_post_quant_conv=False,
        force_upcast=True,
        **published,
    )


def heads(scale: Scale, full: int) -> int:
    """Attention heads; two at least, so that a mistake among them shows."""
    return full if scale.width == 1 else max(2, round(full * scale.width))
