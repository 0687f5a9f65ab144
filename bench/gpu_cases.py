"""What bench.gpu measures: models, and settings as changes to one recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Model:
    """An architecture.

    Attributes:
        layout: as for ``kedge random-model``.
        kind: its family.
        steps: K.
        pixels: side of the pictures.
        depth: of its stacks of layers, as a share of the true one.
        guidance: ω; None is the kind's own.
    """

    layout: str
    kind: str
    steps: int
    pixels: int
    depth: float = 1.0
    guidance: float | None = None


@dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        name: within its part.
        model: of :data:`MODELS`.
        batch: pictures at once.
        changes: blocks of the recipe.
        reward: ``hpsv2``, of its true size with random weights, or a reward that needs none.
    """

    part: str
    name: str
    model: str = "sd15"
    batch: int = 1
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    reward: str = "hpsv2"

    @property
    def key(self) -> str:
        """Of its row in the record."""
        return f"{self.part}: {self.name}"


MODELS = {
    "sd15": Model("sd15-lcm", "lcm", 8, 512, guidance=7.5),
    "klein": Model("flux2-klein-4b", "flux2-klein", 4, 512, depth=0.2),
    "z-image": Model("z-image-turbo", "z-image-turbo", 8, 512, depth=0.1),
}
SLIM: dict[str, dict[str, Any]] = {"backprop": {"checkpoint": True}, "memory": {"vae_checkpoint": True}}


def _with(block: str, base: dict[str, dict[str, Any]] | None = None, **keys: Any) -> dict[str, dict[str, Any]]:
    changes = {name: dict(values) for name, values in (base or {}).items()}
    changes.setdefault(block, {}).update(keys)
    return changes


PARTS: dict[str, tuple[Case, ...]] = {
    "8gb": (Case("8gb", "rocm-8gb", changes=_with("memory", SLIM, offload_text_encoders=True)),),
    "speed": (
        Case("speed", "batch 1", changes=_with("memory", vae_checkpoint=True)),
        Case(
            "speed",
            "batch 4, pairs (rocm-80gb)",
            batch=4,
            changes={"memory": {"vae_checkpoint": True}, "speed": {"paired_reference": True}},
        ),
        Case("speed", "batch 4, checkpointed", batch=4, changes=SLIM),
        Case(
            "speed", "batch 4, checkpointed, channels last", batch=4, changes=_with("speed", SLIM, channels_last=True)
        ),
        Case(
            "speed",
            "batch 4, checkpointed, cuDNN's attention",
            batch=4,
            changes=_with("speed", SLIM, attention="cudnn"),
        ),
        Case(
            "speed", "batch 16, checkpointed, channels last", batch=16, changes=_with("speed", SLIM, channels_last=True)
        ),
        Case(
            "speed",
            "batch 4, random depth 0.5, one term",
            batch=4,
            changes={**SLIM, "backprop": {"random_depth": 0.5}, "algorithm": {"reference_steps": 1}},
        ),
    ),
    "memory": (
        Case("memory", "nothing set"),
        Case("memory", "backprop.checkpoint", changes={"backprop": {"checkpoint": True}}),
        Case("memory", "memory.unet_checkpoint", changes={"memory": {"unet_checkpoint": True}}),
        Case("memory", "memory.vae_checkpoint", changes={"memory": {"vae_checkpoint": True}}),
        Case("memory", "all three", changes=_with("memory", SLIM, unet_checkpoint=True)),
        Case("memory", "memory.offload_activations", changes={"memory": {"offload_activations": True}}),
        Case("memory", "backprop.last_steps: 2", changes={"backprop": {"last_steps": 2}}),
        Case("memory", "algorithm.reference_steps: 1", changes={"algorithm": {"reference_steps": 1}}),
    ),
    "flow": (
        Case("flow", "klein, a fifth of its blocks", model="klein", changes=SLIM, reward="compressibility_proxy"),
        Case(
            "flow",
            "klein, blocks too",
            model="klein",
            changes=_with("memory", SLIM, unet_checkpoint=True),
            reward="compressibility_proxy",
        ),
        Case("flow", "Z-Image, a tenth of its blocks", model="z-image", changes=SLIM, reward="compressibility_proxy"),
    ),
    "compile": (
        Case("compile", "batch 4, checkpointed, compiled", batch=4, changes=_with("speed", SLIM, compile=True)),
    ),
}
