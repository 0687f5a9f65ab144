"""The emoji world in the pages on rewards and results, from the card that its build writes beside its weights."""

from __future__ import annotations

import re

from kedge.worlds.emoji.atlas import ASSETS

CARD = ASSETS / "README.md"
BEGIN = "<!-- world: written by docs/generate.py from the card among the emoji world's assets -->"
END = "<!-- end of world -->"
BEGIN_MODELS = "<!-- models: written by docs/generate.py from the card among the emoji world's assets -->"
END_MODELS = "<!-- end of models -->"
REWARDS = "Rewards"  # the card's section that another page has


def with_world(page: str) -> str:
    """The page with the card's section on rewards as it is today."""
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", f"{BEGIN}\n{section()}{END}", page, flags=re.DOTALL)


def with_models(page: str) -> str:
    """The page with what the card says of the models and of how everything was made."""
    block = f"{BEGIN_MODELS}\n{models()}{END_MODELS}"
    return re.sub(f"{re.escape(BEGIN_MODELS)}.*{re.escape(END_MODELS)}", lambda _: block, page, flags=re.DOTALL)


def section() -> str:
    """The card's section on rewards, without its title."""
    return sections()[REWARDS] + "\n"


def models() -> str:
    """The card's other sections, a level below those of the page."""
    parts = []
    for title, text in sections().items():
        if title != REWARDS:
            parts.append(f"### {title}\n\n{text}\n")
    return "\n".join(parts)


def sections() -> dict[str, str]:
    """Title → text of the card's sections, without its head."""
    _, *parts = CARD.read_text(encoding="utf-8").split("\n## ")
    texts = {}
    for part in parts:
        title, _, text = part.partition("\n")
        texts[title] = text.strip()
    return texts
