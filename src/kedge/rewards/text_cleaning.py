"""OpenAI's and open_clip's treatment of a text before tokenising; transformers leaves it out."""

from __future__ import annotations

import html
import re

_PLAIN = re.compile(r"[ -%'-~]*")  # printable ASCII without the ampersand: nothing to mend


def clean_text(text: str) -> str:
    """What open_clip does to a text before tokenising: mend the encoding, undo HTML entities, lower the case.

    Raises:
        ModuleNotFoundError: the text is not plain, and ftfy, which mends it, is not installed.
    """
    if not _PLAIN.fullmatch(text):
        try:
            import ftfy
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"CLIP reads texts beyond plain ASCII through ftfy, which is not installed (prompt: {text[:60]!r}). "
                "Install it with: pip install ftfy",
                name="ftfy",
            ) from error
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()
