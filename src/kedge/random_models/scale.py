"""How much smaller than the real model a random one is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """The true architecture at 1, 1; narrower and shallower below.

    Attributes:
        width: of every layer, as a fraction in (0, 1].
        depth: of every stack of layers, as a fraction in (0, 1]; the number of resolutions stays.
        size: side of the pictures in pixels; None is the model's own.
    """

    width: float = 1.0
    depth: float = 1.0
    size: int | None = None

    def __post_init__(self) -> None:
        for name in ("width", "depth"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie above 0 and at most at 1, not {getattr(self, name)}")

    def channels(self, full: int, multiple: int = 32) -> int:
        """A number of channels: the nearest multiple, at least one, and ``full`` itself at width 1."""
        return full if self.width == 1 else max(1, round(full * self.width / multiple)) * multiple

    def heads(self, channels: int, head: int = 64) -> int:
        """Attention heads for so many channels, ``head`` channels each or, in a narrow layer, a single one."""
        return channels // head if channels % head == 0 else 1

    @property
    def groups(self) -> int:
        """Groups of a group normalisation: fewer in narrow networks, where one would hold a single channel."""
        return 32 if self.width == 1 else 8

    def layers(self, full: int) -> int:
        """A number of layers, at least 1."""
        return max(1, round(full * self.depth))

    def latent(self, full: int, factor: int) -> int:
        """Side of the latents, for an autoencoder that shrinks by ``factor``.

        Raises:
            ValueError: if ``size`` is no multiple of ``factor``.
        """
        if self.size is None:
            return full
        if self.size < factor or self.size % factor:
            raise ValueError(f"size must be a multiple of {factor}, not {self.size}")
        return self.size // factor
