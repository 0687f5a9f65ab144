"""Generators as policies over latents; torch and diffusers are imported only when one is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kedge.registry import Registry

if TYPE_CHECKING:
    import torch

    from kedge.policies.base import Policy
    from kedge.policies.lora import LoraConfig

POLICIES = Registry(
    "kind of model",
    {"lcm": "kedge.policies.lcm:load_lcm", "diffusion": "kedge.policies.diffusion:load_diffusion"},
)


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
) -> Policy:
    """Load a generator.

    Args:
        kind: ``lcm``, ``diffusion``, or ``module:function`` taking the same arguments as this, without ``kind``.
        model: as for :func:`kedge.models.resolve_model`.
        steps: K.
        guidance: ω of ROCM's Eq. 4; diffusers' ``guidance_scale`` is ω + 1.
        lora: the adapter to add; None leaves the model as it is, with nothing to train.
        dtype: of the networks. Latents, the adapter and all step arithmetic stay in float32 (float64 with float64).
        eta: DDIM's η in [0, 1]; consistency models ignore it.

    Raises:
        UnknownNameError: for an unknown kind or model.
        ValueError: for a model of another kind, or a setting that it cannot have.
    """
    import torch

    dtype = dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    load = POLICIES.get(kind)
    return load(model, steps=steps, guidance=guidance, lora=lora, device=torch.device(device), dtype=dtype, eta=eta)
