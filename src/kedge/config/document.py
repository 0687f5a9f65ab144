"""A recipe with every key explained: what ``kedge init`` writes."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

import yaml

from kedge.config import fields
from kedge.config.loading import plain
from kedge.config.schema import AlgorithmChoice, RunConfig

WIDTH = 116


def document(config: RunConfig, title: str = "") -> str:
    """``config`` as YAML with a comment over every key; reading it back gives an equal config."""
    lines = []
    for text in title.splitlines():
        lines += _comment(text, 0)
    if title:
        lines.append("")
    return "\n".join([*lines, *_block(config, 0)]) + "\n"


def _block(value: Any, depth: int) -> list[str]:
    words = fields.described(type(value))
    lines: list[str] = []
    for field in fields.config_fields(type(value)):
        if depth == 0 and lines:
            lines.append("")
        lines += _comment(words.get(field.name, ""), depth)
        lines += _entry(field.name, getattr(value, field.name), depth)
    return lines


def _entry(name: str, value: Any, depth: int) -> list[str]:
    margin = "  " * depth
    if isinstance(value, AlgorithmChoice):
        words = fields.described(AlgorithmChoice)["name"]
        rest = _block(value.instance, depth + 1)
        return [f"{margin}{name}:", *_comment(words, depth + 1), f"{margin}  name: {_scalar(value.name)}", *rest]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [f"{margin}{name}:", *_block(value, depth + 1)]
    return [f"{margin}{name}: {_scalar(plain(value))}"]


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()


def _comment(text: str, depth: int) -> list[str]:
    margin = "  " * depth + "# "
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin)
