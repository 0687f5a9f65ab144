"""Attention as it is counted: fused, by the kernel that a CPU has for it, whatever the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def _attention(query: Tensor, key: Tensor, *_: Any) -> int:
    batch, heads, length, width = query.shape
    return 4 * batch * heads * length * key.shape[2] * width  # queries with keys, weights with values


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, *_: Any) -> int:
    return _attention(query, key) * 5 // 2  # as flash attention, which computes the weights again


ATTENTION: dict[Any, Callable[..., int]] = {
    FUSED: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Takes the place of torch's own, which would choose the plain kernel on the meta device.

    Args:
        query, key, value: ``[..., L, width]``, alike in what is before but for what broadcasts.
    """
    if enable_gqa:
        repeats = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(repeats, 1) for x in (key, value))
    mask = None if attn_mask is None or attn_mask.dtype == torch.bool else attn_mask
    before = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    query, key, value = (_four(x.expand(*before, *x.shape[-2:])) for x in (query, key, value))
    if mask is not None and len(before) != 2:
        mask = _four(mask.expand(*before, *mask.shape[-2:]))
    output: Tensor = FUSED(query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale)[0]
    return output if len(before) == 2 else output.reshape(*before, *output.shape[-2:])


def _four(x: Tensor) -> Tensor:
    """``[B, heads, L, width]``, which the kernel wants, from any ``[..., L, width]``."""
    if x.dim() == 4:
        return x
    heads = x.shape[-3] if x.dim() > 2 else 1
    return x.reshape(-1, heads, *x.shape[-2:])
