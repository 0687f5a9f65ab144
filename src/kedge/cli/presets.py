"""``kedge presets``: the recipes that ship."""

from __future__ import annotations


def presets_command() -> None:
    """List the recipes that ship, with the time and memory they take."""
    from rich.console import Console
    from rich.table import Table

    from kedge.config.presets import presets

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("preset", "what it does", "time", "memory"):
        table.add_column(heading)
    for preset in presets():
        table.add_row(preset.name, preset.title, preset.time, preset.memory)
    Console().print(table)
    print("\nkedge train NAME runs one; kedge init NAME > my.yaml writes it out to change.")
