"""What ``kedge doctor`` does: look at this machine, the bundled models and every reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedge.registry import listed

if TYPE_CHECKING:
    from kedge.rewards import Readiness

Rows = list[tuple[str, str]]


def examine() -> dict[str, Rows]:
    """Name and state of everything that a run may need, by section: machine, models, rewards."""
    from kedge.rewards import readiness

    return {
        "Machine": _machine(),
        "Models": _models(),
        "Rewards": [(item.name, _state(item)) for item in readiness()],
    }


def _machine() -> Rows:
    import psutil
    import torch

    from kedge.devices import find_device
    from kedge.runs.folder import environment
    from kedge.units import GIB

    facts = environment(processes=1, device=str(find_device("auto")))
    memory = f"{psutil.virtual_memory().total / GIB:.0f} GiB"
    if torch.cuda.is_available():
        memory += f", GPU {torch.cuda.get_device_properties(0).total_memory / GIB:.0f} GiB"
    return [
        ("kedge", f"{facts['kedge']} on Python {facts['python']}, {facts['platform']}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in facts["packages"].items())),
        ("device", ", ".join(facts["accelerators"]) or f"{facts['device']}, {facts['threads']} threads"),
        ("memory", memory),
    ]


def _models() -> Rows:
    from kedge.models import BUNDLED, resolve_model

    rows = []
    for name in BUNDLED:
        try:
            resolve_model(name)
            rows.append((name, "ready"))
        except FileNotFoundError:
            rows.append((name, "missing: kedge world build"))
    return rows


def _state(item: Readiness) -> str:
    from kedge.rewards.sources import size_in_words

    if item.ready:
        return "ready"
    if item.name.endswith("@emoji"):
        return "missing: kedge world build"
    if not item.missing:
        return f"needs a server: kedge doctor {item.name}"
    return f"not here: {size_in_words(sum(part.size for part in item.missing))} to download"


def examine_reward(name: str) -> tuple[Rows, str]:
    """What a reward is, as rows, and how to get it.

    Raises:
        ValueError: with the nearest name.
    """
    from kedge.config.compatibility import need_no_gradient
    from kedge.rewards import describe, readiness

    info = describe(name)
    gradient = "yes" if info.differentiable else f"no: for {listed(need_no_gradient(), 'and')}"
    rows = [("measures", info.measures), ("units", info.units), ("gradient", gradient), ("licence", info.licence)]
    for item in readiness():
        if item.name == name:
            return rows, "Ready." if item.ready else f"Not on this machine yet:\n{item.advice}"
    return rows, ""
