"""A second LoRA beside the adapter, for a while: what users do who stack LoRAs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from kedge.policies.latent import LatentPolicy
from kedge.policies.merged_lora import check_fit, read_lora
from kedge.policies.part_files import lora_file
from kedge.policies.quantized import is_quantized


@contextmanager
def lora_beside(policy: LatentPolicy, source: str, weight: float, key: str) -> Iterator[None]:
    """Inside, base and tuned model have ``weight`` · ΔW of another LoRA; afterwards they are as before, bit for bit.

    Args:
        source: as for :func:`kedge.policies.part_files.lora_file`.
        key: where it was named, for messages.

    Raises:
        ValueError: for another kind of adapter, or one that does not fit this network.
    """
    path = lora_file(source, key)
    layers: dict[str, Any] = {}
    for name, module in policy.network.named_modules():
        layers[name] = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    network = policy.backbone.network
    updates = read_lora(path, policy.pipeline, key, network)
    stored = [name for name in updates if name in layers and is_quantized(layers[name].weight)]
    if stored:
        raise ValueError(f"{key}: {stored[0]} is stored in fewer bits (model.quantize), to which no LoRA can be added")
    check_fit(updates, layers, f"{key}: {path.name}", network)
    before: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for name, low_rank in updates.items():
                own = layers[name].weight
                before[name] = own.detach().clone()
                update = (weight * low_rank.update()).reshape(own.shape).to(own.device)
                own.copy_((own.to(update.dtype) + update).to(own.dtype))
        yield
    finally:
        with torch.no_grad():
            for name, own in before.items():
                layers[name].weight.copy_(own)
