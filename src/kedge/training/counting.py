"""Counts what a computation would take, on tensors of the meta device: nothing is computed, nothing is stored.

Autograd runs as it would: what the backward pass needs stays counted until it is let go, what is recomputed is counted
again. Attention is taken to be fused (its matrix of weights never exists), as torch does it wherever it can.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
# Ways to look at a tensor that move nothing.
VIEWS = {"view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "split", "detach", "alias"}
VIEWS |= {"unsqueeze", "squeeze", "unflatten", "chunk", "split_with_sizes", "as_strided", "unbind", "_reshape_alias"}
# One result, of the shape and precision that all inputs have.
ELEMENTWISE = {
    "add",
    "sub",
    "mul",
    "div",
    "neg",
    "exp",
    "tanh",
    "sigmoid",
    "silu",
    "silu_backward",
    "gelu",
    "gelu_backward",
}


@dataclass(frozen=True)
class Cost:
    """What a computation takes.

    Attributes:
        flops: floating-point operations of matrix products, convolutions and attention: two for a product and a sum.
        traffic: bytes read and written by all operations, if none is fused with its neighbour.
        calls: operations that the host starts.
        peak: bytes in memory at the worst moment, besides what was there before.
    """

    flops: float = 0.0
    traffic: float = 0.0
    calls: float = 0.0
    peak: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        peak = max(self.peak, other.peak)
        return Cost(self.flops + other.flops, self.traffic + other.traffic, self.calls + other.calls, peak)

    def __mul__(self, times: float) -> Cost:
        """Again and again."""
        return Cost(self.flops * times, self.traffic * times, self.calls * times, self.peak)


class _Held(weakref.ref):
    """Notices when a storage is let go."""

    __slots__ = ("key", "size")
    key: int
    size: int


class Counter(TorchDispatchMode):
    """A context that counts every operation inside it."""

    def __init__(self) -> None:
        super().__init__()
        self._flops = self._traffic = self._calls = self._now = self._peak = 0
        self._held: dict[int, _Held] = {}

    @property
    def cost(self) -> Cost:
        """So far."""
        return Cost(self._flops, self._traffic, self._calls, self._peak)

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, function.overloadpacket
        found = _like_its_inputs(args) if packet.__name__ in ELEMENTWISE else None
        found = function(*args, **kwargs) if found is None else found
        if packet.__name__ in VIEWS:
            return found
        moved = 0
        for tensor in _tensors(found if isinstance(found, tuple | list) else (found,)):
            self._keep(tensor)
            moved += tensor.numel() * tensor.element_size()
        for tensor in _tensors(args):
            moved += tensor.numel() * tensor.element_size()
        self._traffic += moved
        self._calls += 1
        if packet in flop_registry:
            self._flops += flop_registry[packet](*args, **kwargs, out_val=found)
        elif packet in ATTENTION:
            self._flops += ATTENTION[packet](*args)
        return found

    def _keep(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._held:
            return
        held = _Held(storage, self._forget)
        held.key, held.size = storage._cdata, storage.nbytes()
        self._held[held.key] = held
        self._now += held.size
        self._peak = max(self._peak, self._now)

    def _forget(self, held: _Held) -> None:
        self._now -= held.size
        del self._held[held.key]


def _like_its_inputs(args: Sequence[Any]) -> Tensor | None:
    """What an element-wise operation on equal shapes returns; torch's own way to find out takes long."""
    first, *others = _tensors(args)
    if all(other.shape == first.shape and other.dtype == first.dtype for other in others):
        return torch.empty_like(first)
    return None


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among arguments or results, and in the lists among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in value if isinstance(item, Tensor))


def _attention(query: Tensor, key: Tensor, *_: Any) -> int:
    batch, heads, length, width = query.shape
    return 4 * batch * heads * length * key.shape[2] * width  # queries with keys, weights with values


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, *_: Any) -> int:
    return _attention(query, key) * 5 // 2  # as flash attention, which computes the weights again


ATTENTION: dict[Any, Callable[..., int]] = {
    FUSED: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Takes the place of torch's own, which would choose the plain kernel on the meta device."""
    if enable_gqa:
        repeats = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(repeats, 1) for x in (key, value))
    mask = None if attn_mask is None or attn_mask.dtype == torch.bool else attn_mask
    output: Tensor = FUSED(query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale)[0]
    return output


@contextmanager
def counting() -> Iterator[Counter]:
    """Inside, what is done with meta tensors is counted."""
    counter, plain = Counter(), F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _fused  # a mode of torch's would not see what a backward pass recomputes
    try:
        with counter:
            yield counter
    finally:
        F.scaled_dot_product_attention = plain
