"""A model on the Hugging Face hub: whether it can be had, asked once and answered in one line."""

from __future__ import annotations

from pathlib import Path

INDEX = "model_index.json"


class UnreachableModelError(OSError):
    """A model that is neither on this machine nor to be had from the hub now; the message says how to get it."""


def check_reachable(model: Path | str, file: str = INDEX, what: str = "model") -> None:
    """Ask the hub for a model that is not in its cache here, once and without retries. Folders pass.

    Args:
        file: by which it is known.
        what: it is, for messages.

    Raises:
        UnreachableModelError: saying why, and what to do.
    """
    if isinstance(model, Path):
        return
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, file), str):
        return
    if problem := _problem(model, file):
        raise UnreachableModelError(f"{what} {model!r} is not on this machine, and {problem}")


def _problem(model: str, file: str) -> str | None:
    """What keeps ``model`` from being fetched, and the remedy; None if nothing does."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    elsewhere = f"fetch it where there is a network (hf download {model}), or give its folder: model=FOLDER"
    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE forbids to ask the hub: unset it, or {elsewhere}"
    try:
        get_hf_file_metadata(hf_hub_url(model, file))
    except GatedRepoError:
        return f"the hub shows it to those only who accepted its licence (hf auth login). Or {elsewhere}"
    except RepositoryNotFoundError:
        return "the hub has no such model: is its name right? A private one needs hf auth login"
    except EntryNotFoundError:
        return f"the hub has no {file} under this name: {_instead(file)}"
    except Exception as error:  # of sockets, of HTTP: which library raises it depends on the client's version
        return f"the hub cannot be reached ({type(error).__name__}): {elsewhere}"
    return None


def _instead(file: str) -> str:
    """What to do about a repository without the file by which such a thing is known."""
    if file == INDEX:
        return "models in diffusers' format have one"
    return "name the file as well (owner/name/FILE.safetensors)"
