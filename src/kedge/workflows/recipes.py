"""What the first argument of ``kedge train`` may be: a preset, a YAML file, or a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedge.config import RunConfig


def recipe_path(recipe: str) -> Path:
    """The YAML behind a preset's name, a file, or a run folder.

    Raises:
        ConfigError: with the nearest preset's name.
    """
    from kedge.config.presets import preset

    path = Path(recipe).expanduser()
    if path.is_dir() and (path / "config.yaml").is_file():
        return path / "config.yaml"
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    return preset(recipe).path


def choose(recipe: str, overrides: list[str], out: str | None, resume: bool) -> tuple[RunConfig, Path]:
    """The config and the folder of a run.

    A resumed run keeps its own config (with the overrides), whatever recipe it is named by.

    Raises:
        ConfigError: if the recipe is wrong, or ``resume`` does not say which run.
    """
    from kedge.config import ConfigError, load_config
    from kedge.training.run_folder import fresh_folder, is_run

    path = recipe_path(recipe)
    from_run = path.name == "config.yaml" and is_run(path.parent)
    if not resume:
        return load_config(path, overrides), Path(out) if out else fresh_folder(
            path.parent.name if from_run else path.stem
        )
    folder = Path(out) if out else path.parent if from_run else None
    if folder is None:
        raise ConfigError("--resume needs to know the run: kedge train runs/NAME --resume, or --out runs/NAME")
    return load_config(folder / "config.yaml" if is_run(folder) else path, overrides), folder
