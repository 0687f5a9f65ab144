"""``0.7*hpsv2 + 0.3*z(pickscore@emoji)``: rewards as users write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_PLAIN = r"(?:[^\W\d]|[./~])[\w.:/~-]*"
_TERM = re.compile(
    r"""(?:(?P<weight>\d*\.?\d+(?:e[+-]?\d+)?)\s*\*\s*)?   # 0.7*
        (?P<open>z\(\s*)?                                  # z(   : standardised
        (?P<floor>floor\(\s*)?                             # floor( : not to fall
        (?P<name>"[^"]+"|(?:[^\W\d]|[./~])[\w.:/~-]*)  # hpsv2.1, module:callable, file.py:callable, "a file.py:f"
        (?:\((?P<settings>(?:"[^"]*"|'[^']*'|[^()"'])*)\))?  # (pessimism=1), (question="Is it {prompt}?")
        (?:@(?P<source>"[^"]*"|[^\s)]*[^\s),]))?           # @emoji, @/a/folder, @"/a folder"
        (?(floor)\s*(?:,\s*(?P<level>base|[+-]?\d*\.?\d+(?:e[+-]?\d+)?)\s*)?\))
        (?(open)\s*\))""",
    re.VERBOSE | re.IGNORECASE,
)
_BETWEEN_COMMAS = re.compile(  # a bracket that stands in quotes closes nothing
    r"""(?:\((?:"[^"]*"|'[^']*'|[^()"'])*\)|"[^"]*"|'[^']*'|[^,])+"""
)
_SIGN = re.compile(r"\s*([+-])\s*")
_SETTING = re.compile(r"""\s*(?P<key>[A-Za-z_]\w*)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^\s,"']+)\s*(?:,|$)""")
Settings = tuple[tuple[str, str], ...]
BASE = "base"


@dataclass(frozen=True)
class Term:
    """One reward in a weighted sum.

    Attributes:
        weight: its factor, sign included.
        name: a registered name, ``module:callable`` or ``file.py:callable``.
        source: what stands behind the ``@``, or None.
        standardised: written as ``z(…)``: centre and spread are divided out before weighting.
        settings: what stands in parentheses behind the name, as keys and values.
        floor: written as ``floor(NAME)`` or ``floor(NAME, 0.2)``: the level below which it is not to fall, ``base`` or
            a number; empty for a reward to rise towards.
    """

    weight: float
    name: str
    source: str | None = None
    standardised: bool = False
    settings: Settings = ()
    floor: str = ""

    @property
    def text(self) -> str:
        """As it would be written, without the weight."""
        source = f'"{self.source}"' if self.source and re.search(r"[\s)]", self.source) else self.source
        name = self.name if re.fullmatch(_PLAIN, self.name) else f'"{self.name}"'
        if self.settings:
            name += f"({', '.join(f'{key}={_quoted(value)}' for key, value in self.settings)})"
        reward = f"{name}@{source}" if source else name
        if self.floor:
            return f"floor({reward})" if self.floor == BASE else f"floor({reward}, {self.floor})"
        return f"z({reward})" if self.standardised else reward


def parse(text: str) -> tuple[Term, ...]:
    """Read a reward or a weighted sum of rewards.

    Raises:
        ValueError: showing where reading stopped and what could stand there; or floors only, or two for one reward.
    """
    terms: list[Term] = []
    position = len(text) - len(text.lstrip())
    end = len(text.rstrip())
    while position < end or not terms:
        sign = 1.0
        if match := _SIGN.match(text, position):
            sign, position = (-1.0 if match[1] == "-" else 1.0), match.end()
        elif terms:
            raise _unreadable(text, position, f"expected + or - before the next reward{_path_hint(text)}")
        term = _TERM.match(text, position)
        if term is None:
            what = "expected a reward: NAME, NAME@SOURCE, module:callable or WEIGHT*NAME"
            raise _unreadable(text, position, what + _path_hint(text))
        terms.append(_term(text, term, sign))
        position = term.end() + len(text[term.end() :]) - len(text[term.end() :].lstrip())
    if all(term.floor for term in terms):
        raise ValueError(f"the reward {text!r} has floors only: add a reward to rise towards")
    _check_floors(text, terms)
    return tuple(terms)


def _check_floors(text: str, terms: list[Term]) -> None:
    """Refuse two floors of one reward: only one of them would hold."""
    floors: dict[str, str] = {}
    for term in terms:
        if not term.floor:
            continue
        name = replace(term, floor="").text
        if name in floors:
            raise ValueError(f"the reward {text!r} has two floors for {name}, {floors[name]} and {term.text}: keep one")
        floors[name] = term.text


def with_floors(value: Any) -> Any:
    """``{terms: TEXT, floors: {NAME: LEVEL}}`` as one text, with ``floor(NAME, LEVEL)`` for each; others as they are.

    Raises:
        ValueError: another key, or a level that is neither ``base`` nor a number.
    """
    if not isinstance(value, Mapping):
        return value
    if not isinstance(value.get("terms"), str) or not set(value) <= {"terms", "floors"}:
        raise ValueError(f"a reward is a text, or {{terms: TEXT, floors: {{NAME: LEVEL}}}}, not {dict(value)!r}")
    text = value["terms"]
    for name, level in dict(value.get("floors") or {}).items():
        if level != BASE and (isinstance(level, bool) or not isinstance(level, int | float)):
            raise ValueError(f"the floor of {name} must be {BASE} or a number, not {level!r}")
        text += f" + floor({name}, {level})"
    return text


def split_rewards(text: str) -> list[str]:
    """``"pickscore@emoji, vqa(model='a,b')"`` as a list: commas inside brackets and quotes separate nothing."""
    rewards = []
    for part in _BETWEEN_COMMAS.findall(text):
        if part.strip():
            rewards.append(part.strip())
    return rewards


def single(text: str) -> Term | None:
    """The one reward that ``text`` names, as ``NAME`` or ``NAME@SOURCE``; None for anything else."""
    try:
        terms = parse(text)
    except ValueError:
        return None
    alone = len(terms) == 1 and terms[0].weight == 1 and not terms[0].standardised and not terms[0].floor
    return terms[0] if alone else None


def _term(text: str, match: re.Match[str], sign: float) -> Term:
    weight = sign * float(match["weight"] or 1)
    if weight == 0:
        raise _unreadable(text, match.start(), "a reward of weight 0 does nothing: leave it out")
    source = match["source"]
    if source and not source.startswith('"') and re.search(r"\+[\d.]+\*|@", source):
        raise _unreadable(text, match.start("source"), "put spaces round the + after a source")
    if source and source.endswith("+"):
        raise _unreadable(text, match.end() - 1, "expected a reward after the + (with spaces round it), or no +")
    settings = _settings(text, match)
    name, source = match["name"].strip('"'), source.strip('"') if source else None
    if name.startswith(("http://", "https://")):
        if source:
            raise _unreadable(text, match.start("source"), "an address is a source itself: leave out the @")
        name, source = "remote", name
    floor = (match["level"] or BASE) if match["floor"] else ""
    if floor and (match["open"] or match["weight"] or sign < 0):
        raise _unreadable(text, match.start(), "the weight of a floor is found while it trains: leave it out")
    return Term(weight, name, source=source, standardised=bool(match["open"]), settings=settings, floor=floor)


def _settings(text: str, match: re.Match[str]) -> Settings:
    written, position, settings = match["settings"] or "", 0, {}
    while position < len(written.rstrip()):
        one = _SETTING.match(written, position)
        if one is None:
            where = match.start("settings") + position
            raise _unreadable(text, where, 'expected settings as key=value, with commas between: NAME(key="a text")')
        if one["key"] in settings:
            raise _unreadable(text, match.start("settings") + position, f"{one['key']} is set twice")
        value = one["value"]
        settings[one["key"]] = value[1:-1] if value[0] in "\"'" else value
        position = one.end()
    return tuple(settings.items())


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w.+-]+", value):
        return value
    return f"'{value}'" if '"' in value else f'"{value}"'


def _path_hint(text: str) -> str:
    """What to do where it is a path that cannot be read, because of the spaces or signs in it."""
    looks_like_one = ("/" in text or ".py:" in text) and '"' not in text
    return (
        '. A path with spaces or signs in it goes into double quotes: "my files/mine.py:calm"' if looks_like_one else ""
    )


def _unreadable(text: str, position: int, what: str) -> ValueError:
    return ValueError(f"cannot read the reward {text!r} at {text[position:]!r}: {what}")
