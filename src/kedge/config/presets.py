"""The recipes that ship: YAML files whose first comment lines say what they do, how long it takes and on what."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kedge.config.text import ConfigError
from kedge.registry import suggest


@dataclass(frozen=True)
class Preset:
    """One recipe.

    Attributes:
        name: the file's name without ``.yaml``.
        title, time, memory: from the header's comment lines ``# title``, ``# time: …``, ``# memory: …``.
    """

    name: str
    path: Path
    title: str
    time: str
    memory: str


def presets() -> list[Preset]:
    """All recipes in the package: the demo, the others of the emoji world, which run anywhere too, then the rest."""
    folder = Path(str(resources.files("kedge") / "presets"))
    recipes = [_read(path) for path in folder.glob("*.yaml")]
    return sorted(recipes, key=lambda item: (item.name != "emoji-rocm", not item.name.startswith("emoji-"), item.name))


def preset(name: str) -> Preset:
    """The recipe called ``name``.

    Raises:
        ConfigError: with the nearest name.
    """
    known = {item.name: item for item in presets()}
    if name not in known:
        choices = suggest(name, known) or f" Presets: {', '.join(known)}"
        raise ConfigError(f"no preset and no file called {name!r}.{choices} (`kedge presets` describes them all)")
    return known[name]


def _read(path: Path) -> Preset:
    header = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        header.append(line.lstrip("# ").strip())
    labels = {}
    for line in header[1:]:
        label, _, text = line.partition(":")
        if text:
            labels[label] = text.strip()
    return Preset(
        path.stem,
        path,
        title=header[0] if header else "",
        time=labels.get("time", "?"),
        memory=labels.get("memory", "?"),
    )
