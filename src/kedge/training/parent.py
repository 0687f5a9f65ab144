"""A new run that starts from the adapter of another: ``kedge train RECIPE --from RUN``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kedge.config import ConfigError, RunConfig, load_config
from kedge.policies.base import Policy
from kedge.policies.fingerprint import Fingerprint, check_base
from kedge.policies.settings import LoraConfig
from kedge.runs.checkpoint import CheckpointError, CheckpointStore, result_of
from kedge.runs.folder import RunFolder, check_parent
from kedge.training.optimizer import copy_into


@dataclass(frozen=True)
class Parent:
    """The adapter that a run starts from.

    Attributes:
        run: the folder of the run that trained it.
        step: of its newest whole checkpoint, or of the best that judges found on the way there.
        sha256: of that checkpoint's state.
        weights: the adapter: the moving average, if that run kept one.
        lora: its shape.
        base: the recorded fingerprint of the model that it belongs to.
    """

    run: Path
    step: int
    sha256: str
    weights: list[Tensor]
    lora: LoraConfig | None
    base: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """What a run remembers of it."""
        return {"run": str(self.run), "step": self.step, "sha256": self.sha256}

    def check(self, config: RunConfig, base: Fingerprint | None) -> None:
        """Refuse a run that it cannot start.

        Args:
            config: of the run that is to start.
            base: of what that run trains.

        Raises:
            ConfigError: naming the key of the adapter's shape that differs, with both values.
            OtherBaseError: the run trains another model.
        """
        check_base(self.base, base, str(self.run))
        for name in ("rank", "alpha", "targets"):
            theirs, ours = getattr(self.lora, name, None), getattr(config.model.lora, name)
            if theirs != ours:
                raise ConfigError(
                    f"--from {self.run}: model.lora.{name} is {_words(theirs)} there and {_words(ours)} here: the same "
                    f"adapter needs model.lora.{name}={_words(theirs)}"
                )

    def load_into(self, policy: Policy) -> None:
        """Give a policy the adapter.

        Raises:
            ConfigError: its adapter has another shape.
        """
        ours, shapes = [], []
        for parameter in policy.trainable():
            if parameter.requires_grad:
                ours.append(parameter)
                shapes.append(parameter.shape)
        if shapes != [weight.shape for weight in self.weights]:
            raise ConfigError(f"--from {self.run}: the adapter there has another shape: train the same model.kind")
        copy_into(ours, self.weights)


def read_parent(path: Path) -> Parent:
    """The adapter of a run.

    Raises:
        CheckpointError: if it has no whole checkpoint.
        ConfigError: if it is no run folder.
    """
    check_parent(path)
    store = CheckpointStore(RunFolder(path).checkpoints)
    saved, latest = store.newest(), store.latest()
    if saved is None or latest is None:
        raise CheckpointError(f"--from {path}: it has no whole checkpoint to start from")
    _, state = latest
    config = load_config(RunFolder(path).config)
    step, weights = result_of(*latest, config.watch.guard)
    return Parent(path, step, sha256=saved.sha256, weights=weights, lora=config.model.lora, base=state.get("base"))


def _words(value: Any) -> str:
    return "[" + ",".join(value) + "]" if isinstance(value, tuple) else f"{value:g}" if value is not None else "null"
