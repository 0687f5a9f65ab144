"""The keys of a recipe by their dotted paths, and which one was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from functools import cache

from kedge.config import fields
from kedge.config.schema import RunConfig

# What other trainers call a key → its last part here.
SYNONYMS = {
    "learning_rate": "lr",
    "train_batch_size": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "batch": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "grad_accum": "accumulation",
    "max_steps": "steps",
    "max_train_steps": "steps",
    "num_steps": "steps",
    "iterations": "steps",
    "epochs": "steps",
    "max_grad_norm": "clip",
    "lr_scheduler": "schedule",
    "scheduler": "schedule",
    "lr_warmup_steps": "warmup",
    "use_ema": "ema",
    "resolution": "size",
    "mixed_precision": "dtype",
    "precision": "dtype",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
    "target_modules": "targets",
    "kl_coef": "beta",
    "kl_weight": "beta",
    "guidance_scale": "guidance",
    "cfg": "guidance",
    "num_inference_steps": "steps",
    "gradient_checkpointing": "checkpoint",
    "report_to": "trackers",
    "save_steps": "every",
}
# Of keys with one name, the one that people mean when they write only that; of a synonym, what it says.
FIRST = {
    "steps": "training.steps",
    "seed": "training.seed",
    "batch_size": "training.batch_size",
    "checkpoint": "backprop.checkpoint",
    "num_inference_steps": "model.steps",
    "gradient_checkpointing": "memory.unet_checkpoint",
    "save_steps": "checkpoint.every",
}


@cache
def all_keys() -> tuple[str, ...]:
    """Every key that a recipe may have, but those of the algorithms: ``optimizer.lr``, ``watch.held_out.source``."""
    return tuple(_keys(RunConfig, ""))


def _keys(cls: type, prefix: str) -> Iterator[str]:
    for field in fields.config_fields(cls):
        path = f"{prefix}{field.name}"
        inner = fields.block(cls, field.name)
        if inner is None or path == "algorithm":
            yield path
        else:
            yield from _keys(inner, f"{path}.")


def algorithm_keys() -> tuple[str, ...]:
    """The hyper-parameters of all algorithms: ``algorithm.beta``."""
    from kedge.algorithms import ALGORITHMS

    names: dict[str, None] = {}
    for algorithm in ALGORITHMS:
        for field in fields.config_fields(ALGORITHMS.get(algorithm)):
            names[f"algorithm.{field.name}"] = None
    return tuple(names)


def algorithms_with(name: str) -> list[str]:
    """The algorithms that have a key of that name."""
    from kedge.algorithms import ALGORITHMS

    owners = []
    for algorithm in ALGORITHMS:
        if name in {field.name for field in fields.config_fields(ALGORITHMS.get(algorithm))}:
            owners.append(algorithm)
    return owners


def nearest_key(word: str, block: Sequence[str] = ()) -> str | None:
    """The key that was meant by ``word``, a key's last part as somebody wrote it; None if nothing is near.

    Args:
        block: keys of the block that it was written in, without its path; one of these is meant first.
    """
    word = word.lower()
    for name in (word, SYNONYMS.get(word, word)):
        if name in block:
            return name
        if elsewhere := FIRST.get(word) or _called(name):
            return elsewhere
    if near := difflib.get_close_matches(word, block, n=1, cutoff=0.6):
        return near[0]
    ends = {key.rpartition(".")[2]: key for key in reversed(all_keys())}
    near = difflib.get_close_matches(word, list(ends), n=1, cutoff=0.75)
    return ends[near[0]] if near else None


def _called(name: str) -> str | None:
    """The key whose last part is ``name``: the one that people mean, or the first; the algorithms' come last."""
    if name in FIRST:
        return FIRST[name]
    for keys in (all_keys, algorithm_keys):
        for key in keys():
            if "." in key and key.rpartition(".")[2] == name:
                return key
    return None
