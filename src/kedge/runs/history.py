"""How a run was trained, stretch by stretch: a resume with changes begins a new one, and none is ever rewritten."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kedge import __version__
from kedge.files import write_text


@dataclass(frozen=True)
class Stretch:
    """Steps that were trained alike.

    Attributes:
        after: optimizer steps that were done before it.
        config: the resolved config, as YAML has it.
        contents: what the config only points to: of the model, the prompts, the held-out prompts and the reward, a hash
            each.
        kedge: version.
        parent: of the first stretch of a run that started from another's adapter: that run and its step.
    """

    after: int
    config: Mapping[str, Any]
    contents: Mapping[str, str]
    kedge: str = __version__
    parent: Mapping[str, Any] | None = None

    def differences(self, later: Stretch) -> dict[str, tuple[Any, Any]]:
        """Key → value here and there, where they differ; of what the config points to, ``contents of reward``."""
        ours, theirs = dict(leaves(self.config)), dict(leaves(later.config))
        # A key that only one version of Kedge knows stands at its default in the other.
        keys = {**ours, **theirs} if self.kedge == later.kedge else theirs.keys() & ours.keys()
        changed = {}
        for key in keys:
            if ours.get(key) != theirs.get(key):
                changed[key] = (ours.get(key), theirs.get(key))
        for name, digest in self.contents.items():
            if later.contents.get(name, digest) != digest:
                changed[f"contents of {name}"] = (digest[:8], later.contents[name][:8])
        return changed


def leaves(block: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in nested mappings."""
    for key, value in block.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def in_words(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """``optimizer.lr 0.0001 → 1e-05, training.steps 4 → 8``."""
    return ", ".join(f"{key} {old} → {new}" for key, (old, new) in changed.items())


@dataclass(frozen=True)
class History:
    """All stretches of a run, in order."""

    stretches: tuple[Stretch, ...] = field(default=())

    def gone_on(self, stretch: Stretch) -> History:
        """With a stretch from ``stretch.after`` on, unless it is trained like the one before."""
        past = []
        for each in self.stretches:
            if each.after < stretch.after or each.after == 0:
                past.append(each)
        if past and not past[-1].differences(stretch):
            return History(tuple(past))
        return History((*past, stretch))

    @property
    def parent(self) -> Mapping[str, Any] | None:
        """The run whose adapter it started from."""
        return self.stretches[0].parent if self.stretches else None

    def sentences(self) -> list[str]:
        """For people: where it started, and from which step on what was different."""
        lines = []
        if self.parent:
            lines.append(f"It started from the adapter of {self.parent['run']} at step {self.parent['step']}.")
        for before, after in zip(self.stretches, self.stretches[1:], strict=False):
            lines.append(f"From step {after.after + 1} on: {in_words(before.differences(after))}.")
        return lines

    def to_list(self) -> list[dict[str, Any]]:
        """JSON-ready."""
        return list(map(asdict, self.stretches))

    @classmethod
    def from_list(cls, data: Sequence[Mapping[str, Any]]) -> History:
        """The inverse of :meth:`to_list`.

        Raises:
            TypeError, KeyError: if it is something else.
        """
        return cls(tuple(Stretch(**each) for each in data))

    def write(self, path: Path) -> None:
        """As JSON, with the sentences."""
        data = {"in_words": self.sentences(), "stretches": self.to_list()}
        write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
