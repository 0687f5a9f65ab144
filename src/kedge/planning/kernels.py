"""Which of a device's kernels a counted operation runs there: counted are operations that all devices have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from kedge.planning.attention import FUSED
from kedge.policies.small_maps import Steps, multiplies, multiply

CONVOLUTION, BACKWARD = torch.ops.aten.convolution, torch.ops.aten.convolution_backward


def kernel(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], device: torch.device) -> Callable[[], Any]:
    """A call of ``function`` as the run makes it on ``device``, whose tensors are among the arguments."""
    packet, on_cpu = function.overloadpacket, device.type == "cpu"
    if packet is FUSED and not on_cpu:
        query, key, value = args[:3]
        mask, scale = kwargs.get("attn_mask"), kwargs.get("scale")
        return lambda: F.scaled_dot_product_attention(query, key, value, mask, scale=scale)
    small = None
    if packet is CONVOLUTION and on_cpu:
        small = _small_map(*args)
    elif packet is BACKWARD and on_cpu:
        small = _small_map_backward(*args)
    return small or (lambda: function(*args, **kwargs))


def _small_map(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, _: Any, groups: int
) -> Callable[[], Any] | None:
    """A convolution of small maps (:mod:`kedge.policies.small_maps`); None if it is none."""
    steps = Steps(tuple(stride), tuple(padding), tuple(dilation))
    if transposed or groups > 1 or not multiplies(input, weight, steps):
        return None
    return lambda: multiply(input, weight, bias, steps)


def _small_map_backward(
    gradient: Any, input: Any, weight: Any, _: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    __: Any, groups: int, wanted: Sequence[bool],
) -> Callable[[], Any] | None:  # fmt: skip
    """Its backward pass, with the gradients that are ``wanted``: of the maps, the kernel, the bias."""
    with torch.enable_grad():
        input, weight = input.requires_grad_(wanted[0]), weight.requires_grad_(wanted[1])
        where = {"stride": stride, "padding": padding, "dilation": dilation, "transposed": transposed}
        forward = _small_map(input, weight, None, **where, _=None, groups=groups)
        if forward is None:
            return None
        output = forward()
    leaves = [leaf for leaf in (input, weight) if leaf.requires_grad]
    return lambda: torch.autograd.grad(output, leaves, gradient, retain_graph=True)
