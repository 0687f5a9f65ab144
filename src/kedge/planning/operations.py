"""Counts what a computation would take, on tensors of the meta device: nothing is computed, nothing is stored.

Autograd runs as usual: what the backward pass needs is counted until it is freed, what is recomputed is counted again.
Attention is taken to be fused (its matrix of weights never exists), as torch does it wherever it can.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kedge.planning.attention import ATTENTION, fused

# Functions that return views: they move no data.
VIEWS = {"view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "split", "detach", "alias"}
VIEWS |= {"unsqueeze", "squeeze", "unflatten", "chunk", "split_with_sizes", "as_strided", "unbind", "_reshape_alias"}


class TensorSpec(NamedTuple):
    """What is known of a tensor before there is one; a tuple, since many are made and compared.

    Attributes:
        shape, stride, dtype: of the tensor.
        lasting: it was there before the computation, as weights are.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    lasting: bool


@dataclass(frozen=True)
class Operation:
    """A kind of call: a function of torch's and its arguments, tensors by their shape, lists as tuples.

    Attributes:
        flops: of one such call.
        traffic: bytes that it reads and writes.
    """

    function: Any
    args: tuple[Hashable, ...]
    kwargs: tuple[tuple[str, Hashable], ...]
    flops: int
    traffic: int


@dataclass(frozen=True)
class OperationCost:
    """What a computation takes.

    Attributes:
        flops: floating-point operations of matrix products, convolutions and attention: two for a product and a sum.
        traffic: bytes read and written by all operations, if none is fused with its neighbour.
        calls: operations that the host starts.
        peak: bytes in memory at the worst moment, besides what was there before.
        operations: each kind of operation, and how often it comes.
    """

    flops: float = 0.0
    traffic: float = 0.0
    calls: float = 0.0
    peak: float = 0.0
    operations: Mapping[Operation, float] = field(default_factory=dict)

    def __add__(self, other: OperationCost) -> OperationCost:
        """One after the other."""
        return replace(self.plus(other, 1), peak=max(self.peak, other.peak))

    def __mul__(self, times: float) -> OperationCost:
        """Again and again."""
        return replace(OperationCost().plus(self, times), peak=self.peak)

    def plus(self, other: OperationCost, times: float) -> OperationCost:
        """This and ``times`` the other, peaks included."""
        operations = dict(self.operations)
        for operation, count in other.operations.items():
            operations[operation] = operations.get(operation, 0) + times * count
        return OperationCost(
            self.flops + times * other.flops,
            self.traffic + times * other.traffic,
            calls=self.calls + times * other.calls,
            peak=self.peak + times * other.peak,
            operations=operations,
        )


class _Held(weakref.ref[torch.UntypedStorage]):
    """Notices when a storage is freed."""

    __slots__ = ("key", "size")
    key: int
    size: int


@dataclass
class _Known:
    """What is known of a call from one like it.

    Attributes:
        operation: what it counts as.
        result: its results without their contents; None if it has to be called again, because it changes its arguments.
        times: how often it came.
    """

    operation: Operation
    result: Hashable | None
    times: int = 0


class OperationCounter(TorchDispatchMode):
    """A context that counts every operation inside it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._flops = self._traffic = self._calls = self._now = self._peak = 0
        self._held: dict[int, _Held] = {}
        self._known: dict[Hashable, _Known] = {}
        self._views: dict[int, bool] = {}  # by id: hashing one of torch's functions takes longer than all else here

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in here; guarding each call against it takes longer than counting it."""
        return False

    @property
    def cost(self) -> OperationCost:
        """So far."""
        operations: dict[Operation, float] = {}
        for known in self._known.values():  # two calls that differ in 2 and 2.0 alone take equally long
            operations[known.operation] = operations.get(known.operation, 0) + known.times
        return OperationCost(self._flops, self._traffic, calls=self._calls, peak=self._peak, operations=operations)

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, id(function)
        if name not in self._views:
            self._views[name] = _is_view(function)
        if self._views[name]:
            return function(*args, **kwargs)
        call = name, self._alike(args), (*kwargs, *self._alike(kwargs.values())) if kwargs else ()
        known = self._known.get(call)
        if known is None and not _on_meta(args, kwargs):  # a small table on the CPU, say
            return function(*args, **kwargs)
        like = known.result if known else None
        result = function(*args, **kwargs) if like is None else _empty(like)  # torch infers meta shapes slowly
        if known is None:
            known = self._known[call] = self._learnt(function, args, kwargs, result)
        for tensor in _tensors(result if isinstance(result, tuple | list) else (result,)):
            self._keep(tensor)
        self._traffic += known.operation.traffic
        self._calls += 1
        self._flops += known.operation.flops
        known.times += 1
        return result

    def _learnt(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> _Known:
        """What a call's first time says of all like it."""
        several = isinstance(result, tuple | list)
        traffic = 0
        for tensor in (*_tensors(result if several else (result,)), *_tensors(args)):
            traffic += tensor.numel() * tensor.element_size()
        packet, flops = function.overloadpacket, 0
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **kwargs, out_val=result)
        elif packet in ATTENTION:
            flops = ATTENTION[packet](*args)
        alike = None
        if _makes_new_tensors(function):
            alike = self._specs(result) if several else self._spec(result)
        named = tuple(zip(kwargs, self._specs(kwargs.values()), strict=True))
        return _Known(Operation(function, self._specs(args), kwargs=named, flops=flops, traffic=traffic), alike)

    def _alike(self, values: Iterable[Any]) -> tuple[Hashable, ...]:
        """Equal for arguments that differ in their contents alone: as specs, but made at every call."""
        alike: list[Hashable] = []
        for value in values:
            if isinstance(value, Tensor):
                lasting = value.untyped_storage()._cdata not in self._held
                alike.append((value.shape, value.stride(), value.dtype, value.is_meta, lasting))
            else:
                alike.append(self._alike(value) if isinstance(value, list | tuple) else (type(value), value))
        return tuple(alike)

    def _specs(self, values: Iterable[Any]) -> tuple[Hashable, ...]:
        """Arguments or results without their contents."""
        specs: list[Hashable] = []
        for value in values:
            specs.append(self._specs(value) if isinstance(value, list | tuple) else self._spec(value))
        return tuple(specs)

    def _spec(self, value: Any) -> Hashable:
        if not isinstance(value, Tensor):
            return cast(Hashable, value)
        lasting = value.untyped_storage()._cdata not in self._held
        return TensorSpec(tuple(value.shape), value.stride(), value.dtype, lasting)

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


def _on_meta(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    tensors = list(_tensors(args))
    return any(tensor.is_meta for tensor in tensors) if tensors else str(kwargs.get("device")) == "meta"


def _empty(like: Any) -> Any:
    """Meta tensors of such specs."""
    if isinstance(like, TensorSpec):  # before the tuples: it is one
        return torch.empty_strided(like.shape, like.stride, dtype=like.dtype, device="meta")
    if isinstance(like, tuple):
        return tuple(_empty(item) for item in like)
    return like


def _is_view(function: Any) -> bool:
    return function.overloadpacket.__name__ in VIEWS


def _makes_new_tensors(function: Any) -> bool:
    """Whether a function neither changes its arguments nor returns any of them."""
    schema = function._schema
    return not any(each.alias_info for each in (*schema.arguments, *schema.returns))


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among arguments or results, and in the lists among them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in value if isinstance(item, Tensor))


@contextmanager
def count_operations() -> Iterator[OperationCounter]:
    """Inside, what is done with meta tensors is counted."""
    counter, plain = OperationCounter(), F.scaled_dot_product_attention
    F.scaled_dot_product_attention = fused  # a mode of torch's would not see what a backward pass recomputes
    try:
        with counter:
            yield counter
    finally:
        F.scaled_dot_product_attention = plain


def counted(work: Callable[[], object]) -> OperationCost:
    """What ``work`` takes."""
    with count_operations() as counter:
        work()
    return counter.cost
