"""Parts of pages that are written from records: what stands between two marks, ``<!-- NAME: … -->`` and its end."""

from __future__ import annotations

import re


def filled(page: str, name: str, record: str, text: str, *, folder: str = "docs/records") -> str:
    """``page`` with ``text`` between the marks of ``name``, whose record is ``folder``/``record``."""
    begin = f"<!-- {name}: written by docs/generate.py from {folder}/{record} -->"
    end = f"<!-- end of {name} -->"
    return re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{text}{end}", page, flags=re.DOTALL)
