"""``kedge doctor``: what works on this machine."""

from __future__ import annotations


def doctor_command() -> None:
    """Tell what works on this machine: versions, device, bundled models, rewards."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for label, rows in (("Machine", _machine()), ("Models", _models())):
        table = Table(title=label, title_justify="left", box=None, show_header=False, pad_edge=False)
        for name, value in rows:
            table.add_row(name, value)
        console.print(table, "")
    table = Table("reward", "ready", "to make it so", title="Rewards", title_justify="left", box=None, pad_edge=False)
    for name, ready, advice in _rewards():
        table.add_row(name, "yes" if ready else "no", advice)
    console.print(table)


def _machine() -> list[tuple[str, str]]:
    from kedge.training.run_folder import environment

    found = environment(processes=1, device=_device())
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return [
        ("kedge", f"{found['kedge']} on Python {found['python']}, {found['platform']}"),
        ("packages", packages),
        ("device", ", ".join(found["accelerators"]) or f"{found['device']}, {found['threads']} threads"),
        ("memory", _memory()),
    ]


def _device() -> str:
    from kedge.cli.models import choose_device

    return choose_device("auto")


def _memory() -> str:
    import psutil
    import torch

    gib = 2**30
    text = f"{psutil.virtual_memory().total / gib:.0f} GiB"
    if torch.cuda.is_available():
        text += f", GPU {torch.cuda.get_device_properties(0).total_memory / gib:.0f} GiB"
    return text


def _models() -> list[tuple[str, str]]:
    from kedge.models import resolve_model

    rows = []
    for name in ("emoji-lcm", "emoji-diffusion"):
        try:
            rows.append((name, str(resolve_model(name))))
        except (ValueError, OSError) as error:
            rows.append((name, str(error)))
    return rows


def _rewards() -> list[tuple[str, bool, str]]:
    from kedge.rewards import readiness

    return [(item.name, item.ready, item.advice) for item in readiness()]
