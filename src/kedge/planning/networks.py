"""Which networks a run loads, what their weights take, and where they are while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from kedge.config import RunConfig
from kedge.planning.skeletons import MetaReward
from kedge.policies.latent import LatentPolicy
from kedge.policies.quantized import savings
from kedge.policies.weight_files import NOT_DRAWING


@dataclass(frozen=True)
class Networks:
    """What is loaded.

    Attributes:
        sizes: name → (parameters, bytes), frozen ones, that are on the device while it trains.
        trained: parameters that training changes.
        waiting: bytes of each text encoder that waits in the host's memory, or is dropped.
        loading: bytes of all networks of the generator as they are read, in the host's memory.
        unpacked: bytes of quantised weights that are unpacked at once.
    """

    sizes: dict[str, tuple[int, int]]
    trained: int
    waiting: tuple[int, ...] = ()
    loading: int = 0
    unpacked: float = 0.0

    @property
    def bytes(self) -> int:
        """What all weights take, the trained ones in float32."""
        return sum(size for _, size in self.sizes.values()) + 4 * self.trained

    @property
    def largest_file(self) -> int:
        """Bytes of the largest reward's weights as they are published, in half precision: read whole while loading."""
        return max((2 * count for name, (count, _) in self.sizes.items() if name.startswith("reward")), default=0)


def networks_of(policy: LatentPolicy, rewards: Sequence[MetaReward], config: RunConfig) -> Networks:
    """The networks of a run whose pieces are on the meta device."""
    parts: dict[str, nn.Module] = {}
    waiting, loading = list[int](), 0
    for name, part in policy.pipeline.components.items():
        if not isinstance(part, nn.Module) or name in NOT_DRAWING:
            continue
        _, size = _frozen(part)
        loading += size
        if config.memory.texts_wait and name in policy.backbone.text_encoders:
            waiting.append(size)
        else:
            parts[name] = part
    for reward in rewards:
        parts |= reward.networks
    sizes = {name: _frozen(part) for name, part in parts.items()}
    unpacked = 0.0
    if config.model.quantize:
        name, saved = policy.backbone.network, savings(policy.network, config.model.quantize)
        count, size = sizes[name]
        sizes[name], unpacked = (count, round(size - saved.saved)), saved.unpacked
    trained = sum(weight.numel() for weight in policy.trainable())
    return Networks(sizes, trained, waiting=tuple(waiting), loading=loading, unpacked=unpacked)


def _frozen(part: nn.Module) -> tuple[int, int]:
    """Parameters that are not trained, and their bytes."""
    count = size = 0
    for weight in part.parameters():
        if not weight.requires_grad:
            count += weight.numel()
            size += weight.numel() * weight.element_size()
    return count, size
