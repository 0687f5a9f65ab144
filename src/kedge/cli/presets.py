"""``kedge presets``: the recipes that ship."""

from __future__ import annotations


def presets_command() -> None:
    """List the recipes that ship, with the time and memory they take."""
    from kedge.config.presets import presets

    for preset in presets():
        print(f"{preset.name}\n    {preset.title}\n    time: {preset.time} · memory: {preset.memory}\n")
    print("kedge train NAME runs one; kedge init NAME > my.yaml writes it out to change.")
