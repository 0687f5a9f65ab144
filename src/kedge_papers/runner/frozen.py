"""What all runs of one folder have in common, written down before the first: the world, the claims, the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kedge.config import ConfigError
from kedge.files import read_json, write_text
from kedge.hashing import text_hash
from kedge_papers.claims.claim import claim_files
from kedge_papers.runner.experiment_set import ExperimentSet
from kedge_papers.runner.world_digest import world_digest

FROZEN = "frozen.json"
SHOWN = 12  # hexadecimal digits that people get to see


def present(experiments: ExperimentSet) -> dict[str, Any]:
    """What is frozen, as it is now."""
    from kedge.runs.folder import environment

    claims = text_hash(path.read_text(encoding="utf-8") for path in claim_files(experiments.claims))
    return {"world": world_digest(experiments), "claims": claims, "code": environment(1, "cpu").get("git")}


def freeze(folder: Path, experiments: ExperimentSet) -> list[str]:
    """Write down what is frozen, or compare with what was written; returns what the user should know.

    Other code and other claims are reported: each run's record names the code. Another world is refused.

    Raises:
        ConfigError: the folder's runs were begun in another world.
    """
    now, path = present(experiments), folder / FROZEN
    if not path.is_file():
        write_text(path, json.dumps(now, indent=1) + "\n")
        return [f"{path}: world {_short(now['world'])}, claims {_short(now['claims'])}, code {_commit(now)}"]
    before = read_json(path)
    _refuse_another_world(folder, before["world"], now["world"])
    notes = []
    if before["claims"] != now["claims"]:
        notes.append(
            "the claims are not those of the first run: what was changed since cannot be decided by these runs"
        )
    if before["code"] != now["code"]:
        notes.append(f"the code is not that of the first run ({_commit(before)}, now {_commit(now)})")
    return notes


def check_world(folder: Path, experiments: ExperimentSet) -> None:
    """Before anything is said of the runs in a folder.

    Raises:
        ConfigError: they were begun in another world.
    """
    path = folder / FROZEN
    if path.is_file():
        _refuse_another_world(folder, read_json(path)["world"], world_digest(experiments))


def _refuse_another_world(folder: Path, before: str | None, now: str | None) -> None:
    if before != now:
        raise ConfigError(
            f"the runs in {folder} were begun in another world ({_short(before)}, here {_short(now)}): two worlds' "
            "runs are not mixed. Give another --out"
        )


def _short(digest: str | None) -> str:
    return digest[:SHOWN] if digest else "from elsewhere"


def _commit(state: dict[str, Any]) -> str:
    git = state["code"]
    return f"{git['commit'][:10]}{', changed' if git['changed'] else ''}" if git else "unknown"
