"""``kedge doctor``: what works on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from kedge.cli.wrapping import print_wrapped


def doctor_command(
    reward: Annotated[str | None, typer.Argument(help="Tell all about this reward, and how to get it.")] = None,
) -> None:
    """Tell what works on this machine. Versions, device, bundled models, rewards."""
    from kedge.workflows.doctor import examine, examine_reward

    if reward is not None:
        rows, state = examine_reward(reward)
        _print(reward, rows)
        print(f"\n{state}" if state else "")
        return
    for title, rows in examine().items():
        _print(title, rows)
    print("\nkedge doctor REWARD tells how to get one.")


def _print(title: str, rows: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    print(f"\n{title}")
    for name, value in rows:
        first, *further = value.splitlines() or [""]  # further lines are commands: they stay whole
        print_wrapped(first, f"  {name:<{width}}  ")
        for line in further:
            print(line)
