"""Generators as policies over latents; torch and diffusers are imported only when one is loaded."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.models import ModelParts
from kedge.policies.families.detect import AUTO, POLICIES, detect_kind

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

    from kedge.policies.base import Policy
    from kedge.policies.latent import LatentPolicy
    from kedge.policies.lora import LoraConfig

__all__ = ["AUTO", "POLICIES", "ModelParts", "detect_kind", "load_policy", "make_policy"]


def load_policy(
    kind: str,
    model: str | Path,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    eta: float = 1.0,
    size: int | tuple[int, int] | None = None,
    parts: ModelParts | None = None,
) -> Policy:
    """Load a generator.

    Args:
        kind: ``auto``, one of :data:`POLICIES`, or ``module:function`` taking the same arguments as this, without
            ``kind``; ``size`` and ``parts`` are passed to it only where they are given.
        model: as for :func:`kedge.models.resolve_model`.
        steps: K.
        guidance: ω of ROCM's Eq. 4; diffusers' ``guidance_scale`` is ω + 1.
        lora: the adapter to add; None leaves the model as it is, with nothing to train.
        dtype: of the networks. Latents, the adapter and all step arithmetic stay in float32 (float64 with float64).
        eta: DDIM's η in [0, 1]; only diffusion models take note.
        size: side of the pictures in pixels, or height and width; None is the model's own.
        parts: a UNet, a VAE or an LCM-LoRA from elsewhere, and the variant of the weight files.

    Raises:
        UnknownNameError: for an unknown kind or model.
        ValueError: for a model of another kind, or a setting that it cannot have.
    """
    import torch

    dtype = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    kind = detect_kind(model, parts) if kind == AUTO else POLICIES.resolve(kind)
    settings: dict[str, Any] = {"steps": steps, "guidance": guidance, "lora": lora, "eta": eta}
    if ":" in kind:
        load = POLICIES.get(kind)
        given: dict[str, Any] = {"size": size, "parts": parts}
        given = {name: value for name, value in given.items() if value not in (None, ModelParts())}
        policy: Policy = load(model, device=torch.device(device), dtype=dtype, **settings, **given)
        return policy
    from kedge.policies.loading import Place, load_pipeline

    pipeline = load_pipeline(Place(model, parts or ModelParts(), torch.device(device), dtype), kind)
    return make_policy(kind, pipeline, size=size, **settings)


def make_policy(kind: str, pipeline: DiffusionPipeline, *, eta: float = 1.0, **settings: Any) -> LatentPolicy:
    """An open pipeline as a policy of a registered ``kind``; ``eta`` is dropped where it has no meaning."""
    make = POLICIES.get(kind)
    if "eta" in inspect.signature(make).parameters:
        settings["eta"] = eta
    policy: LatentPolicy = make(pipeline, **settings)
    return policy
