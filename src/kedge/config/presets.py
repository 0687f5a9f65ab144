"""The recipes that ship: YAML files whose first comment lines say what they do, how long it takes and on what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
    recipes = [_read(path) for path in _files().values()]
    return sorted(recipes, key=lambda item: (item.name != "emoji-rocm", not item.name.startswith("emoji-"), item.name))


def preset(name: str) -> Preset:
    """The recipe called ``name``.

    Raises:
        ConfigError: with the nearest name.
    """
    files = _files()
    if name not in files:
        choices = suggest(name, files) or f" Presets: {', '.join(item.name for item in presets())}"
        raise ConfigError(f"no preset and no file called {name!r}.{choices} (`kedge presets` describes them all)")
    return _read(files[name])


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Name → file: what ships does not change while a program runs, and a matrix asks for a recipe by the thousand."""
    folder = Path(str(resources.files("kedge") / "presets"))
    return {path.stem: path for path in folder.glob("*.yaml")}


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
