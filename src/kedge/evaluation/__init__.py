"""Honest evaluation: paired scores, intervals over prompts, tables, grids, reports. Names load on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedge.evaluation.comparison import Comparison, compare
    from kedge.evaluation.evaluator import evaluate, evaluate_images
    from kedge.evaluation.grid import image_grid
    from kedge.evaluation.report import write_report
    from kedge.evaluation.result import Evaluation

_HOME = {
    "Evaluation": "result",
    "evaluate": "evaluator",
    "evaluate_images": "evaluator",
    "compare": "comparison",
    "Comparison": "comparison",
    "image_grid": "grid",
    "write_report": "report",
}
__all__ = [
    "Comparison",
    "Evaluation",
    "compare",
    "evaluate",
    "evaluate_images",
    "image_grid",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
