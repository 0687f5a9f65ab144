"""What the first argument of ``kedge train`` may be: a preset, a YAML file, a run folder; in Python also a mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from kedge.config import RunConfig

Recipe: TypeAlias = "str | Path | Mapping[str, Any] | RunConfig"


def read_recipe(recipe: Recipe, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None) -> RunConfig:
    """The config of a recipe, checked as far as it can be before anything loads.

    Args:
        overrides: ``key=value``.
        changes: the same as keywords, see :mod:`kedge.workflows.overrides`; they come after ``overrides``.

    Raises:
        ConfigError: naming the key and what to write instead.
    """
    from kedge.config import load_config, parse_config
    from kedge.config.text import apply_overrides
    from kedge.training.before_loading import check_before_loading
    from kedge.workflows.overrides import overrides_from

    texts = [*overrides, *overrides_from(changes or {})]
    if isinstance(recipe, str | Path):
        config = load_config(recipe, texts)
    else:
        config = parse_config(apply_overrides(_mapping(recipe), texts))
    check_before_loading(config)
    return config


def _mapping(recipe: Mapping[str, Any] | RunConfig) -> dict[str, Any]:
    from kedge.config import RunConfig, dump
    from kedge.config.text import apply_overrides, read_yaml
    from kedge.workflows.overrides import overrides_from

    if isinstance(recipe, RunConfig):
        return dict(read_yaml(dump(recipe), "the config"))
    return apply_overrides({}, overrides_from(recipe))


def choose(
    recipe: Recipe,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> tuple[RunConfig, Path]:
    """The config and the folder of a run.

    A resumed run keeps its own config (with the changes), whatever recipe it is named by.

    Raises:
        ConfigError: if the recipe is wrong, or ``resume`` does not say which run.
    """
    from kedge.config import ConfigError
    from kedge.config.recipe_path import recipe_path
    from kedge.runs.folder import fresh_folder, is_run

    path = recipe_path(recipe) if isinstance(recipe, str | Path) else None
    own_run = path.parent if path and path.name == "config.yaml" and is_run(path.parent) else None
    if not resume:
        name = own_run.name if own_run else path.stem if path else "run"
        return read_recipe(path or recipe, overrides, changes), Path(out) if out else fresh_folder(name)
    folder = Path(out) if out else own_run
    if folder is None:
        raise ConfigError("--resume needs to know the run: kedge train runs/NAME --resume, or --out runs/NAME")
    return read_recipe(folder if is_run(folder) else path or recipe, overrides, changes), folder
