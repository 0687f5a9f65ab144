"""The emoji world's rewards in the page on rewards, from the card that the world's build writes beside its weights."""

from __future__ import annotations

import re

from kedge.worlds.emoji.atlas import ASSETS

CARD = ASSETS / "README.md"
BEGIN = "<!-- world: written by docs/generate.py from the card among the emoji world's assets -->"
END = "<!-- end of world -->"


def with_world(page: str) -> str:
    """The page with the card's section on rewards as it is today."""
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", f"{BEGIN}\n{section()}{END}", page, flags=re.DOTALL)


def section() -> str:
    """The card's section on rewards, without its title."""
    card = CARD.read_text(encoding="utf-8")
    _, _, rest = card.partition("## Rewards\n")
    text, _, _ = rest.partition("\n## ")
    return text.strip() + "\n"
