"""Blind pairwise studies with human raters: design, server, votes, report, and what models learn from them.

Names load on first use, so that importing this package needs neither torch nor a web server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedge.study.analysis import analyse
    from kedge.study.create import create_study
    from kedge.study.design import Design
    from kedge.study.fit import fit_preference
    from kedge.study.report import write_study_report
    from kedge.study.server import make_app
    from kedge.study.store import Store, open_study

_HOME = {
    "Design": "design",
    "Store": "store",
    "create_study": "create",
    "open_study": "store",
    "make_app": "server",
    "analyse": "analysis",
    "write_study_report": "report",
    "fit_preference": "fit",
}
__all__ = [
    "Design",
    "Store",
    "analyse",
    "create_study",
    "fit_preference",
    "make_app",
    "open_study",
    "write_study_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
