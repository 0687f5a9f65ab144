"""Prompts from data sets on the Hugging Face hub, reading one column and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedge.prompts.sources import PromptError, parquet_column, read_file

# The hub converts every data set to Parquet on this branch: <config>/<split>/0000.parquet, …
PARQUET_BRANCH = "refs%2Fconvert%2Fparquet"


class UnreachableError(PromptError):
    """The hub did not give it: there is no way to it, or it is not there."""


def hub_column(dataset: str, column: str | None, split: str, filesystem: Any = None) -> list[str]:
    """One column of one split. Images in other columns are not downloaded.

    Args:
        filesystem: an fsspec file system; None is the hub's.

    Raises:
        PromptError: if the hub cannot be reached or has no such data set or split.
    """
    if filesystem is None:
        from huggingface_hub import HfFileSystem

        filesystem = HfFileSystem()
    root = f"datasets/{dataset}@{PARQUET_BRANCH}"
    try:
        files = sorted(filesystem.glob(f"{root}/**/*.parquet"))
        if not files:
            raise PromptError(f"no data set {dataset!r} on the hub, or it cannot be read as a table")
        splits = sorted(set(map(_split, files)))
        if split not in splits:
            raise PromptError(f"data set {dataset!r} has no split {split!r}. Splits: {', '.join(splits)}")
        prompts = []
        for path in files:
            if _split(path) == split:
                prompts += parquet_column(path, column, filesystem)
        return prompts
    except PromptError:
        raise
    except Exception as error:  # the hub's client raises many kinds: httpx, OSError, its own
        raise UnreachableError(unreachable(f"data set {dataset!r}", error)) from error


def hub_file(dataset: str, filename: str, column: str | None = None) -> list[str]:
    """The prompts in one file of a hub data set."""
    return read_file(download(dataset, filename), column)


def download(dataset: str, filename: str) -> Path:
    """One file of a hub data set, from the cache when it is there.

    Raises:
        PromptError: if it is neither cached nor to be had.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(dataset, filename, repo_type="dataset"))
    except Exception as error:
        raise UnreachableError(unreachable(f"{filename!r} of data set {dataset!r}", error)) from error


def unreachable(what: str, error: Exception) -> str:
    """Why the hub did not give it, and what to do."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"cannot get {what} from the Hugging Face hub ({reason}). Give a local file instead: prompts.local=FILE"


def _split(path: str) -> str:
    return path.split("/")[-2]
