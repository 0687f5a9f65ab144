"""What ``kedge export`` does: a run's adapter, alone or with others, as files for other programs or in its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.files import check_new, check_writable
from kedge.runs.folder import RunFolder
from kedge.workflows.weighted import place_and_weight

if TYPE_CHECKING:
    from kedge.export.lora_files import Layer
    from kedge.workflows.load_run import TrainedRun

MERGED = "merged"
NEVER_OWN = "what is stacked or merged does not replace the run's own adapter"
USAGE = "--with takes RUN or RUN=WEIGHT, for example runs/other=0.5"
SYNONYMS = {"kohya": "comfyui", "a1111": "comfyui"}  # one file serves all of them


def export_run(run: Path, program: str, out: Path | None = None, others: Sequence[str] = ()) -> Path:
    """Write it, and return the file, or the folder of a merged model.

    Args:
        program: ``diffusers``, ``comfyui`` (also ``kohya``, ``a1111``), or ``merged`` for a whole model.
        out: a folder; ``RUN/lora`` by default, a new one for what is merged or stacked.
        others: run folders whose adapters are added, ``RUN`` or ``RUN=WEIGHT``; of the same base.

    Raises:
        ValueError: the program has no format for this model, the adapters do not fit, or ``out`` is missing.
    """
    from kedge.export.combined import save_merged, stack
    from kedge.export.lora import adapter_layers, save_lora
    from kedge.training.run import metadata
    from kedge.workflows.load_run import load_run

    _check_place(run, program, out, others)
    weighted = [place_and_weight(text, USAGE) for text in others]
    loaded = load_run(run, device="cpu")
    layers = adapter_layers(loaded.policy)
    if weighted:
        layers = stack([(layers, 1.0), *((_other(Path(path), loaded), weight) for path, weight in weighted)])
    if program == MERGED:
        return save_merged(loaded.config.model, layers, Path(str(out)))
    about = metadata(loaded.config, loaded.step, loaded.base, loaded.history)
    about |= {"stacked_with": list(others)} if others else {}
    written = save_lora(loaded.policy, out or loaded.folder.lora, about, layers if others else None)
    name = SYNONYMS.get(program, program)
    if name not in written:
        raise ValueError(f"{program} has no agreed format for a LoRA of this model; {written['diffusers']} is written")
    return written[name]


def _check_place(run: Path, program: str, out: Path | None, others: Sequence[str]) -> None:
    """Refuse what could not be written, or would take the place of something else, before anything is loaded."""
    combined = bool(others) or program == MERGED
    if out is None:
        if combined:
            raise ValueError(f"--out FOLDER is needed: {NEVER_OWN}")
        return
    if combined and out.resolve() == RunFolder(run).lora.resolve():
        raise ValueError(f"--out {out} is the run's own adapter, and {NEVER_OWN}: give another folder")
    if program == MERGED:
        check_new(out)
    else:
        check_writable(out / "adapter")


def _other(run: Path, ours: TrainedRun) -> dict[str, Layer]:
    """Another run's adapter.

    Raises:
        ValueError: it belongs to other weights: another model, or the same with another UNet or few-step LoRA.
    """
    from kedge.export.lora import adapter_layers
    from kedge.workflows.load_run import load_run

    other = load_run(run, device="cpu")
    theirs, name = other.config.model.name, ours.config.model.name
    if theirs != name:
        raise ValueError(f"{other.path} was trained on {theirs}, not on {name}")
    if other.base and ours.base and other.base.digest != ours.base.digest:
        raise ValueError(
            f"{other.path} was trained on {other.base}, {ours.path} on {ours.base}: on other weights an adapter does "
            "something else, so that their sum means nothing. Stack adapters of one base"
        )
    return adapter_layers(other.policy)
