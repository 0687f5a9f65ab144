"""A trained model, loaded again from its run folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kedge.config import RunConfig, load_config
from kedge.policies.base import Policy
from kedge.training.assemble import build_policy
from kedge.training.checkpoint import CheckpointError, CheckpointStore
from kedge.training.optimizer import copy_into
from kedge.training.run_folder import RunFolder


@dataclass(frozen=True)
class TunedModel:
    """What a run made.

    Attributes:
        policy: the generator with its adapter; ``policy.reference()`` is the base model.
        config: of the run.
        step: of the checkpoint that it was loaded from.
    """

    policy: Policy
    config: RunConfig
    step: int


def load_run(path: str | Path, device: str | torch.device = "cpu", **model: Any) -> TunedModel:
    """Load a run's model at its newest checkpoint (the EMA of its adapter, if it keeps one).

    Args:
        model: settings of :class:`kedge.config.ModelConfig` to change, such as ``steps``.

    Raises:
        CheckpointError: if there is no whole checkpoint.
        ValueError: if it is no run folder.
    """
    folder = RunFolder(Path(path))
    if not folder.config.is_file():
        raise ValueError(f"{path} is not a run folder: it has no config.yaml (kedge train makes one)")
    config = load_config(folder.config)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **model))
    found = CheckpointStore(folder.checkpoints).latest()
    if found is None:
        raise CheckpointError(f"{folder.path} has no whole checkpoint: was it trained? (kedge train {path} --resume)")
    step, state = found
    policy = build_policy(config.model, torch.device(device))
    optimizer = state["optimizer"]
    weights = optimizer["ema"]["average"] if optimizer["ema"] else optimizer["weights"]
    copy_into([p for p in policy.trainable() if p.requires_grad], weights)
    return TunedModel(policy, config, step)
