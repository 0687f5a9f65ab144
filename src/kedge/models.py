"""From the name of a model to where it lives."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from kedge.registry import UnknownNameError, suggest

ASSETS = Path(str(files("kedge"))) / "worlds" / "emoji" / "assets"
BUNDLED = {"emoji-lcm": 2.0, "emoji-diffusion": 1.0}  # name → its ω where nobody chooses one
if (ASSETS / "emoji-flow" / "model_index.json").is_file():  # ships if it was built
    BUNDLED["emoji-flow"] = 0.0


LORA_KEYS = ("lcm_lora", "few_step_lora")


@dataclass(frozen=True)
class ModelParts:
    """What a model takes from elsewhere; each is a folder or a hub id, a LoRA or a UNet also a single file.

    Attributes:
        unet: a UNet in place of the model's own, as LCM-distilled SDXL comes.
        vae: a VAE in place of the model's own.
        lcm_lora: an LCM-LoRA that is merged into the UNet.
        few_step_lora: the same for a LoRA of another distillation: Hyper-SD, SDXL-Lightning, DMD2, TCD.
        variant: which weight files to take: ``fp16`` for ``….fp16.safetensors``.
    """

    unet: str | None = None
    vae: str | None = None
    lcm_lora: str | None = None
    few_step_lora: str | None = None
    variant: str | None = None

    @property
    def says_what(self) -> tuple[str, str] | None:
        """The key and the source of the part that decides how the model is sampled; None leaves that to the model."""
        return self.merged_lora or (("unet", self.unet) if self.unet else None)

    @property
    def merged_lora(self) -> tuple[str, str] | None:
        """The key and the source of the LoRA that is merged into the UNet."""
        for key in LORA_KEYS:
            if source := getattr(self, key):
                return key, source
        return None


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository, written ``owner/name/path/of/the.file``.

    Attributes:
        repository: ``owner/name``.
        path: in the repository.
    """

    repository: str
    path: str

    @property
    def cached(self) -> Path | None:
        """The file in the hub's cache on this machine, if it is there."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repository, self.path)
        return Path(cached) if isinstance(cached, str) else None

    def fetched(self) -> Path:
        """The file, downloaded if it is not here yet."""
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(self.repository, self.path))


WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def hub_file(name: str | Path) -> HubFile | None:
    """What ``owner/name/file`` names on the hub; None for a hub id, a folder, or a file that exists."""
    text = str(name)
    owner, _, rest = text.partition("/")
    repository, _, path = rest.partition("/")
    single = isinstance(name, str) and path.endswith(WEIGHT_FILES) and _is_hub_id(f"{owner}/{repository}")
    return HubFile(f"{owner}/{repository}", path) if single and not Path(text).exists() else None


def resolve_model(name: str | Path) -> Path | str:
    """A bundled model's folder, an existing local folder, or the hub id as it was given.

    Args:
        name: a bundled model (``emoji-lcm``, ``emoji-diffusion``), a folder in diffusers' format, or ``owner/name`` on
            the hub.

    Raises:
        UnknownNameError: if it can be none of these.
        FileNotFoundError: if a bundled model has not been built in this copy of Kedge.
    """
    if name in BUNDLED:
        folder = ASSETS / str(name)
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"the bundled model {name!r} is not in {folder}: make it with `kedge world build`")
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UnknownNameError(
                f"{folder} is not a model in diffusers' format: it has no model_index.json{_instead(folder)}"
            )
        return folder
    if folder.is_file():
        raise UnknownNameError(_single_file(folder))
    if _is_hub_id(name):
        return str(name)
    raise UnknownNameError(
        f"no model {str(name)!r}.{suggest(str(name), BUNDLED)} Give a bundled model ({', '.join(BUNDLED)}), "
        "an existing folder in diffusers' format, or a hub id (owner/name)"
    )


def resolve_part(name: str, key: str) -> Path | str:
    """A folder or file that exists, or the hub id (or file on the hub, :func:`hub_file`) as it was given.

    Raises:
        UnknownNameError: if it can be neither, naming the config's ``key``.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if _is_hub_id(name) or hub_file(name):
        return name
    raise UnknownNameError(
        f"{key}: no {name!r}. Give an existing folder or file, a hub id (owner/name), or a file there "
        "(owner/name/file.safetensors)"
    )


def _is_hub_id(name: str | Path) -> bool:
    text = str(name)
    return isinstance(name, str) and text.count("/") == 1 and not text.startswith((".", "/", "~")) and text[-1] != "/"


def _single_file(path: Path) -> str:
    return (
        f"{path} is a file; a model is a folder in diffusers' format. A UNet alone goes into model.unet, a LoRA into "
        "model.lcm_lora or model.few_step_lora, beside the model with the other parts. A whole checkpoint is converted "
        f"once: StableDiffusionXLPipeline.from_single_file({str(path)!r}).save_pretrained('FOLDER') (or "
        "StableDiffusionPipeline)"
    )


def _instead(folder: Path) -> str:
    """What a folder without model_index.json may be instead."""
    if (folder / "pytorch_lora_weights.safetensors").is_file():
        return (
            ". It holds a LoRA: an LCM-LoRA goes into model.lcm_lora, one of another distillation into "
            "model.few_step_lora, beside the model that it was made for"
        )
    if (folder / "config.json").is_file() and list(folder.glob("diffusion_pytorch_model*")):
        return (
            ". It holds one network: a UNet goes into model.unet, beside the model with the other parts (for "
            "LCM-distilled SDXL: model.name=stabilityai/stable-diffusion-xl-base-1.0)"
        )
    return ""
