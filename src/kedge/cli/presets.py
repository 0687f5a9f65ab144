"""``kedge presets``: the recipes that ship."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from kedge.cli.wrapping import print_wrapped

if TYPE_CHECKING:
    from kedge.config.presets import Preset


def presets_command(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD]...", help="Only those that these words describe: sdxl 16gb.")
    ] = None,
) -> None:
    """List the recipes that ship, with the time and memory they take."""
    from kedge.config.presets import presets
    from kedge.registry import suggest

    everything = presets()
    chosen = []
    for preset in everything:
        if _is_about(preset, words or ()):
            chosen.append(preset)
    if not chosen:
        wanted = " ".join(words or ())
        raise ValueError(f"no preset is about {wanted!r}.{suggest(wanted, [preset.name for preset in everything])}")
    for preset in chosen:
        print(preset.name)
        print_wrapped(preset.title, "    ")
        print_wrapped(f"time: {preset.time} · memory: {preset.memory}", "    ")
        print()
    print("kedge train NAME runs one; kedge init NAME > my.yaml writes it out to change.")


def _is_about(preset: Preset, words: Iterable[str]) -> bool:
    text = f"{preset.name} {preset.title} {preset.memory}".lower()
    return all(word.lower() in text for word in words)
