"""What ``kedge push`` does: a run's adapter and what explains it become a model repository on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from kedge.files import typed
from kedge.runs.folder import RunFolder, is_run

_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def files_to_push(run: Path, repository: str) -> dict[str, Path]:
    """Name in the repository → file: the adapter at the top, where loaders look for it; never checkpoints or logs.

    Raises:
        ValueError: it is no run, it has no adapter yet, or the repository's name is none.
    """
    if _NAME.fullmatch(repository) is None:
        raise ValueError(f"{repository!r} is no name of a repository: write OWNER/NAME, for example me/fox-lcm")
    if not is_run(run):
        raise ValueError(f"{run} is not a run folder: it has no config.yaml (kedge train makes one)")
    folder = RunFolder(run)
    adapters = sorted(folder.lora.glob("*.safetensors"))
    if not adapters:
        raise ValueError(f"{run} has no adapter yet: kedge export {typed(run)} writes that of its newest checkpoint")
    files = {path.name: path for path in adapters}
    pictures = sorted(folder.samples.glob("step-*.png"))
    files |= {f"samples/{path.name}": path for path in (pictures[:1] + pictures[-1:])}
    for path in (folder.card, folder.config, folder.report):
        if path.is_file():
            files[path.name] = path
    return files


def push(run: Path, repository: str, private: bool = True) -> str:
    """Send them in one commit, and return the repository's address.

    Raises:
        ValueError: as :func:`files_to_push`, or the hub refuses: not logged in, or no right to write there.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    files = files_to_push(run, repository)
    api = HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        api.create_commit(repository, operations, commit_message="Adapter trained with kedge")
    except LocalTokenNotFoundError as error:
        raise ValueError("the hub does not know who sends: log in with hf auth login") from error
    except HfHubHTTPError as error:
        raise ValueError(f"the hub refuses {repository}: {error}. Log in with hf auth login, as its owner") from error
    return str(address)
