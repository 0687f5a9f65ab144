"""A frozen base in 8 or 4 bits under the adapter: the linear layers of the denoising network's blocks.

Two maintained libraries do it, and peft's adapters know the layers of both. Each layer computes x Ŵᵀ with Ŵ the weights
that the bits stand for, and its gradient is that of the same Ŵ; pictures are those of Ŵ, not of W.

* ``int8``: torchao's weights of 8 bits with a scale for each row. It stores Ŵ unpacked for the backward pass, so it is
  trained with blocks that are recomputed.
* ``nf4``: bitsandbytes' normal floats of 4 bits (Dettmers et al. 2023, arXiv 2305.14314) with doubly quantised scales
  of 64 weights each. It unpacks Ŵ again in the backward pass.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from kedge.policies.settings import Quantization

BLOCK = re.compile(r"(.*(?:blocks|layers|refiner)\.\d+)\.")  # the innermost is what is recomputed as one
GROUP, GROUPS = 64, 256  # nf4: weights that share a scale, and scales that share one

Convert = Callable[[nn.Linear, torch.device], nn.Module]


@dataclass(frozen=True)
class Format:
    """One way to store weights.

    Attributes:
        package: which does it.
        loaded: gives the function that converts a layer, importing the package.
        bits: of a weight.
        row_bytes: of each output row besides.
    """

    package: str
    loaded: Callable[[], Convert]
    bits: float
    row_bytes: int = 0

    def bytes(self, rows: int, columns: int) -> float:
        """What a layer's weights take."""
        return rows * columns * self.bits / 8 + rows * self.row_bytes


def _torchao() -> Convert:
    quantization = import_module("torchao.quantization")

    def convert(layer: nn.Linear, device: torch.device) -> nn.Module:
        layer.to(device)
        quantization.quantize_(layer, quantization.Int8WeightOnlyConfig())
        return layer

    return convert


def _bitsandbytes() -> Convert:
    bnb = import_module("bitsandbytes")

    def convert(layer: nn.Linear, device: torch.device) -> nn.Module:
        dtype = layer.weight.dtype
        options: dict[str, Any] = {"quant_type": "nf4", "compress_statistics": True}
        with torch.device("meta"):
            quantized = bnb.nn.Linear4bit(
                layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=dtype, **options
            )
        quantized.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, module=quantized, **options)
        quantized.bias = layer.bias
        # Some CPUs' kernels take another layout, in which the weights are no longer there for a gradient.
        quantized.support_avx512bf16_for_cpu = False
        converted: nn.Module = quantized.to(device)  # which is when it quantises
        return converted

    return convert


FORMATS: dict[Quantization, Format] = {
    "int8": Format("torchao", _torchao, bits=8, row_bytes=4),
    "nf4": Format("bitsandbytes", _bitsandbytes, bits=4 + 8 / GROUP + 32 / (GROUP * GROUPS)),
}


def quantize(network: nn.Module, kind: Quantization, device: torch.device) -> None:
    """Store the linear layers of ``network``'s blocks in fewer bits, one after another, on ``device``.

    Raises:
        ValueError: if the package that does it is not installed.
    """
    form = FORMATS[kind]
    try:
        with _silent():
            convert = form.loaded()
    except ImportError as error:
        raise ValueError(
            f"model.quantize={kind} needs the package {form.package}: pip install 'kedge-rl[quantize]', or leave it out"
        ) from error
    for name, layer in list(block_layers(network)):
        parent, _, child = name.rpartition(".")
        converted = convert(layer, device)
        setattr(network.get_submodule(parent), child, converted.requires_grad_(False))


def block_layers(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers inside blocks, by name; what stands before and after the blocks is small and stays as it is."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and BLOCK.match(name) and ".lora_" not in name:
            yield name, module


def is_quantized(weight: torch.Tensor) -> bool:
    """Whether a weight is stored in fewer bits, and cannot be written to."""
    return type(weight.data) is not torch.Tensor or not weight.is_floating_point()


@dataclass(frozen=True)
class Savings:
    """What quantising does to memory, in bytes.

    Attributes:
        saved: of weights.
        unpacked: at once, at the worst moment: a layer's weights, or a block's where they are stored for its backward
            pass.
    """

    saved: float
    unpacked: float


def savings(network: nn.Module, kind: Quantization) -> Savings:
    """Counted from the network's shapes, which may be on the meta device."""
    saved, of_layers, of_blocks = 0.0, list[int](), dict[str, int]()
    for name, layer in block_layers(network):
        size = layer.weight.numel() * layer.weight.element_size()
        saved += size - FORMATS[kind].bytes(*layer.weight.shape)
        of_layers.append(size)
        block = BLOCK.match(name)
        assert block is not None
        of_blocks[block[1]] = of_blocks.get(block[1], 0) + size
    largest = max(of_blocks.values() if kind == "int8" else of_layers, default=0)
    return Savings(saved, largest)


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, packages do not tell of kernels that they have for other machines."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
