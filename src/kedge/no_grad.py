"""``torch.no_grad`` as a decorator that asks nothing of torch before the function is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def no_grad(function: Callable[P, T]) -> Callable[P, T]:
    """The function, run without gradient. Not for generators, whose bodies would run later."""

    @wraps(function)
    def without_gradient(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.no_grad():
            return function(*args, **kwargs)

    return without_gradient
