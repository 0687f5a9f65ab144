"""Generators as policies over latents; torch and diffusers are imported only when one is loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.models import ModelParts
from kedge.policies.families import AUTO, FAMILIES, Family, default_guidance, detect_kind, find
from kedge.policies.families.backbones import ATTENTION
from kedge.registry import load_object

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

    from kedge.policies.base import Policy
    from kedge.policies.latent import LatentPolicy
    from kedge.policies.settings import LoraConfig, Quantization, Size

log = logging.getLogger(__name__)

__all__ = ["AUTO", "FAMILIES", "ModelParts", "detect_kind", "load_policy", "make_policy"]


def load_policy(
    kind: str,
    model: str | Path,
    *,
    steps: int,
    guidance: float | None = None,
    lora: LoraConfig | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    eta: float = 1.0,
    renoise: float = 1.0,
    timesteps: Sequence[int] | None = None,
    prediction_type: str | None = None,
    size: Size | Sequence[tuple[int, int]] | None = None,
    parts: ModelParts | None = None,
    quantize: Quantization | None = None,
    texts_on_host: bool = False,
) -> Policy:
    """Load a generator.

    Args:
        kind: ``auto``, one of :data:`FAMILIES`, ``module:object`` for a family of your own, or ``module:function``
            taking the same arguments as this, without ``kind`` and ``texts_on_host``; ``renoise``, ``timesteps``,
            ``size``, ``parts`` and ``quantize`` are passed to it only where they are given.
        model: as for :func:`kedge.models.resolve_model`.
        steps: K.
        guidance: ω of ROCM's Eq. 4; diffusers' ``guidance_scale`` is ω + 1. None is the model's own.
        lora: the adapter to add, on the family's layers unless it names others; None leaves nothing to train.
        dtype: of the networks. Latents, the adapter and all step arithmetic stay in float32 (float64 with float64).
        eta: DDIM's η in [0, 1], for the families that take it.
        renoise: r in [0, 1], for the families that take it: a step draws r of the next level's noise afresh.
        timesteps: t_K, …, t_1, for the families that take them; None leaves them to the model's scheduler.
        prediction_type: what the network predicts, where its scheduler's config says something else.
        size: side of the pictures in pixels, or height and width; None is the model's own. Of several
            ``(height, width)`` the first is the policy's, and the others are its ``other_sizes``.
        parts: a UNet, a VAE or a LoRA to merge from elsewhere, and the variant of the weight files.
        quantize: ``int8`` or ``nf4`` stores the denoising network's blocks in fewer bits; None in ``dtype``.
        texts_on_host: leave the text encoders in the host's memory, from where each is fetched for its work.

    Raises:
        UnknownNameError: for an unknown kind or model.
        ValueError: for a model of another kind, or a setting that it cannot have.
    """
    import torch

    dtype = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    kind = detect_kind(model, parts) if kind == AUTO else kind
    if guidance is None:
        guidance = default_guidance(kind, model, parts)
    settings: dict[str, Any] = {"steps": steps, "guidance": guidance, "eta": eta}
    family = find(kind)
    if family is None:
        optional: dict[str, Any] = {"size": size, "parts": parts, "renoise": renoise, "timesteps": timesteps}
        optional["quantize"] = quantize
        optional = {name: value for name, value in optional.items() if value not in (None, ModelParts(), 1.0)}
        settings |= {**optional, "device": torch.device(device), "dtype": dtype}
        policy: Policy = load_object(kind)(model, lora=lora and lora.on(ATTENTION), **settings)
        return policy
    _warn_of_guidance(family, guidance, parts or ModelParts())
    from kedge.policies.loading import Place, load_pipeline
    from kedge.policies.memory import fetch_texts

    place = Place(
        model, parts or ModelParts(), torch.device(device), dtype, quantize=quantize, texts_on_host=texts_on_host
    )
    settings |= {"renoise": renoise, "timesteps": timesteps, "prediction_type": prediction_type}
    latent = make_policy(kind, load_pipeline(place, family), lora=lora, size=size, **settings)
    if texts_on_host:
        fetch_texts(latent)
    return latent


def make_policy(
    kind: str,
    pipeline: DiffusionPipeline,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    size: Size | Sequence[tuple[int, int]] | None = None,
    eta: float = 1.0,
    renoise: float = 1.0,
    timesteps: Sequence[int] | None = None,
    prediction_type: str | None = None,
) -> LatentPolicy:
    """An open pipeline as a policy of a family; ``eta`` and ``renoise`` are left out where they mean nothing to it.

    Raises:
        UnknownNameError: for an unknown ``kind``.
        ValueError: for one that is no family, or settings that it cannot have.
    """
    family = find(kind)
    if family is None:
        raise ValueError(f"{kind} is a policy of its own, not a family that makes one of a pipeline")
    if prediction_type:
        _set_prediction_type(pipeline, family, prediction_type)
    further = {"eta": eta, "renoise": renoise, "timesteps": family.timesteps_for(steps, timesteps)}
    taken = {}
    for name, value in further.items():
        if name in family.keys:
            taken[name] = value
    lora = lora.on(family.backbone.lora_targets) if lora else None
    first, *others = several(size) or (size,)
    # The adapter comes last: whoever makes a policy freezes the networks first.
    policies = [family.policy(pipeline, steps=steps, guidance=guidance, size=other, **taken) for other in others]
    policy = family.policy(pipeline, steps=steps, guidance=guidance, lora=lora, size=first, **taken)
    policy.share(policies)
    return policy


def several(size: Size | Sequence[tuple[int, int]] | None) -> tuple[tuple[int, int], ...]:
    """The sizes, where there are several of them; empty where it is a single one."""
    if size is None or isinstance(size, int) or isinstance(size[0], int):
        return ()
    return tuple((height, width) for height, width in size)  # type: ignore[misc]


def _warn_of_guidance(family: Family, guidance: float, parts: ModelParts) -> None:
    conversion = family.conversion(parts)
    if conversion and conversion.most_guidance is not None and guidance > conversion.most_guidance:
        log.warning(
            "model.guidance=%g: a model made by model.%s is made for at most about %g; more burns its pictures",
            guidance,
            conversion.key,
            conversion.most_guidance,
        )


def _set_prediction_type(pipeline: DiffusionPipeline, family: Family, name: str) -> None:
    from kedge.policies.schedulers import as_scheduler

    if "prediction_type" not in family.scheduler_keys:
        raise ValueError(f"model.prediction_type={name} means nothing to {family.name}: leave it out")
    scheduler = pipeline.scheduler
    pipeline.register_modules(scheduler=as_scheduler(type(scheduler), scheduler, prediction_type=name))
