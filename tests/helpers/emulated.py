"""An accelerator without one: a second device of torch, ``emulated``, whose arithmetic is done by the CPU.

What would fail on a GPU fails here: tensors of two devices in one operation, ``numpy()`` of a tensor that is not in the
host's memory. And since the arithmetic is the CPU's, whatever does run has to give the CPU's numbers.

It changes torch for the whole process, so tests that need it run in one of their own:
``KEDGE_TEST_DEVICE=emulated python -m pytest -p helpers.emulated -m gpu tests/device``, from the folder ``tests``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "emulated"
aten = torch.ops.aten
CROSSINGS = {aten._to_copy.default, aten.copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}  # CUDA takes indices from the host


class Backend(_DummyBackendModule):
    """What torch asks of a device's module (``torch.cuda`` is CUDA's)."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        """Nothing random is drawn there."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def device(self, device: Any) -> AbstractContextManager[None]:
        return nullcontext()


class There(Tensor):
    """A tensor on the emulated device; ``local`` is where its numbers really are."""

    local: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, local: Tensor) -> There:
        shown = Tensor._make_wrapper_subclass(
            cls,
            local.shape,
            strides=local.stride(),
            storage_offset=local.storage_offset(),
            dtype=local.dtype,
            device=torch.device(NAME, 0),
        )
        shown.local = local
        return shown

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return compute(function, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {NAME} device type tensor to numpy; use Tensor.cpu() first")

    # A device of torch's own has these in C++.
    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: There) -> None:
        torch._C.TensorBase.data.__set__(self, other)
        self.local = other.local

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.detach().cpu(), spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.local.__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> There:
        copied = self.detach().clone().requires_grad_(self.requires_grad)
        copied._is_param = getattr(self, "_is_param", False)
        return copied

    def untyped_storage(self) -> Any:
        return self.local.untyped_storage()

    def data_ptr(self) -> int:
        return self.local.data_ptr()


class Operands:
    """What an operation is given, as the CPU is to see it.

    Attributes:
        there: those on the device, by the identity of the tensor that they stand for.
        strangers: the other tensors, numbers aside.
    """

    def __init__(self) -> None:
        self.there: dict[int, There] = {}
        self.strangers: list[Tensor] = []

    def unwrap(self, x: Any) -> Any:
        """``x``, or the tensors in it, in the host's memory."""
        if isinstance(x, There):
            self.there[id(x.local)] = x
            return x.local
        if isinstance(x, Tensor) and x.dim():
            self.strangers.append(x)
        if isinstance(x, (list, tuple)):
            return [self.unwrap(y) for y in x]
        return torch.device("cpu") if isinstance(x, torch.device) and x.type == NAME else x

    def wrap(self, x: Any) -> Any:
        """A result on the device; what was changed in place is what was given."""
        if isinstance(x, (list, tuple)):
            return type(x)(self.wrap(y) for y in x)
        if not isinstance(x, Tensor):
            return x
        return self.there[id(x)] if id(x) in self.there else There(x)


def compute(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """One operation, by the CPU, on behalf of the device that its arguments are on."""
    operands = Operands()
    arguments = [operands.unwrap(x) for x in args]
    options = {key: operands.unwrap(x) for key, x in kwargs.items()}
    strangers = [x for x in args[2:] if type(x) is Tensor] if function in INDEXING else operands.strangers
    if operands.there and strangers and function not in CROSSINGS:
        raise RuntimeError(f"Expected all tensors to be on the same device, but some are not on {NAME}: {function}")
    # A view that is conjugate by a mark on the tensor would lose its mark: the CPU's rule for it is not asked.
    exact = aten._conj_physical.default if function is aten._conj.default else function
    result = exact(*arguments, **options)
    if operands.there and torch.Tag.inplace_view in function.tags:  # squeeze_ and the like: what is shown changes too
        with no_dispatch():
            function(*args, **kwargs)
    wanted = args[0].device if function is aten.copy_.default else kwargs.get("device")
    stays = bool(operands.there) if wanted is None else torch.device(wanted).type == NAME
    return operands.wrap(result) if stays else result


class Factories(TorchDispatchMode):
    """Sees the operations that no tensor of the device takes part in, such as ``torch.zeros(3, device="emulated")``."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return compute(function, args, kwargs or {})


def _empty(size: Any, stride: Any, *, dtype: Any = None, **placed: Any) -> Tensor:
    return There(torch.empty_strided(size, stride, dtype=dtype))


def _copy(source: Tensor, target: Tensor, non_blocking: bool = False) -> Any:
    return compute(aten.copy_.default, (target, source), {})


_setup_privateuseone_for_python_backend(NAME, Backend())
torch.accelerator.synchronize = lambda *_: None  # nothing runs there on its own, and a Python backend cannot say so
_library = torch.library.Library("aten", "IMPL")  # torch.tensor looks for these itself
_library.impl("empty_strided", _empty, "PrivateUse1")
_library.impl("_copy_from", _copy, "PrivateUse1")
Factories().__enter__()  # for as long as the process lives
