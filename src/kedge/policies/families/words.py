"""The catalogue in words, for help texts: which families there are, and their defaults."""

from __future__ import annotations

from kedge.policies.families.catalogue import FAMILIES, layouts
from kedge.policies.families.spec import Family
from kedge.registry import listed


def family_names() -> str:
    """``a, b or c``: the names of all families."""
    return listed(FAMILIES)


def layout_names() -> str:
    """``a, b or c``: the names of all layouts."""
    return listed(sorted(layouts()))


def names() -> str:
    """A sentence: which families there are."""
    return f"Families: {listed(FAMILIES, 'and')}."


def usual_steps() -> str:
    """A sentence: each family's K by default."""
    return f"That is {listed([f'{family.steps} for {family.name}' for family in FAMILIES.values()], 'and')}."


def usual_guidance() -> str:
    """A sentence: each family's ω by default."""
    return f"That is {listed([_guidance(family) for family in FAMILIES.values()], 'and')}."


def takers_of_eta() -> str:
    """A sentence: the families to which DDIM's η means something."""
    return _takers("eta")


def takers_of_renoise() -> str:
    """A sentence: the families that re-noise."""
    return _takers("renoise")


def takers_of_timesteps() -> str:
    """A sentence: the families that take the times to sample at."""
    return _takers("timesteps")


def _takers(key: str) -> str:
    takers = []
    for family in FAMILIES.values():
        if key in family.keys:
            takers.append(family.name)
    return f"Means something to {listed(takers, 'and')} only."


def _guidance(family: Family) -> str:
    words = f"{family.guidance:g} for {family.name}"
    others = []
    for part in family.conversions:
        if part.guidance not in (None, family.guidance):
            others.append(part)
    if not others:
        return words
    return f"{words} ({', '.join(f'{part.guidance:g} with {part.key}' for part in others)})"
