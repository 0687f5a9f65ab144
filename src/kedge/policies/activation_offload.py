"""What autograd stores for the backward pass, kept in the host's memory: frozen weights and small tensors stay put.

torch's own ``save_on_cpu`` moves everything that is saved, the frozen network's weights included, at every call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

SMALL = 2**20  # bytes; the transfer of less costs more than it saves


class OffloadedActivations(torch.autograd.graph.saved_tensors_hooks):
    """A context: what is saved inside goes to the host (pinned, without waiting) and comes back when it is needed.

    Args:
        smallest: bytes below which a tensor stays where it is.

    Attributes:
        moved: bytes that went to the host so far.
    """

    def __init__(self, smallest: int = SMALL):
        self.moved, self._smallest = 0, smallest
        super().__init__(self._pack, self._unpack)

    def _stays(self, tensor: Tensor) -> bool:
        # Layers save their weight as it is or as a view of it (transposed).
        weight = isinstance(tensor, Parameter) or isinstance(tensor._base, Parameter)
        return weight or tensor.numel() * tensor.element_size() < self._smallest

    def _pack(self, tensor: Tensor) -> Any:
        if self._stays(tensor):
            return tensor
        self.moved += tensor.numel() * tensor.element_size()
        cuda = tensor.device.type == "cuda"
        host = torch.empty_like(tensor, device="cpu", pin_memory=cuda)
        host.copy_(tensor, non_blocking=cuda)  # in the stream's order: nobody waits, nothing is overwritten early
        return tensor.device, host

    @staticmethod
    def _unpack(packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        host: Tensor
        device, host = packed
        return host.to(device, non_blocking=True)
