"""All prompts encoded at once, and the text encoders given up: for runs whose prompts are known beforehand."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch
from torch import nn

from kedge.policies.base import Conditioning
from kedge.policies.latent import LatentPolicy
from kedge.policies.text import Encode
from kedge.units import MB


class KnownPrompts:
    """What prompts were encoded to, each by itself, in the host's memory.

    Args:
        encode: the family's own.
        prompts: all that will be asked for.
        limit: bytes that they may take together.
        device: where they are wanted.

    Raises:
        ValueError: if they take more.
    """

    def __init__(self, encode: Encode, prompts: Sequence[str], limit: int, device: torch.device):
        self._device = device
        self._encoded: dict[str, Conditioning] = {}
        self.bytes = 0
        different = list(dict.fromkeys(prompts))
        for prompt in different:
            cond = encode([prompt]).to(torch.device("cpu"))
            self._encoded[prompt] = cond
            for tensor in cond.tensors.values():
                self.bytes += tensor.numel() * tensor.element_size()
            if self.bytes > limit:
                raise ValueError(too_many(len(self._encoded), self.bytes, len(different), limit))

    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """The prompts' encodings, batched.

        Raises:
            ValueError: for one that was not known.
        """
        columns: dict[str, list[torch.Tensor]] = {}
        for prompt in prompts:
            if prompt not in self._encoded:
                raise ValueError(
                    f"the prompt {prompt[:60]!r} was not known when the text encoders were dropped: set "
                    "memory.drop_text_encoders=false (offload_text_encoders=true keeps them in the host's memory)"
                )
            for name, tensor in self._encoded[prompt].tensors.items():
                columns.setdefault(name, []).append(tensor)
        return Conditioning({name: torch.cat(column) for name, column in columns.items()}).to(self._device)


def too_many(count: int, size: float, all_prompts: int, limit: float) -> str:
    """What to say where encoded prompts do not fit."""
    return (
        f"memory.drop_text_encoders: {all_prompts} prompts take {size / count * all_prompts / MB:.0f} MB when they are "
        f"encoded, more than memory.prompt_cache_mb={limit / MB:.0f}: raise it if this machine has so much, take fewer "
        "prompts (prompts.count), or set memory.offload_text_encoders=true instead"
    )


def drop_text_encoders(policy: LatentPolicy, prompts: Sequence[str], limit: int) -> None:
    """Encode ``prompts`` while all other networks wait on the host, and remove the text encoders.

    Args:
        limit: bytes that the encoded prompts may take, for each size of pictures.

    Raises:
        ValueError: if they take more.
    """
    others = list[nn.Module]()
    for name, part in policy.pipeline.components.items():
        if isinstance(part, nn.Module) and name not in policy.backbone.text_encoders:
            others.append(part.to("cpu"))
    for other in (policy, *policy.other_sizes):
        other.text = KnownPrompts(other.text, prompts, limit, policy.device)
    policy.pipeline.register_modules(**dict.fromkeys(policy.backbone.text_encoders))
    gc.collect()
    for part in others:
        part.to(policy.device)
