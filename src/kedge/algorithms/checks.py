"""Refusals that several algorithms share; messages name the key as it stands in the config."""

from __future__ import annotations

from typing import Any


def check_positive(settings: Any, *names: str) -> None:
    """Raise ValueError for the first of the fields that is not above 0; None passes."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be positive, not {value}")


def check_fraction(settings: Any, *names: str) -> None:
    """Raise ValueError for the first of the fields that is not above 0 and at most 1."""
    for name in names:
        value = getattr(settings, name)
        if not 0 < value <= 1:
            raise ValueError(f"{name} must lie above 0 and at most at 1, not {value}")
