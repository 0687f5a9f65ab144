"""A part of an attention that takes a known share of its time: what a CPU needs seconds for is timed in a fraction."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from kedge.planning.attention import ATTENTION
from kedge.planning.operations import Operation, TensorSpec

SHORT = 1e9  # floating-point operations below which a call's overhead would count once for each share
LONG = 4096  # tokens from which a part of them is timed; a quarter is still many times a kernel's block
QUARTER = 4


def share_of_attention(operation: Operation, threads: int) -> tuple[Operation, float]:
    """A smaller operation of the same kind, and how many times as long the whole takes on a CPU; else itself, and 1.

    Heads take equally long, so one for each of ``threads`` is enough; so do pairs of tokens, wherever queries and keys
    are equally many and nothing masks them.
    """
    shapes = [arg.shape for arg in operation.args if isinstance(arg, TensorSpec) and len(arg.shape) >= 3]
    if operation.function.overloadpacket not in ATTENTION or operation.flops < SHORT:
        return operation, 1
    heads, lengths = shapes[0][1], {shape[2] for shape in shapes}  # [B, heads, L, width] all, or [B, heads, L]
    masked = any(isinstance(value, TensorSpec) for _, value in operation.kwargs)
    parts, sizes = 1.0, {}
    if heads > threads and heads % threads == 0:
        parts *= heads / threads
        sizes[1] = threads
    if len(lengths) == 1 and min(lengths) >= LONG and not masked:
        length = min(lengths)
        sizes[2] = length // QUARTER
        parts *= (length / sizes[2]) ** 2

    def smaller(value: Hashable) -> Hashable:
        if not isinstance(value, TensorSpec) or len(value.shape) < 3:
            return value
        shape = list(value.shape)
        for axis, size in sizes.items():
            if axis == 2 or shape[axis] == heads:  # a mask may be the same for all heads
                shape[axis] = size
        return value._replace(shape=tuple(shape))

    kwargs = tuple((name, smaller(value)) for name, value in operation.kwargs)
    return replace(operation, args=tuple(map(smaller, operation.args)), kwargs=kwargs), parts
