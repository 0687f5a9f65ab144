"""Adapters that are added to another, as they are written: ``PLACE`` or ``PLACE=WEIGHT``."""

from __future__ import annotations

from pathlib import Path

from kedge.units import finite


def place_and_weight(text: str, usage: str) -> tuple[str, float]:
    """``runs/other=0.5`` as the place and its weight, which is 1 where none is written.

    What exists under the whole text is a place, though its name has an equals sign.

    Args:
        usage: how it is written, for the message.

    Raises:
        ValueError: the weight is no finite number.
    """
    place, equals, weight = text.rpartition("=")
    if not equals or Path(text).expanduser().exists():
        return _from_home(text), 1.0
    try:
        return _from_home(place), finite(weight)
    except ValueError:
        raise ValueError(f"{usage}, not {text!r}") from None


def _from_home(place: str) -> str:
    """``~/x`` in full: no shell has done so after an equals sign."""
    return str(Path(place).expanduser()) if place.startswith("~") else place
