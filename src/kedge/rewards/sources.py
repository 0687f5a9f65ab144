"""Where a reward's weights lie on this machine, and what to do if they do not. Nothing is downloaded unasked.

Published parts are looked for in the Hugging Face cache (hub files) and in ``$KEDGE_HOME/weights`` (single files
from elsewhere; ``~/.cache/kedge`` unless set). ``@emoji`` means the emoji world's own, ``@SOURCE`` a path or a hub id.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kedge.rewards.catalogue import REWARDS, check_in_world
from kedge.rewards.spec import CHAT, Part, RewardSpec
from kedge.units import GB, MB

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class MissingWeightsError(FileNotFoundError):
    """Weights that are not on this machine; the message says what to fetch, how large it is, and how."""


@dataclass(frozen=True)
class Readiness:
    """Whether a reward can be loaded now.

    Attributes:
        missing: the parts that are not here.
        advice: commands or words that make it ready; empty if it is.
    """

    name: str
    ready: bool
    missing: tuple[Part, ...] = ()
    advice: str = ""


def world_assets() -> Path:
    """The folder of the emoji world's models, inside the package."""
    return Path(__file__).parents[1] / "worlds" / "emoji" / "assets"


def weights_folder() -> Path:
    """Where single published files are kept."""
    return Path(os.environ.get("KEDGE_HOME", "~/.cache/kedge")).expanduser() / "weights"


def size_in_words(size: int) -> str:
    """``3.94 GB``, ``605 MB``."""
    return f"{size / GB:.2f} GB" if size >= GB else f"{max(1, round(size / MB))} MB"


def fetch_command(part: Part) -> str:
    """The command that brings ``part`` to where it is looked for."""
    if part.where.startswith("https://"):
        return f'curl -L --create-dirs -o "{weights_folder() / part.files[0]}" "{part.where}"'
    if not part.folder:
        return f"hf download {part.where} {part.files[0]}"
    command = f'hf download {part.where} --include "*.json" --include "*.txt"'
    for choice in part.files:
        if "safetensors" in choice:
            pattern = '"*.safetensors"' if "index" in choice else choice.split("|")[0]
            command += f" --include {pattern}"
    return f'{command} --include "*.jinja"' if CHAT in part.files else command


def looks_like_a_path(source: str) -> bool:
    """Whether a source can be nothing but a file or folder of the user's own: no hub id, no server."""
    return source != "emoji" and "://" not in source and not _HUB_ID.fullmatch(source)


def locate(spec: RewardSpec, source: str | None) -> dict[str, Path]:
    """The path of every part of ``spec``, by key.

    Raises:
        MissingWeightsError: a part is not on this machine.
        ValueError: the source is neither a path, nor ``emoji``, nor like a hub id; or the emoji world has no such
            reward.
    """
    if source == "emoji" and spec.parts:
        check_in_world(spec)
    return {part.key: _locate(spec, part, source, main=part is spec.parts[0]) for part in spec.parts}


def locate_here(spec: RewardSpec, source: str | None) -> dict[str, Path]:
    """As :func:`locate`, without the parts that are not on this machine."""
    paths = {}
    for part in spec.parts:
        with suppress(MissingWeightsError):
            paths[part.key] = _locate(spec, part, source, main=part is spec.parts[0])
    return paths


def _locate(spec: RewardSpec, part: Part, source: str | None, main: bool) -> Path:
    if source is None or (spec.source == "server" and source != "emoji"):
        return _published(spec, part)
    if source == "emoji":
        path = world_assets() / str(part.bundled)
        if not _holds(path, part.files if part.folder else ()):
            raise MissingWeightsError(
                f"reward '{spec.name}@emoji' needs {path}, which is missing or incomplete: this copy of the emoji "
                "world was installed without it. Reinstall kedge, or make it again with: kedge world build"
            )
        return path
    path = Path(source).expanduser()
    if path.exists():
        return _from_path(spec, part, path, main)
    if main and _HUB_ID.fullmatch(source):
        return _published(spec, replace(part, where=source, licence="see its page", size=0))
    if not main:
        return _published(spec, part)
    raise ValueError(f"reward '{spec.name}@{source}': no such file or folder, and it is not a hub id (owner/name)")


def _from_path(spec: RewardSpec, part: Part, path: Path, main: bool) -> Path:
    """A part out of the user's own file or folder; companions that are not in there are the published ones."""
    if not main:
        folder = path if path.is_dir() else path.parent
        for place in (folder / part.key, folder):
            if _holds(place, part.files):
                return place if part.folder else place / part.files[0]
        return _published(spec, part)
    if part.folder:
        if _holds(path, part.files):
            return path
        raise MissingWeightsError(f"reward '{spec.name}': {path} lacks {_first_lacking(path, part.files)}")
    if path.is_file():
        return path
    candidates = []
    for file in sorted(path.iterdir()):
        if file.suffix in (".pt", ".pth", ".bin", ".safetensors"):
            candidates.append(file)
    named = [file for file in candidates if file.name == part.files[0]] or candidates
    if len(named) != 1:
        raise MissingWeightsError(
            f"reward '{spec.name}': expected {part.files[0]} in {path}, found "
            f"{', '.join(file.name for file in candidates) or 'no weights'}; give the file itself"
        )
    return named[0]


def _published(spec: RewardSpec, part: Part) -> Path:
    path = find_published(part)
    if path is not None:
        return path
    size = f", {size_in_words(part.size)}" if part.size else ""
    raise MissingWeightsError(
        f"reward {spec.name!r} needs {part.where} ({', '.join(part.files)}{size}, licence: {part.licence}), which is "
        f"not on this machine. Fetch it with:\n  {fetch_command(part)}"
    )


def find_published(part: Part) -> Path | None:
    """Where a published part is on this machine; None if it is not."""
    if part.where.startswith("https://"):
        file = weights_folder() / part.files[0]
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    folders = []
    for choice in part.files:
        cached = None
        for name in reversed(choice.split("|")):
            place = try_to_load_from_cache(part.where, name)
            cached = Path(place) if isinstance(place, str) else cached
        if cached is None:
            return None
        folders.append(cached)
    return folders[0].parent if part.folder else folders[0]


def _holds(path: Path, files: tuple[str, ...]) -> bool:
    return path.exists() and _first_lacking(path, files) is None


def _first_lacking(path: Path, files: tuple[str, ...]) -> str | None:
    for choice in files:
        if not any((path / file).is_file() for file in choice.split("|")):
            return choice.replace("|", " or ")
    return None


def readiness(names: Collection[str] | None = None) -> list[Readiness]:
    """What rewards still need: those of ``names`` (``pickscore``, ``pickscore@emoji``), or every one of either kind."""
    rows: list[Readiness] = []
    for name, spec in REWARDS.items():
        if spec.parts and (names is None or name in names):
            rows.append(_readiness_published(spec))
        if spec.in_world and (names is None or f"{name}@emoji" in names):
            rows.append(_readiness_in_world(spec))
        if not spec.parts and (names is None or name in names):
            served = spec.source == "server"
            advice = f"give a server: {spec.name}@http://HOST:PORT/…" if served else ""
            rows.append(Readiness(spec.name, not served, (), advice))
    return rows


def _readiness_published(spec: RewardSpec) -> Readiness:
    missing = tuple(part for part in spec.parts if find_published(part) is None)
    advice = "\n".join(fetch_command(part) for part in missing)
    if spec.source == "server":
        advice = "\n".join(filter(None, [f"give a server: {spec.name}@http://HOST:PORT/v1", advice]))
    return Readiness(spec.name, not missing and spec.source != "server", missing, advice)


def _readiness_in_world(spec: RewardSpec) -> Readiness:
    try:
        locate(spec, "emoji")
        if spec.world_server and not (world_assets() / spec.world_server / "config.json").is_file():
            raise MissingWeightsError(f"the emoji world has no {world_assets() / spec.world_server}")
    except MissingWeightsError as error:
        return Readiness(f"{spec.name}@emoji", False, spec.parts, str(error))
    return Readiness(f"{spec.name}@emoji", True)
