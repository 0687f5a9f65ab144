"""What the catalogue says about a reward, before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from kedge.registry import suggest
from kedge.rewards.expression import Settings

HUB_FOLDER = ("config.json", "model.safetensors|pytorch_model.bin", "tokenizer.json|vocab.json|vocab.txt")
TOKENIZER = ("tokenizer.json|vocab.json|vocab.txt",)
CHAT = (
    "preprocessor_config.json|processor_config.json"  # of models that look and answer, whose chat template is here too
)
CHAT_FOLDER = ("config.json", CHAT, *TOKENIZER)
VISION_LANGUAGE_FOLDER = ("model.safetensors|model.safetensors.index.json", *CHAT_FOLDER)


@dataclass(frozen=True)
class Part:
    """A published file, or folder of files, that a reward is loaded from.

    Attributes:
        key: the factory's keyword for its path.
        where: a hub id (``owner/name``) or the address of a single file.
        files: what must be there; ``a|b`` means that either will do.
        size: bytes to download, approximately.
        licence: of the weights, as their publisher states it.
        bundled: its place among the emoji world's assets, or None if that world has no such thing.
        folder: whether the loader wants the folder that holds the files, rather than the (only) file.
    """

    key: str
    where: str
    files: tuple[str, ...]
    size: int
    licence: str
    bundled: str | None = None
    folder: bool = True


@dataclass(frozen=True)
class RewardSpec:
    """One registered reward.

    Attributes:
        name: as users write it.
        factory: ``module:Class``; called with the parts' paths, the options, and for networks ``name``, ``device``
            and ``dtype``.
        differentiable: whether gradients with respect to the images flow.
        needs_prompt: False if the score ignores the prompt.
        measures: one sentence.
        units: of the number that it returns.
        typical: the range in which published models score, ends included; None where there is no such range.
        display: multiply by this for tables (HPS is printed ×10 in ROCM's Table 1); scores are never scaled.
        skeleton: ``module:function`` that draws its network before the weights are here; see
            :mod:`kedge.rewards.skeleton`. None: what it takes is unknown when a run is planned.
        title: its name in tables and charts; empty takes ``name``, with spaces.
        made_from: data and votes, backbone, makers of the published weights, by names that other rewards use too: two
            that share one are not independent, and neither judges a model that was trained on the other.
        world_made_from: the same of the emoji world's.
        sees_damage: whether it falls when a model is harmed in ways that please nobody (measured on the emoji world's
            weights by bench/damage.py); None where that was not measured.
        truth: it is the truth itself, which is reported but never judges.
        parts: what it is loaded from; the first is what ``NAME@SOURCE`` replaces.
        options: further keywords of the factory.
        settings: keywords that users may give as ``NAME(key=value)``, with their defaults, whose types they have.
        source: the meaning of SOURCE: ``weights`` (path or hub id), ``server`` (address), or ``none``.
        world_server: of a reward that asks a server: the bundled model that stands in for one in the emoji world.
    """

    name: str
    factory: str
    differentiable: bool
    needs_prompt: bool
    measures: str
    units: str
    typical: tuple[float, float] | None = None
    display: float = 1.0
    skeleton: str | None = None
    title: str = ""
    made_from: tuple[str, ...] = ()
    world_made_from: tuple[str, ...] = ()
    sees_damage: bool | None = None
    truth: bool = False
    parts: tuple[Part, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str | float] = field(default_factory=dict)
    source: str = "none"
    world_server: str | None = None

    @property
    def in_world(self) -> bool:
        """Whether the emoji world has one of its own."""
        return bool(self.parts) and all(part.bundled for part in self.parts)

    @property
    def bundled(self) -> tuple[str, ...]:
        """Where everything that ``NAME@emoji`` computes with lies, among the emoji world's assets."""
        return tuple(filter(None, (*(part.bundled for part in self.parts), self.world_server)))

    def read_settings(self, written: Settings) -> dict[str, str | float]:
        """Keywords for the factory.

        Args:
            written: keys and values, as in ``NAME(key=value)``.

        Raises:
            ValueError: it has no such setting (the nearest one is named), or the value is not a finite number.
        """
        read: dict[str, str | float] = {}
        for key, value in written:
            if key not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise ValueError(
                    f"reward {self.name!r} has no setting {key!r}.{suggest(key, self.settings)} It has: {known}"
                )
            read[key] = value if isinstance(self.settings[key], str) else self._number(key, value)
        return read

    def _number(self, key: str, value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"reward {self.name!r}: {key} must be a number, not {value!r}") from None
        if not math.isfinite(number):
            raise ValueError(f"reward {self.name!r}: {key} must be a finite number, not {value!r}")
        return number

    @property
    def licence(self) -> str:
        """The licences of all parts, each once."""
        return "; ".join(dict.fromkeys(part.licence for part in self.parts)) or "none needed"

    @property
    def size(self) -> int:
        """Bytes to download for all parts."""
        return sum(part.size for part in self.parts)
