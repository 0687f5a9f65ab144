"""Which family a folder or hub id belongs to, from its files; nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from kedge.models import ModelParts, hub_file, resolve_model, resolve_part
from kedge.policies.families.backbones import OMEGA, UNETS
from kedge.policies.families.catalogue import FAMILIES, layout_of
from kedge.policies.families.spec import Family, ModelFiles
from kedge.policies.part_files import weight_names
from kedge.registry import UnknownNameError, listed

# Names of models that have no UNet, whatever distillation they name besides.
NO_UNETS = (
    *("stable-diffusion-3", "sd3", "flux", "z-image", "qwen-image", "pixart", "sana", "kolors", "hunyuan", "cascade"),
    *("wuerstchen", "wan2", "krea", "ernie", "auraflow", "chroma", "lumina"),
)


def detect_kind(model: str | Path, parts: ModelParts | None = None) -> str:
    """The name of a model's family: by the files where they are on this machine, else by its name. Downloads nothing.

    Raises:
        UnknownNameError: for a model that cannot be found, or that Kedge cannot load.
    """
    if part := (parts or ModelParts()).says_what:
        _check_part(str(model), part[0])
        return family_of_part(*part).name
    newest_first = list(reversed(FAMILIES.values()))
    folder = local_folder(model)
    if folder is None:
        return _by_name(str(model))
    files = ModelFiles(folder)
    check_pipeline(files.pipeline, None, str(model))
    for family in newest_first:
        on_its_pipeline = files.pipeline in family.backbone.pipelines
        if on_its_pipeline and (family.recognises is None or family.recognises(files)):
            return family.name
    fitting = []
    for family in newest_first:
        if files.pipeline in family.backbone.pipelines:
            fitting.append(family.name)
    raise UnknownNameError(f"{model} is a {files.pipeline}; say which it is with model.kind={' or '.join(fitting)}")


def _check_part(model: str, key: str) -> None:
    """Refuse a part that goes into a UNet beside a model that is known to have none.

    Raises:
        UnknownNameError: naming both.
    """
    known = layout_of(model)
    for family in FAMILIES.values():
        if known in family.layouts and (problem := without_unet(family, key)):
            raise UnknownNameError(problem)


def without_unet(family: Family, key: str) -> str | None:
    """Why ``model.KEY``, a part that goes into a UNet, is nothing for this family; None if it has one."""
    if family.backbone.network == UNETS.network:
        return None
    return (
        f"model.{key} is for models with a UNet, and {family.title} has none: leave it out (diffusers' fuse_lora and "
        "save_pretrained merge a LoRA into a folder of its own)"
    )


def family_of_part(key: str, source: str) -> Family:
    """What a LoRA or a UNet from elsewhere makes of a model: by the key, its published name, or its weights.

    Raises:
        UnknownNameError: if nothing tells, naming the families that it may be.
    """
    families = list(reversed(FAMILIES.values()))
    for family in families:
        if any(conversion.key == key and conversion.only for conversion in family.conversions):
            return _not_by_name(family, key, source)
    known = layout_of(source, key)
    for family in families:
        if known is not None and known in family.layouts:
            return family
    if key == "unet" and takes_guidance(source):
        return FAMILIES["lcm"]
    marked = []
    for family in families:
        if family.conversions and _marked(family, source):
            marked.append(family.name)
    hint = f" Its name says {listed(marked)}." if marked else ""
    choices = []
    for family in FAMILIES.values():
        if family.backbone == UNETS:
            choices.append(family.name)
    raise UnknownNameError(
        f"model.{key}={source} changes how the model is sampled, and the file does not say how: set model.kind to "
        f"{listed(choices)}.{hint}"
    )


def _not_by_name(family: Family, key: str, source: str) -> Family:
    """``family``, unless the name of the file says that it is another distillation.

    Raises:
        UnknownNameError: naming that one.
    """
    others = []
    for other in FAMILIES.values():
        if other.conversions and other is not family and _marked(other, source):
            others.append(other.name)
    if others and not _marked(family, source):
        raise UnknownNameError(
            f"model.{key}={source}: this key is for {family.name}, and the file's name says {listed(others)}, which is "
            f"sampled another way: model.few_step_lora={source} with model.kind={others[0]}"
        )
    return family


def _marked(family: Family, source: str) -> bool:
    place = Path(source).expanduser()
    name = place.name if place.exists() else source  # folders above are named as one likes
    return any(mark in name.lower() for mark in family.name_marks)


def takes_guidance(unet: str) -> bool:
    """Whether a UNet from elsewhere was distilled with ω as an input, as far as its files on this machine show."""
    place = resolve_part(unet, "model.unet")
    if file := hub_file(place):
        place = file.cached or place
    if isinstance(place, Path) and place.is_file():
        return OMEGA in weight_names(place)
    folder = place if isinstance(place, Path) else _cached(place, "config.json")
    if folder is None:
        return False
    network = ModelFiles(folder).network("unet" if (folder / "model_index.json").is_file() else ".")
    return UNETS.takes_guidance(network)


def check_pipeline(pipeline: str, family: Family | None, model: str) -> None:
    """Refuse a pipeline that Kedge does not know, or one that is never of ``family``.

    Raises:
        UnknownNameError: saying what is supported, and what comes nearest.
    """
    if family is not None and pipeline in family.backbone.pipelines:
        return
    if pipeline == str(None):
        raise UnknownNameError(f"{model}/model_index.json has no _class_name, so it does not say what the model is")
    fitting = []
    for other in FAMILIES.values():
        if pipeline in other.backbone.pipelines:
            fitting.append(other)
    if not fitting:
        near = []
        for other in FAMILIES.values():
            if pipeline in other.nearest:
                near.append(other.nearest[pipeline])
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
    return _cached(place, "model_index.json")


def _cached(hub_id: str, file: str) -> Path | None:
    """The folder with a hub's model on this machine, if ``file`` is in it."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, file)
    return Path(cached).parent if isinstance(cached, str) else None


def _by_name(model: str) -> str:
    """As well as a hub id tells; when the model is loaded, its files have the last word.

    Raises:
        UnknownNameError: if it tells nothing: a family is not guessed.
    """
    known = layout_of(model)
    for family in reversed(FAMILIES.values()):
        if known in family.layouts:
            return family.name
    for family in reversed(FAMILIES.values()):
        foreign = family.backbone == UNETS and any(mark in model.lower() for mark in NO_UNETS)
        if _marked(family, model) and not foreign:
            return family.name
    raise UnknownNameError(
        f"{model} is not on this machine, and its name does not tell what it is: hf download {model}, or say "
        f"model.kind={' or '.join(FAMILIES)}"
    )


def _supported() -> str:
    return "; ".join(f"{family.title} (model.kind={family.name})" for family in FAMILIES.values())
