"""``kedge doctor``: what works on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kedge.rewards import Readiness

GIB = 2**30


def doctor_command(
    reward: Annotated[str | None, typer.Argument(help="Tell all about this reward, and how to get it.")] = None,
) -> None:
    """Tell what works on this machine. Versions, device, bundled models, rewards."""
    from kedge.rewards import readiness

    if reward is not None:
        return _tell(reward)
    _print("Machine", _machine())
    _print("Models", _models())
    _print("Rewards", [(item.name, _state(item)) for item in readiness()])
    print("\nkedge doctor REWARD tells how to get one.")


def _print(title: str, rows: Iterable[tuple[str, str]]) -> None:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")


def _machine() -> list[tuple[str, str]]:
    import psutil
    import torch

    from kedge.devices import find_device
    from kedge.training.run_folder import environment

    found = environment(processes=1, device=str(find_device("auto")))
    memory = f"{psutil.virtual_memory().total / GIB:.0f} GiB"
    if torch.cuda.is_available():
        memory += f", GPU {torch.cuda.get_device_properties(0).total_memory / GIB:.0f} GiB"
    return [
        ("kedge", f"{found['kedge']} on Python {found['python']}, {found['platform']}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in found["packages"].items())),
        ("device", ", ".join(found["accelerators"]) or f"{found['device']}, {found['threads']} threads"),
        ("memory", memory),
    ]


def _models() -> list[tuple[str, str]]:
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
    return f"not here: {size_in_words(sum(part.size for part in item.missing))} to download"


def _tell(reward: str) -> None:
    from kedge.rewards import describe, readiness

    info = describe(reward)
    gradient = "yes" if info.differentiable else "no: for rlcm, ddpo, dpok and d3po, not for rocm"
    rows = [("measures", info.measures), ("units", info.units), ("gradient", gradient), ("licence", info.licence)]
    _print(reward, rows)
    for item in readiness():
        if item.name == reward:
            print("\nReady." if item.ready else f"\nNot on this machine yet:\n{item.advice}")
