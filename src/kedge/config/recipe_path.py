"""Where a recipe is: a preset's name, a YAML file, or a run folder."""

from __future__ import annotations

from pathlib import Path

from kedge.config.presets import preset
from kedge.config.text import ConfigError
from kedge.registry import suggest


def recipe_path(recipe: str | Path) -> Path:
    """The YAML behind a preset's name, a file, or a run folder.

    Raises:
        ConfigError: with the nearest preset's name.
    """
    path = Path(recipe).expanduser()
    if path.is_dir() and (path / "config.yaml").is_file():
        return path / "config.yaml"
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if len(path.parts) > 1 or path.is_dir():
        raise ConfigError(no_run(path, "no run and no recipe"))
    return preset(str(recipe)).path


def runs_beside(path: Path) -> list[str]:
    """The names of the runs in the folder that ``path`` lies in."""
    return sorted(folder.parent.name for folder in path.parent.glob("*/config.yaml"))


def no_run(path: Path, problem: str = "no run") -> str:
    """What to say of a path where no run is: which there are beside it, and which may be meant."""
    if path.is_dir():
        return f"{path} is not a run folder: it has no config.yaml (kedge train makes one)"
    runs = runs_beside(path)
    listing = f" Runs in {path.parent}: {', '.join(runs)}" if runs else f" There are no runs in {path.parent}"
    return f"{problem} at {path}.{suggest(path.name, runs)}{listing}"
