"""The prompts that a config's blocks mean."""

from __future__ import annotations

from kedge.config import PromptsConfig
from kedge.prompts import load_prompts


def prompts_of(config: PromptsConfig) -> list[str]:
    """The prompts of a ``prompts`` block."""
    return load_prompts(
        config.source,
        column=config.column,
        split=config.split,
        count=config.count,
        seed=config.seed,
        local=config.local,
    )
