"""Who may judge a model: rewards that share neither data nor makers with the trained one, and that see damage.

Both are facts that each reward states (:class:`kedge.rewards.spec.RewardSpec`). A reward of the user's own may state
them too, as attributes ``made_from`` (a sequence of names) and ``sees_damage`` (True or False).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kedge.rewards import REWARDS, parse
from kedge.rewards.expression import Term
from kedge.rewards.user import load_callable


@dataclass(frozen=True)
class Standing:
    """What a metric is to a run.

    Attributes:
        shared: what it and the trained rewards are both made from; empty if it is independent.
        sees_damage: whether damage that nobody rewards lowers it; None where that was never measured.
        truth: a ground truth: reported, but no judge.
    """

    metric: str
    shared: tuple[str, ...]
    sees_damage: bool | None
    truth: bool

    @property
    def clears(self) -> bool:
        """Whether its not falling says that a model is sound."""
        return not self.shared and self.sees_damage is True and not self.truth

    def why_not(self) -> str:
        """Why it clears nobody; empty if it does."""
        if self.truth:
            return "the truth: reported, but no judge"
        if self.shared:
            return f"no judge: shares {', '.join(self.shared)} with the trained reward"
        if not self.sees_damage:
            return "no judge: " + ("does not see damage" if self.sees_damage is False else "may not see damage")
        return ""


def standing(metric: str, trained: Iterable[str]) -> Standing:
    """What ``metric`` is to a run that was trained on ``trained``."""
    origins, sees, truths = set[str](), list[bool | None](), list[bool]()
    for term in _terms(metric):
        made_from, sees_damage, truth = _facts(term)
        origins.update(made_from)
        sees.append(sees_damage)
        truths.append(truth)
    theirs: set[str] = set()
    for name in trained:
        for term in _terms(name):
            theirs.update(_facts(term)[0])
    known = False if False in sees else True if sees and all(sees) else None
    return Standing(metric, tuple(sorted(origins & theirs)), known, any(truths))


def deciding(trained: Iterable[str], metrics: Sequence[str]) -> list[str]:
    """Which of the metrics say whether a run has got what it was trained for: its reward as a whole.

    Where that was not measured, the terms that it was to rise towards: no penalty (a weight below 0) and no floor, of
    which a rise says nothing.

    Args:
        trained: rewards as recipes have them, weighted sums among them.
    """
    decide = []
    for reward in trained:
        if reward in metrics:
            decide.append(reward)
            continue
        for term in _terms(reward):
            if term.weight > 0 and not term.floor and _name(term) in metrics:
                decide.append(_name(term))
    return list(dict.fromkeys(decide))


def parts_of(trained: Iterable[str]) -> set[str]:
    """The rewards, and each term of the weighted sums, as metrics are called."""
    names = set[str]()
    for reward in trained:
        names |= {reward, *(_name(term) for term in _terms(reward))}
    return names


def _name(term: Term) -> str:
    return f"{term.name}@{term.source}" if term.source else term.name


def _terms(metric: str) -> tuple[Term, ...]:
    try:
        return tuple(parse(metric))
    except ValueError:  # a name that evaluations made elsewhere gave it
        return ()


def _facts(term: Term) -> tuple[tuple[str, ...], bool | None, bool]:
    """What it is made from, whether it sees damage, and whether it is a truth."""
    spec = REWARDS.get(term.name)
    if spec is not None:
        made_from = spec.world_made_from if term.source == "emoji" else spec.made_from
        return made_from or (term.name,), spec.sees_damage, spec.truth
    own: Any = None
    if ":" in term.name:
        try:
            own = load_callable(term.name)
        except ValueError:  # a module that is not here any more: its scores are
            own = None
    return tuple(getattr(own, "made_from", (term.name,))), getattr(own, "sees_damage", None), False
