"""The low-rank adapter: the only weights that training changes, and the switch between θ and the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import peft
import torch
from diffusers.models.modeling_utils import ModelMixin
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from torch.nn import Parameter

from kedge.registry import suggest

NAME = "default"


@dataclass(frozen=True)
class LoraConfig:
    """W + (alpha / rank) B A on the layers whose names end in one of ``targets``; ROCM's setting (page 5).

    Attributes:
        rank: r, the inner dimension of B A.
        alpha: α; the update is scaled by α / r.
        targets: endings of layer names.
    """

    rank: int = 16
    alpha: float = 32
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank must be 1 or more, not {self.rank}")
        if self.alpha <= 0:
            raise ValueError(f"lora.alpha must be positive, not {self.alpha}")
        if not self.targets:
            raise ValueError("lora.targets is empty: name at least one kind of layer, such as to_q")

    @property
    def scale(self) -> float:
        """α / r."""
        return self.alpha / self.rank


class Adapter:
    """A LoRA added to ``network``: A ~ N(0, 1/r), B = 0, in float32 (float64 for a float64 network).

    Attributes:
        config: rank, α and targets.
        weights: the parameters by name (``….to_q.lora_A.weight``), the same objects for the adapter's whole life.
    """

    def __init__(self, network: ModelMixin, config: LoraConfig):
        self.config = config
        network.add_adapter(
            peft.LoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                target_modules=list(config.targets),
                init_lora_weights="gaussian",
            ),
            NAME,
        )
        named = [(name, p) for name, p in network.named_parameters() if ".lora_" in name]
        for _, parameter in named:
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
        self.weights: dict[str, Parameter] = {name.replace(f".{NAME}.", "."): p for name, p in named}
        self._layers = [module for module in network.modules() if isinstance(module, BaseTunerLayer)]
        self._off = False

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, the network is the one that the adapter was added to. Contexts may be nested."""
        if self._off:
            yield
            return
        self._switch(off=True)
        try:
            yield
        finally:
            self._switch(off=False)

    def _switch(self, *, off: bool) -> None:
        # peft's enable_adapters() would also flip requires_grad of every weight: slow, and while a backward pass
        # recomputes a step, that pass is not to see its own weights frozen. The flag alone is what forward() reads.
        self._off = off
        for layer in self._layers:
            layer._disable_adapters = off

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
                f"Was it made with targets {', '.join(self.config.targets)} on this model?"
            )
        for name, weight in self.weights.items():
            if state[name].shape != weight.shape:
                found, expected = tuple(state[name].shape), tuple(weight.shape)
                raise ValueError(
                    f"{name} has shape {found}, expected {expected}: was it made with rank {self.config.rank}?"
                )
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state[name])
