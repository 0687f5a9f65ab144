"""Blind pairwise studies with human raters: design, server, votes, report, and what models learn from them.

Names load on first use, so that importing this package needs neither torch nor a web server.
"""

from importlib import import_module
from typing import Any

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
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
