"""The low-rank adapter: the only weights that training changes, and the switch between θ and the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import peft
import torch
from diffusers.models.modeling_utils import ModelMixin
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from torch.nn import Parameter

from kedge.policies.families.backbones import ATTENTION
from kedge.policies.settings import LoraConfig
from kedge.registry import suggest

__all__ = ["Adapter", "LoraConfig", "Mode"]

NAME = "default"


@dataclass(frozen=True)
class Mode:
    """What an adapter does to a batch.

    Attributes:
        off: the layers leave it out.
        half: with ``off``: added after all, to every other part of this many rows; None adds it nowhere.
    """

    off: bool = False
    half: int | None = None


_ON, _OFF = Mode(), Mode(off=True)


class Adapter:
    """A LoRA added to ``network``: A ~ N(0, 1/r), B = 0, in float32 (float64 for a float64 network).

    Attributes:
        config: rank, α and targets.
        targets: the endings of its layers' names, ROCM's where ``config`` has none.
        weights: the parameters by name (``….to_q.lora_A.weight``), the same objects for the adapter's whole life.
    """

    def __init__(self, network: ModelMixin, config: LoraConfig):
        self.targets = config.targets or ATTENTION
        self.config = config.on(self.targets)
        network.add_adapter(
            peft.LoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                target_modules=list(self.targets),
                init_lora_weights="gaussian",
            ),
            NAME,
        )
        self.weights: dict[str, Parameter] = {}
        for name, parameter in network.named_parameters():
            if ".lora_" in name:
                parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
                self.weights[name.replace(f".{NAME}.", ".")] = parameter
        self._layers = [module for module in network.modules() if isinstance(module, BaseTunerLayer)]
        self._mode = _ON
        for layer in self._layers:
            layer.register_forward_hook(self._add_to_half)

    def disabled(self) -> AbstractContextManager[None]:
        """Inside, the network is the one that the adapter was added to. Contexts may be nested."""
        return self.switched(_OFF)

    def halved(self, batch: int) -> AbstractContextManager[None]:
        """Inside, of batches ``[x, y, x, y, …]`` with ``batch`` rows in each part, only the x pass the adapter."""
        return self.switched(Mode(off=True, half=batch))

    @property
    def mode(self) -> Mode:
        """What the adapter does now."""
        return self._mode

    @contextmanager
    def scaled(self, strength: float) -> Iterator[None]:
        """Inside, the adapter counts ``strength`` times: 0 is the base, 1 what was trained."""
        before = [layer.scaling[NAME] for layer in self._layers]
        try:
            for layer, scaling in zip(self._layers, before, strict=True):
                layer.scaling[NAME] = strength * scaling
            yield
        finally:
            for layer, scaling in zip(self._layers, before, strict=True):
                layer.scaling[NAME] = scaling

    @contextmanager
    def switched(self, mode: Mode) -> Iterator[None]:
        """Inside, the adapter is in ``mode``."""
        before = self._mode
        self._switch(mode)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, mode: Mode) -> None:
        # peft's enable_adapters() would also flip requires_grad of every weight: slow, and while a backward pass
        # recomputes a step, that pass is not to see its own weights frozen. The flag alone is what forward() reads.
        if mode.off != self._mode.off:
            for layer in self._layers:
                layer._disable_adapters = mode.off
        self._mode = mode

    def _add_to_half(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """A hook behind each layer: what the layer itself leaves out in :meth:`halved`, for the rows that want it."""
        if self._mode.half is None:
            return None
        parts = (-1, 2, self._mode.half)
        x = inputs[0].unflatten(0, parts)[:, 0].flatten(0, 1)
        a, b = layer.lora_A[NAME], layer.lora_B[NAME]
        update = b(a(x.to(a.weight.dtype))) * layer.scaling[NAME]
        both = output.unflatten(0, parts)
        # Added in the adapter's precision and rounded once, as peft does.
        first = (both[:, 0] + update.unflatten(0, (-1, self._mode.half))).to(output.dtype)
        return torch.stack([first, both[:, 1]], dim=1).flatten(0, 2)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the weights, on the CPU."""
        return {name: weight.detach().cpu().clone() for name, weight in self.weights.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` into the weights in place, so that an optimizer that holds them keeps working.

        Raises:
            ValueError: if names or shapes differ; nothing is changed then.
        """
        missing, unknown = self.weights.keys() - state.keys(), state.keys() - self.weights.keys()
        if missing or unknown:
            key = min(unknown or missing)
            hint = suggest(key, missing if unknown else unknown)
            raise ValueError(
                f"this adapter has other layers: {len(missing)} missing, {len(unknown)} unknown, as {key!r}.{hint} "
                f"Was it made with targets {', '.join(self.targets)} on this model?"
            )
        for name, weight in self.weights.items():
            if state[name].shape != weight.shape:
                shape, expected = tuple(state[name].shape), tuple(weight.shape)
                raise ValueError(
                    f"{name} has shape {shape}, expected {expected}: was it made with rank {self.config.rank}?"
                )
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state[name])
