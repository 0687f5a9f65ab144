"""From the name of a model to where it lives."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from kedge.registry import UnknownNameError, suggest

BUNDLED = ("emoji-lcm", "emoji-diffusion")
BUNDLED_GUIDANCE = 1.0  # ω that they look best at


@dataclass(frozen=True)
class ModelParts:
    """What a model takes from elsewhere; each is a folder or a hub id.

    Attributes:
        unet: a UNet in place of the model's own, as LCM-distilled SDXL comes.
        vae: a VAE in place of the model's own.
        lcm_lora: an LCM-LoRA (or the path of its file) that is added to the UNet for good.
        variant: which weight files to take: ``fp16`` for ``….fp16.safetensors``.
    """

    unet: str | None = None
    vae: str | None = None
    lcm_lora: str | None = None
    variant: str | None = None


def resolve_model(name: str | Path) -> Path | str:
    """A bundled model's folder, an existing local folder, or the hub id as it was given.

    Args:
        name: ``emoji-lcm``, ``emoji-diffusion``, a folder in diffusers' format, or ``owner/name`` on the hub.

    Raises:
        UnknownNameError: if it can be none of these.
        FileNotFoundError: if a bundled model has not been built in this copy of Kedge.
    """
    if name in BUNDLED:
        folder = Path(str(files("kedge"))) / "worlds" / "emoji" / "assets" / str(name)
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"the bundled model {name!r} is not in {folder}: make it with `kedge world build`")
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UnknownNameError(
                f"{folder} is not a model in diffusers' format: it has no model_index.json.{_instead(folder)}"
            )
        return folder
    if _is_hub_id(name):
        return str(name)
    raise UnknownNameError(
        f"no model {str(name)!r}.{suggest(str(name), BUNDLED)} Give a bundled model ({', '.join(BUNDLED)}), "
        "an existing folder in diffusers' format, or a hub id (owner/name)"
    )


def resolve_part(name: str, key: str) -> Path | str:
    """A folder or file that exists, or the hub id as it was given.

    Raises:
        UnknownNameError: if it can be neither, naming the config's ``key``.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if _is_hub_id(name):
        return name
    raise UnknownNameError(f"{key}: no {name!r}. Give an existing folder or file, or a hub id (owner/name)")


def _is_hub_id(name: str | Path) -> bool:
    text = str(name)
    return isinstance(name, str) and text.count("/") == 1 and not text.startswith((".", "/", "~")) and text[-1] != "/"


def _instead(folder: Path) -> str:
    """What a folder without model_index.json may be instead."""
    if (folder / "pytorch_lora_weights.safetensors").is_file():
        return " It holds a LoRA: an LCM-LoRA goes into model.lcm_lora, beside the model that it was made for"
    if (folder / "config.json").is_file() and list(folder.glob("diffusion_pytorch_model*")):
        return (
            " It holds one network: a UNet goes into model.unet, beside the model with the other parts (for "
            "LCM-distilled SDXL: model.name=stabilityai/stable-diffusion-xl-base-1.0)"
        )
    return ""
