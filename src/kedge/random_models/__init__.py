"""Models with random weights in the layouts of the real ones: the true architectures, file trees and names.

They draw nothing, but everything that does not depend on the values of weights can be tried on them: loading, memory,
speed, export. Nothing heavy is imported until one is built.
"""

from __future__ import annotations

from pathlib import Path

from kedge.policies.families.catalogue import find_layout
from kedge.random_models.scale import Scale

__all__ = ["Scale", "build_layout"]

DTYPES = ("float32", "float16", "bfloat16")


def build_layout(
    name: str,
    folder: str | Path,
    scale: Scale | None = None,
    *,
    seed: int = 0,
    dtype: str = "float32",
    variant: str | None = None,
) -> Path:
    """Write a model with random weights.

    Args:
        name: one of :func:`kedge.policies.families.catalogue.layouts`.
        folder: where; it must not exist, or be empty.
        scale: of the architecture; None is the true one.
        dtype: of the weights in the files.
        variant: marks the weight files, as in ``….fp16.safetensors``; None is the unmarked name.

    Raises:
        UnknownNameError: for an unknown layout.
        ValueError: for a dtype that is not one of :data:`DTYPES`.
        FileExistsError: if there is something in ``folder`` already.
    """
    layout = find_layout(name)
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    import torch

    from kedge.quiet import quiet_loading
    from kedge.random_models.tokenizers import write_as_published

    torch.manual_seed(seed)
    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))  # half the memory of building in float32 and converting
    try:
        saved = layout.built(scale or Scale())
    finally:
        torch.set_default_dtype(default)
    with quiet_loading():
        saved.save_pretrained(folder, variant=variant)
    write_as_published(folder)
    return folder
