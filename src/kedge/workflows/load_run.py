"""A run folder as an object: its files, its metrics, and the model that it holds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from kedge.config import RunConfig, load_config
from kedge.devices import find_device
from kedge.evaluation.best_checkpoint import choice_in_words
from kedge.evaluation.run_log import read_log
from kedge.files import typed
from kedge.policies.base import Policy
from kedge.policies.fingerprint import Fingerprint, check_base
from kedge.runs.checkpoint import CheckpointError, CheckpointStore, moment_of, result_of
from kedge.runs.folder import RunFolder
from kedge.runs.history import History
from kedge.training.assemble import base_of, build_policy
from kedge.training.meter import Spent, spent
from kedge.training.optimizer import copy_into
from kedge.training.trainer import Outcome


@dataclass(frozen=True)
class TrainedRun:
    """A run and what it made.

    Attributes:
        path: the run folder.
        config: of the run.
        device: where :attr:`policy` is loaded; ``auto`` takes a GPU if there is one.
        outcome: how the training ended, if it ran in this process.
        at: the step to load its model at; None loads the run's result: the best step that judges found, else the last.
    """

    path: Path
    config: RunConfig
    device: str | torch.device = "auto"
    outcome: Outcome | None = None
    at: int | None = None

    @property
    def folder(self) -> RunFolder:
        """The run's files by name: ``run.folder.samples``, ``run.folder.report``, …"""
        return RunFolder(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The log: numbers by name, one mapping for each optimizer step."""
        return read_log(self.folder.metrics)

    @property
    def stopped(self) -> str:
        """Why a callback (the guard, for one) ended the training early; empty if none did."""
        ended = self.outcome
        return f"Stopped at step {ended.step}: {ended.reason}" if ended and ended.ended == "stopped" else ""

    @property
    def choice(self) -> str:
        """Which step its model is of, and why, where judges chose it (``watch.guard: best``); empty elsewhere."""
        return choice_in_words(self.metrics) if self.config.watch.guard == "best" else ""

    @property
    def spent(self) -> Spent:
        """Reward queries, time and memory that the training took."""
        return spent(self.metrics)

    @property
    def lora(self) -> Path:
        """The adapter that diffusers loads: ``lora/pytorch_lora_weights.safetensors``."""
        return self.folder.lora / "pytorch_lora_weights.safetensors"

    @property
    def step(self) -> int:
        """Optimizer steps that its model has behind it: those of the best, where judges chose it."""
        chosen = self.config.watch.guard == "best"
        return self.outcome.step if self.outcome and not chosen else self._loaded[0]

    @property
    def policy(self) -> Policy:
        """The generator with its adapter (the EMA, if the run keeps one); ``policy.reference()`` is the base model.

        Raises:
            CheckpointError: if there is no whole checkpoint.
            OtherBaseError: if the base model here is not the one that it was trained on.
        """
        return self._loaded[1]

    @property
    def base(self) -> Fingerprint | None:
        """The weights that the adapter was trained on; None for a policy of the user's own."""
        return self._loaded[2]

    @property
    def history(self) -> History:
        """Where it started, and what changed when it was resumed, up to its newest whole checkpoint."""
        saved = CheckpointStore(self.folder.checkpoints).newest()
        return saved.history if saved else History()

    def save_lora(self, folder: str | Path | None = None) -> dict[str, Path]:
        """Write the adapter for other programs, as ``kedge export`` does; ``RUN/lora`` by default.

        Returns:
            the files, by ``diffusers`` and, where ComfyUI has names for the layers, ``comfyui``.

        Raises:
            ValueError: if the policy has no adapter, or what was read back differs from it.
        """
        from kedge.export.lora import save_lora
        from kedge.training.run import metadata

        return save_lora(
            self.policy, folder or self.folder.lora, metadata(self.config, self.step, self.base, self.history)
        )

    @cached_property
    def _loaded(self) -> tuple[int, Policy, Fingerprint | None]:
        """Step, model and base of the newest whole checkpoint, or of the best step that it remembers; loaded once."""
        latest = CheckpointStore(self.folder.checkpoints).latest(self.at)
        if latest is None and self.at is not None:
            raise CheckpointError(f"{self.path} has no whole checkpoint of step {self.at} or before")
        if latest is None:
            raise CheckpointError(
                f"{self.path} has no whole checkpoint: was it trained? (kedge train {typed(self.path)} --resume)"
            )
        step, state = latest
        device = self.device if isinstance(self.device, torch.device) else find_device(self.device)
        policy = build_policy(self.config.model, device, texts_on_host=self.config.memory.texts_wait)
        base = base_of(self.config.model)
        check_base(state.get("base"), base, str(self.path))
        step, weights = result_of(step, state, self.config.watch.guard) if self.at is None else (step, moment_of(state))
        copy_into([p for p in policy.trainable() if p.requires_grad], weights)
        return step, policy, base


def load_run(path: str | Path, device: str | torch.device = "auto", at: int | None = None, **model: Any) -> TrainedRun:
    """Load a run's model: the best that judges found, else that of its newest checkpoint.

    Args:
        device: ``auto`` takes a GPU if there is one.
        at: the model as it stood at this step instead: that of the newest checkpoint up to it, whatever judges found.
        model: settings of :class:`kedge.config.ModelConfig` to change, such as ``steps``.

    Raises:
        CheckpointError: if there is no whole checkpoint.
        OtherBaseError: if the base model here is not the one that it was trained on.
        ValueError: if it is no run folder.
    """
    folder = RunFolder(Path(path).expanduser())
    if not folder.config.is_file():
        raise ValueError(f"{path} is not a run folder: it has no config.yaml (kedge train makes one)")
    config = load_config(folder.config, to_train=False)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **model))
    run = TrainedRun(folder.path, config, device, at=at)
    _ = run.policy  # loaded now, so that a missing checkpoint or base is reported here
    return run
