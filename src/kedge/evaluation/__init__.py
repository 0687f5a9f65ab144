"""Honest evaluation: paired scores, intervals over prompts, tables, grids, reports. Names load on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "Evaluation": "result",
    "evaluate": "evaluator",
    "evaluate_images": "evaluator",
    "compare": "comparison",
    "Comparison": "comparison",
    "image_grid": "grid",
    "write_report": "report",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
