"""What can draw: a run, a bundled model, a local folder, a hub id; in Python also a loaded run or a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

    from kedge.config import ModelConfig
    from kedge.policies.base import Policy
    from kedge.workflows.load_run import TrainedRun

Stored: TypeAlias = "str | Path | TrainedRun"
Target: TypeAlias = "Stored | Policy"


@dataclass(frozen=True)
class LoadedModel:
    """A model to draw with.

    Attributes:
        name: for file names and tables.
        tuned: whether it has a trained adapter (``policy.reference()`` is then the base).
        step: optimizer steps behind a run's adapter; None of other models.
    """

    name: str
    policy: Policy
    model: ModelConfig
    tuned: bool
    step: int | None = None


def drawn_by(model: ModelConfig) -> str:
    """What pictures depend on besides prompts, noise and adapter: tells the records of one model from another's."""
    from kedge.training.assemble import base_of

    base = base_of(model)
    weights = f" weights {base.digest[:16]}" if base else ""
    rare: dict[str, object] = {"timesteps": model.timesteps, "prediction_type": model.prediction_type}
    rare["quantize"] = model.quantize
    rare |= {"size": model.size, "dtype": None if model.dtype == "float32" else model.dtype}
    rare["renoise"] = None if model.renoise == 1 else f"{model.renoise:g}"
    further = "".join(f" {key} {value}" for key, value in rare.items() if value is not None)
    return f"{model.name} {model.kind} guidance {model.omega:g} eta {model.eta:g}{further}{weights}"


def load_target(
    target: Stored,
    *,
    kind: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
) -> LoadedModel:
    """Load a run's tuned model, or a plain model.

    Args:
        kind: of :data:`kedge.policies.FAMILIES`; None finds out. A run knows its own.
        steps, guidance: None takes the run's, or what is usual for the model's kind.
        overrides: ``key=value`` for other keys of a recipe's model block; a run has its own.

    Raises:
        ValueError: if it cannot be found, or nothing says what kind it is.
    """
    from kedge.config import AUTO, parse_model
    from kedge.devices import find_device
    from kedge.training.assemble import build_policy

    place = find_device(device)
    path = run_path(target)
    if path is not None:
        settings = [*overrides, *([f"kind={kind}"] if kind else ())]
        if settings:
            raise ValueError(f"{path} is a run, which knows its model: leave out {settings[0]!r}")
        run = _load_run(target, path, device=place, steps=steps, guidance=guidance)
        return LoadedModel(path.resolve().name, run.policy, run.config.model, tuned=True, step=run.step)
    name = str(target)
    block = {"name": name, "kind": kind or AUTO, "guidance": guidance}
    model = parse_model(block if steps is None else {**block, "steps": steps}, overrides)
    return LoadedModel(Path(name).name, build_policy(model, place, lora=False), model, tuned=False)


def run_path(target: Target) -> Path | None:
    """The run folder of a target; None if it is something else.

    Raises:
        ValueError: nothing is there, and what lies beside it are runs.
    """
    from kedge.config.recipe_path import no_run, runs_beside
    from kedge.runs.folder import is_run

    if is_policy(target):
        return None
    if isinstance(target, str | Path):
        path = Path(target).expanduser()
        if len(path.parts) > 1 and not path.exists() and runs_beside(path):  # else it may be a hub id
            raise ValueError(no_run(path))
        return path if is_run(path) else None
    return target.path


def is_policy(target: Target) -> TypeIs[Policy]:
    """Whether a target is a generator in memory."""
    return hasattr(target, "transition")


def _load_run(
    target: Stored, path: Path, device: torch.device, steps: int | None, guidance: float | None
) -> TrainedRun:
    """The run as it is, or loaded from its folder where something is to be different."""
    from kedge.workflows.load_run import load_run

    changes = {"steps": steps, "guidance": guidance}
    changes = {name: value for name, value in changes.items() if value is not None}
    if isinstance(target, str | Path) or changes:
        return load_run(path, device, None, **changes)
    return target
