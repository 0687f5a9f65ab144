"""The key ``model.size``: one size of pictures or several, in pixels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from kedge.ranges import Count

Sides = tuple[Count, Count]  # height and width


def _written(value: Any) -> Any:
    """Two numbers are height and width, so squares of several sizes are written as pairs, too."""
    if not isinstance(value, list | tuple):
        _check_side(value)
        return value
    for item in value:
        for side in item if isinstance(item, list | tuple) else [item]:
            _check_side(side)
    if not value:
        raise ValueError("there is no size in it: null is the model's own")
    if len(value) != 2 and all(isinstance(item, int) for item in value):
        pairs = ", ".join(f"[{side}, {side}]" for side in value)
        raise ValueError(f"[height, width] are two numbers; several sizes are several pairs: [{pairs}]")
    return value


def _check_side(side: Any) -> None:
    whole = side.isdigit() if isinstance(side, str) else not isinstance(side, float) or side.is_integer()
    if not whole:
        raise ValueError(f"a size is its side in pixels, or [height, width], or several such pairs, not {side!r}")
    if isinstance(side, int) and side < 1:
        raise ValueError(f"a picture is at least one pixel high and wide, not {side}")


Sizes = Annotated[Count | Sides | tuple[Sides, ...] | None, BeforeValidator(_written)]


def heights_and_widths(size: Any) -> tuple[tuple[int, int] | None, ...]:
    """Each size of a :data:`Sizes`; None for the model's own."""
    if size is None:
        return (None,)
    if isinstance(size, int):
        return ((size, size),)
    return (size,) if isinstance(size[0], int) else tuple(size)
