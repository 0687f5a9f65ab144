"""``MODEL|RUN`` arguments: a run folder, a bundled model, a local folder or a hub id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedge.config import ModelConfig
    from kedge.policies.base import Policy

STEPS = {"lcm": 8, "diffusion": 20, "turbo": 4, "sana-sprint": 2}  # the first two as in the papers


@dataclass(frozen=True)
class LoadedModel:
    """A model to draw with.

    Attributes:
        name: for file names and tables.
        tuned: whether it has a trained adapter (``policy.reference()`` is then the base).
    """

    name: str
    policy: Policy
    model: ModelConfig
    tuned: bool


def load_target(
    target: str,
    *,
    kind: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    device: str = "auto",
    settings: Sequence[str] = (),
) -> LoadedModel:
    """Load a run's tuned model, or a plain model.

    Args:
        kind: of :data:`kedge.policies.POLICIES`; None finds out. A run knows its own.
        steps, guidance: None takes the run's, or the usual steps of its kind and the model's own ω.
        settings: ``key=value`` for other keys of a recipe's model block; a run has its own.

    Raises:
        ValueError: if it cannot be found or told what it is.
    """

    from kedge.config import AUTO, parse_model
    from kedge.devices import find_device
    from kedge.training.assemble import build_policy
    from kedge.training.run_folder import is_run
    from kedge.workflows.load_run import load_run

    place = find_device(device)
    if is_run(Path(target)):
        if settings:
            raise ValueError(f"{target} is a run, which knows its model: leave out {settings[0]!r}")
        asked = {"steps": steps, "guidance": guidance}
        run = load_run(target, place, **{name: value for name, value in asked.items() if value is not None})
        return LoadedModel(Path(target).resolve().name, run.policy, run.config.model, tuned=True)
    model = parse_model({"name": target, "kind": kind or AUTO, "guidance": guidance}, settings)
    if not any(text.startswith("steps=") for text in settings):
        model = replace(model, steps=steps or STEPS.get(model.kind, model.steps))
    return LoadedModel(Path(target).name, build_policy(model, place, lora=False), model, tuned=False)
