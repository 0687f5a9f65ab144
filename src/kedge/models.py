"""From the name of a model to where it lives."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from kedge.registry import UnknownNameError, suggest

BUNDLED = ("emoji-lcm", "emoji-diffusion")
BUNDLED_GUIDANCE, PAPER_GUIDANCE = 1.0, 7.5


def default_guidance(name: str | Path) -> float:
    """ω where nobody chose one: what suits the bundled models, the papers' 7.5 for every other."""
    return BUNDLED_GUIDANCE if name in BUNDLED else PAPER_GUIDANCE


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
            raise UnknownNameError(f"{folder} is not a model in diffusers' format: it has no model_index.json")
        return folder
    text = str(name)
    if isinstance(name, str) and text.count("/") == 1 and not text.startswith((".", "/", "~")) and text[-1] != "/":
        return text
    raise UnknownNameError(
        f"no model {text!r}.{suggest(text, BUNDLED)} Give a bundled model ({', '.join(BUNDLED)}), "
        "an existing folder in diffusers' format, or a hub id (owner/name)"
    )
