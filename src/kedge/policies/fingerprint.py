"""Which model an adapter was trained on: a hash of the weights that were loaded, so that no other passes for it.

A part's hash is the SHA-256 of its weight file (of several files' hashes, where it comes in shards): the number that
the hub shows for a file. The same weights in other files (half precision, another format) are another base.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedge.files import typed
from kedge.hashing import file_hash
from kedge.models import BUNDLED, ModelParts
from kedge.policies.weight_files import weight_files

log = logging.getLogger(__name__)

# The bundled models that have shipped: digest → what to call it. A new world gets new lines; old ones stay.
KNOWN = {
    "ba10fbe13f2839bbb1c0f27e733231aa57bd77c4f782c0b506900ee94f0ca9f6": "emoji-lcm of world 1",
    "2763bd73d56a74f1923a7c33744164a7d1df55657de391e33648ef135f5d3455": "emoji-diffusion of world 1",
    "9a1294406b9b655c1798d8aa61a127bd1ac279059d3b0a028a6fc4ca614d0cdf": "emoji-lcm of world 2",
    "3e3e62bea02af7bc31c4e5445085dc0b71752ea6dc590092343bfd8bff2636aa": "emoji-diffusion of world 2",
    "bc0f0d4280637168bc578105aba87f319da2874aec3cbe6c9662b1e16809ccb4": "emoji-flow of world 2",
}
# Runs of bundled models that do not say what they were trained on are from the time of these.
BEFORE_RECORDS = {
    "emoji-lcm": "ba10fbe13f2839bbb1c0f27e733231aa57bd77c4f782c0b506900ee94f0ca9f6",
    "emoji-diffusion": "2763bd73d56a74f1923a7c33744164a7d1df55657de391e33648ef135f5d3455",
}

SHOWN = 8  # hexadecimal digits in messages and cards


class OtherBaseError(ValueError):
    """An adapter is used with another base model than the one that it was trained on."""


@dataclass(frozen=True)
class Fingerprint:
    """A base model, known by its weights.

    Attributes:
        name: what the config calls it; says nothing about its weights.
        digest: SHA-256 over all parts, in hexadecimal; equal for equal weights wherever they lie.
        parts: ``unet``, ``vae``, … → the hash of its weights.
        whole: whether every part is the model's own. Not recorded: the parts tell what was loaded.
    """

    name: str
    digest: str
    parts: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True

    def __str__(self) -> str:
        return f"{KNOWN.get(self.digest, self.name)} ({self.digest[:SHOWN]})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"name": self.name, "digest": self.digest, "parts": dict(self.parts)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fingerprint:
        """The inverse of :meth:`to_dict`."""
        return cls(data["name"], data["digest"], dict(data["parts"]))


def fingerprint(name: str | Path, parts: ModelParts | None = None) -> Fingerprint | None:
    """The fingerprint of a model whose files are on this machine; None where there are no such files.

    Args:
        name: as for :func:`kedge.models.resolve_model`; a hub id is looked for in the hub's cache.
        parts: what it takes from elsewhere.
    """
    parts = parts or ModelParts()
    files = weight_files(name, parts)
    if not files:
        return None
    hashes = {part: _joined(list(map(file_hash, chosen))) for part, chosen in files.items()}
    lines = "\n".join(f"{part} {hashes[part]}" for part in sorted(hashes))
    whole = not (parts.unet or parts.vae or parts.merged_lora)
    return Fingerprint(str(name), hashlib.sha256(lines.encode()).hexdigest(), hashes, whole)


def check_base(trained_on: Mapping[str, Any] | None, present: Fingerprint | None, run: str) -> None:
    """Check that an adapter is used with the base that it was trained on; if that is unknown, a note is logged.

    Args:
        trained_on: the recorded fingerprint, as :meth:`Fingerprint.to_dict` has it; None in old runs.
        present: the fingerprint of what was loaded; None for a policy of the user's own.
        run: the run's folder, for messages.

    Raises:
        OtherBaseError: naming both, and saying what to do.
    """
    if present is None:
        return
    if trained_on is None and not (present.whole and present.name in BEFORE_RECORDS):
        log.warning("%s does not record the base it was trained on (it is an old run): taken to be %s", run, present)
        return
    past = Fingerprint.from_dict(trained_on) if trained_on else Fingerprint(present.name, BEFORE_RECORDS[present.name])
    if past.digest != present.digest:
        raise OtherBaseError(_refusal(past, present, run))
    if trained_on is None:
        log.warning("%s does not record the base it was trained on (it is an old run): it fits %s", run, present)


def _refusal(past: Fingerprint, present: Fingerprint, run: str) -> str:
    different = []
    for part in sorted({*past.parts, *present.parts}):
        if past.parts and past.parts.get(part) != present.parts.get(part):
            different.append(part)
    which = f" Different: {', '.join(different)}." if different else ""
    again = f"To train such an adapter on the one here: kedge train {typed(run)} --out NEW-FOLDER"
    if present.name in BUNDLED:
        way = f"Use the version of Kedge that made the run (env.json names it). {again}"
    else:
        way = (
            "Point model.name (and model.unet, vae, lcm_lora, few_step_lora, variant) in its config.yaml to the files "
            f"that it was trained on. {again}"
        )
    return (
        f"the adapter of {run} was trained on {past}; the {present.name} on this machine is {present}.{which} On other "
        f"weights an adapter does something else. {way}"
    )


def _joined(hashes: list[str]) -> str:
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
