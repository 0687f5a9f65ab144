"""Which family a folder or hub id belongs to, from its files; nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from kedge.models import ModelParts, resolve_model
from kedge.policies.families.catalogue import DIFFUSION, FAMILIES, layout_of
from kedge.policies.families.spec import Family, ModelFiles
from kedge.registry import UnknownNameError


def detect_kind(model: str | Path, parts: ModelParts | None = None) -> str:
    """The name of a model's family: by the files where they are on this machine, else by its name. Downloads nothing.

    Raises:
        UnknownNameError: for a model that cannot be found, or that Kedge cannot load.
    """
    parts = parts or ModelParts()
    newest_first = list(reversed(FAMILIES.values()))
    for family in newest_first:
        if family.conversion(parts):
            return family.name
    folder = local_folder(model)
    if folder is None:
        return _by_name(str(model))
    files = ModelFiles(folder)
    check_pipeline(files.pipeline, None, str(model))
    for family in newest_first:
        on_its_pipeline = files.pipeline in family.backbone.pipelines
        if on_its_pipeline and (family.recognises is None or family.recognises(files)):
            return family.name
    fitting = [family.name for family in newest_first if files.pipeline in family.backbone.pipelines]
    raise UnknownNameError(f"{model} is a {files.pipeline}; say which it is with model.kind={' or '.join(fitting)}")


def check_pipeline(pipeline: str, family: Family | None, model: str) -> None:
    """Refuse a pipeline that Kedge does not know, or one that is never of ``family``.

    Raises:
        UnknownNameError: saying what is supported, and what comes nearest.
    """
    if family is not None and pipeline in family.backbone.pipelines:
        return
    fitting = [other for other in FAMILIES.values() if pipeline in other.backbone.pipelines]
    if not fitting:
        near = [other.nearest[pipeline] for other in FAMILIES.values() if pipeline in other.nearest]
        hint = f" What comes nearest: {near[-1]}." if near else ""
        raise UnknownNameError(
            f"{model} is a {pipeline}, which Kedge does not train. Supported: {_supported()}.{hint} For a model of "
            "your own, model.kind=module:function (docs/extending.md)"
        )
    if family is not None:
        names = " or ".join(other.name for other in fitting)
        raise UnknownNameError(f"{model} is a {pipeline}, so model.kind={names} (or auto), not {family.name}")


def local_folder(model: str | Path) -> Path | None:
    """Where the model's files are, if they are here: its folder, or its snapshot in the hub's cache.

    Raises:
        UnknownNameError: for a name that no model can have.
    """
    try:
        place = resolve_model(model)
    except FileNotFoundError:  # a bundled model that is not built yet: its name tells
        return None
    if isinstance(place, Path):
        return place
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(place, "model_index.json")
    return Path(index).parent if isinstance(index, str) else None


def _by_name(model: str) -> str:
    """As well as a hub id tells; when the model is loaded, its files have the last word."""
    known = layout_of(model)
    for family in reversed(FAMILIES.values()):
        marked = any(mark in model.lower() for mark in family.name_marks)
        if known in family.layouts or marked:
            return family.name
    return DIFFUSION.name


def _supported() -> str:
    return "; ".join(f"{family.title} (model.kind={family.name})" for family in FAMILIES.values())
