"""What prompts are to the model that is measured on them, in words: training prompts are never called held-out."""

from __future__ import annotations

from typing import Literal

Role = Literal["train", "tuning", "test", "given"]

_WORDS = {"train": "training prompts", "tuning": "held-out prompts", "test": "test prompts"}
# Logs name what was measured while training by the prompts that it was measured on: ``held_out/pickscore``.
HELD_OUT, TRAIN_PROMPTS = "held_out", "train_prompts"
_LOGGED = {HELD_OUT: "held-out prompts", TRAIN_PROMPTS: "training prompts"}


def words(role: str | None) -> str:
    """``training prompts``, ``held-out prompts``, ``test prompts``; just ``prompts`` where nobody knows."""
    return _WORDS.get(role or "", "prompts")


def logged(key: str) -> tuple[str, str] | None:
    """The prompts, in words, and the metric of a log's key: ``held_out/oracle`` → (held-out prompts, oracle)."""
    prefix, _, metric = key.partition("/")
    return (_LOGGED[prefix], metric) if prefix in _LOGGED and metric else None
