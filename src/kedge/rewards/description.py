"""What a reward text stands for, without loading weights or importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten

from kedge.rewards.catalogue import REWARDS, check_in_world, find
from kedge.rewards.expression import Term, parse, single
from kedge.rewards.spec import Part
from kedge.rewards.user import load_callable

SHOWN = 40  # characters of a setting in a title


@dataclass(frozen=True)
class RewardInfo:
    """What a reward, or a weighted sum of rewards, needs and returns.

    Attributes:
        text: as given.
        differentiable: whether gradients with respect to the images flow (through every term).
        needs_prompt: whether any term looks at the prompt.
        measures, units, licence: for people.
        typical: the usual range of a single published reward, or None.
        display: factor for tables.
        parts: what is loaded, in all terms.
        terms: the weighted sum.
    """

    text: str
    differentiable: bool
    needs_prompt: bool
    measures: str
    units: str
    licence: str
    typical: tuple[float, float] | None
    display: float
    parts: tuple[Part, ...]
    terms: tuple[Term, ...]


def describe(text: str) -> RewardInfo:
    """Describe ``NAME[@SOURCE]``, ``module:callable`` or a weighted sum of them.

    A callable of the user's own is imported, because only it knows whether it has a gradient.

    Raises:
        ValueError: the text cannot be read, or a name is unknown (with a suggestion), or takes no such source.
    """
    terms = parse(text)
    infos = [_describe(text, term) for term in terms]
    if len(infos) == 1:
        return infos[0]
    parts: dict[Part, None] = {}
    licences: dict[str, None] = {}
    differentiable, needs_prompt = True, False
    for info in infos:
        differentiable &= info.differentiable
        needs_prompt |= info.needs_prompt
        parts |= dict.fromkeys(info.parts)
        licences[info.licence] = None
    return RewardInfo(
        text,
        differentiable=differentiable,
        needs_prompt=needs_prompt,
        measures="a weighted sum",
        units="weighted sum",
        licence="; ".join(licences),
        typical=None,
        display=1.0,
        parts=tuple(parts),
        terms=terms,
    )


def display_title(text: str) -> str:
    """How a reward is called in tables and charts.

    ``pickscore@emoji`` is PickScore, ``pickscore@my/model`` is PickScore (my/model), ``module:my_reward`` is my reward.
    A weighted sum is shown as it is written.
    """
    term = single(text)
    if term is None:
        return text
    spec = REWARDS.get(term.name)
    name = term.name.rpartition(":")[2].replace("_", " ")
    title = spec.title or name if spec else name
    if term.settings:
        title += f" ({', '.join(shorten(f'{key}={value}', SHOWN, placeholder='…') for key, value in term.settings)})"
    return title if term.source in (None, "emoji") else f"{title} ({term.source})"


def _describe(text: str, term: Term) -> RewardInfo:
    if term.name not in REWARDS and ":" in term.name:
        return _describe_callable(text, term)
    spec = find(term.name)
    _check_source(term)
    spec.read_settings(term.settings)
    plain = term.weight == 1 and not term.standardised and not term.floor
    return RewardInfo(
        text,
        spec.differentiable,
        needs_prompt=spec.needs_prompt,
        measures=spec.measures,
        units=spec.units if plain else "weighted",
        licence=spec.licence,
        typical=spec.typical if plain else None,
        display=spec.display if plain else 1.0,
        parts=spec.parts,
        terms=(term,),
    )


def _describe_callable(text: str, term: Term) -> RewardInfo:
    if term.settings:
        raise ValueError(f"{term.name!r} is a callable of your own, which takes no settings: leave out the parentheses")
    function = load_callable(term.name)
    words = (getattr(function, "__doc__", None) or term.name).strip().splitlines()[0]
    differentiable = bool(getattr(function, "differentiable", False))
    needs_prompt = bool(getattr(function, "needs_prompt", True))
    return RewardInfo(
        text,
        differentiable,
        needs_prompt=needs_prompt,
        measures=words,
        units="its own",
        licence="your own",
        typical=None,
        display=1.0,
        parts=(),
        terms=(term,),
    )


def _check_source(term: Term) -> None:
    spec = find(term.name)
    if term.source is None:
        return
    if spec.source == "none":
        raise ValueError(f"reward {term.name!r} loads nothing, so it takes no source: write {term.name!r} without '@…'")
    if spec.source == "server" and term.source != "emoji" and not term.source.startswith(("http://", "https://")):
        raise ValueError(
            f"reward {term.name!r} asks a server: write {term.name}@http://HOST:PORT/v1, not '@{term.source}'"
        )
    if term.source == "emoji":
        check_in_world(spec)
