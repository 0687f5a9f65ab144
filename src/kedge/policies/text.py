"""Conditioning: from prompts to what each family's network reads, by the pipeline's own text encoders."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from kedge.policies.base import Conditioning

Encode = Callable[[Sequence[str]], Conditioning]
EMPTY = "empty_"  # marks what stands in for a tensor in the unconditional half of classifier-free guidance


class ClipText:
    """Stable Diffusion's: ``text`` ``[B, L, D]`` and, with guidance, ``empty_text`` of the empty prompt.

    Args:
        unconditional: whether the empty prompt is wanted too.
    """

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device, *, unconditional: bool):
        self._pipeline, self._device, self._unconditional = pipeline, device, unconditional

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Without gradient, truncated or padded to 77 tokens."""
        text, empty = self._pipeline.encode_prompt(list(prompts), self._device, 1, self._unconditional)
        return Conditioning({"text": text} if empty is None else {"text": text, f"{EMPTY}text": empty})


class TwoClipTexts:
    """SDXL's: ``text`` ``[B, L, D₁ + D₂]``, ``pooled`` ``[B, P]``, ``time_ids`` ``[B, 6]``, and ``empty_`` ones.

    The time ids say that nothing was scaled or cropped: original size, corner, and target size, all of the picture's.

    Args:
        unconditional: whether the empty prompt is wanted too.
        pixels: height and width of the pictures.
    """

    def __init__(
        self, pipeline: DiffusionPipeline, device: torch.device, *, unconditional: bool, pixels: tuple[int, int]
    ):
        self._pipeline, self._device, self._unconditional = pipeline, device, unconditional
        self._time_ids = torch.tensor([*pixels, 0, 0, *pixels], device=device)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Without gradient; each encoder truncates or pads to 77 tokens."""
        text, empty, pooled, empty_pooled = self._pipeline.encode_prompt(
            list(prompts), device=self._device, do_classifier_free_guidance=self._unconditional
        )
        tensors = {"text": text, "pooled": pooled, "time_ids": self._time_ids.to(text.dtype).expand(len(text), -1)}
        if self._unconditional:
            tensors |= {f"{EMPTY}text": empty, f"{EMPTY}pooled": empty_pooled}
        return Conditioning(tensors)


class GemmaText:
    """SANA's: ``text`` ``[B, L, D]`` and ``mask`` ``[B, L]``, after the instruction that the pipeline puts in front."""

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device):
        self._pipeline, self._device = pipeline, device
        call = inspect.signature(type(pipeline).__call__).parameters
        self._instruction: list[str] = call["complex_human_instruction"].default

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Without gradient, truncated or padded to 300 tokens."""
        text, mask = self._pipeline.encode_prompt(
            list(prompts), device=self._device, complex_human_instruction=self._instruction
        )
        return Conditioning({"text": text, "mask": mask})


def unconditional_first(cond: Conditioning) -> Conditioning:
    """Twice the batch: the empty prompt's tensors, or the same ones where it has none of its own, then the prompts'."""
    named: dict[str, Tensor] = {}
    for name, t in cond.tensors.items():
        if not name.startswith(EMPTY):
            named[name] = t
    return Conditioning(
        {name: torch.cat([cond.tensors.get(f"{EMPTY}{name}", tensor), tensor]) for name, tensor in named.items()}
    )
