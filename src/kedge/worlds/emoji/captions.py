"""The language of the emoji world: what a prompt may say, in both directions.

    cat | a cat | two cats | a cat and a dog      [on the left | on the right]
    [riding a bike | playing chess | washing the dishes]      [in the snow | … | on a pink background]

A position or an activity goes with one animal. Whatever a prompt leaves out is free. Some combinations are held out:
every word occurs in training, but these combinations never do.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from kedge.registry import suggest
from kedge.worlds.emoji.atlas import ANIMAL_NAMES

PLURALS = {
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "mouse": "mice",
    "goose": "geese",
    "wolf": "wolves",
    "fox": "foxes",
    "fly": "flies",
    "butterfly": "butterflies",
}
POSITIONS = ("on the left", "on the right")
ACTIVITIES = ("riding a bike", "playing chess", "washing the dishes")
PLACES = ("in the snow", "at sunset", "under water", "at night", "in a meadow", "in the desert")
COLOURS = ("pink", "yellow", "blue", "green", "purple")
BACKGROUNDS: tuple[str, ...] = (*PLACES, *map("on a {} background".format, COLOURS))


class CaptionError(ValueError):
    """A prompt that the emoji world cannot draw; the message names the words and what would do instead."""


@dataclass(frozen=True)
class Spec:
    """What a prompt says.

    Attributes:
        animals: one name, or two (the same twice for "two cats").
        position, activity, background: as in the grammar, None where the prompt leaves it free.
        bare: the prompt is the animal's name alone, as in RLCM ("cat").
    """

    animals: tuple[str, ...]
    position: str | None = None
    activity: str | None = None
    background: str | None = None
    bare: bool = False

    @property
    def held_out(self) -> bool:
        """Whether this combination is kept out of training."""
        first = ANIMAL_NAMES.index(self.animals[0])
        if self.activity and first % 2:
            return True  # every second animal never does anything in training
        if len(set(self.animals)) == 2 and (first + ANIMAL_NAMES.index(self.animals[1])) % 5 == 0:
            return True
        if self.background is not None:
            for animal in self.animals:
                if (ANIMAL_NAMES.index(animal) * 3 + BACKGROUNDS.index(self.background)) % len(BACKGROUNDS) == 0:
                    return True
        return False

    def __str__(self) -> str:
        if self.bare:
            return self.animals[0]
        if len(self.animals) == 1:
            subject = article(self.animals[0])
        elif self.animals[0] == self.animals[1]:
            subject = f"two {plural(self.animals[0])}"
        else:
            subject = f"{article(self.animals[0])} and {article(self.animals[1])}"
        return " ".join(filter(None, (subject, self.position, self.activity, self.background)))


def article(noun: str) -> str:
    """``a cat``, ``an ant``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """``cats``, ``foxes``, ``sheep``."""
    return PLURALS.get(noun, f"{noun}s")


_NUMBER = dict(zip((*ANIMAL_NAMES, *map(plural, ANIMAL_NAMES)), ANIMAL_NAMES * 2, strict=True))


def parse(prompt: str) -> Spec:
    """Understand a prompt.

    Raises:
        CaptionError: naming what was not understood.
    """
    rest = " ".join(prompt.lower().strip(" .").split())
    rest, background = _take_ending(rest, BACKGROUNDS)
    rest, activity = _take_ending(rest, ACTIVITIES)
    rest, position = _take_ending(rest, POSITIONS)
    animals = _subject(rest, prompt)
    if len(animals) == 2 and (position or activity):
        raise CaptionError(f"{prompt!r}: {position or activity!r} goes with one animal, not with two")
    if position and activity:
        raise CaptionError(f"{prompt!r}: say either {position!r} or {activity!r}")
    bare = len(rest.split()) == 1 and not (position or activity or background)
    return Spec(animals, position, activity, background, bare)


def _take_ending(text: str, endings: tuple[str, ...]) -> tuple[str, str | None]:
    for ending in endings:
        if text.endswith(f" {ending}"):
            return text[: -len(ending) - 1], ending
    return text, None


def _subject(text: str, prompt: str) -> tuple[str, ...]:
    words = text.split()
    match words:
        case [noun]:
            return (_animal(noun, prompt),)
        case ["a" | "an" | "one" | "the", noun]:
            return (_animal(noun, prompt),)
        case ["two", noun]:
            return (_animal(noun, prompt),) * 2
        case ["a" | "an", one, "and", "a" | "an", other]:
            return (_animal(one, prompt), _animal(other, prompt))
    raise CaptionError(
        f"{prompt!r}: cannot draw {text!r}. Say for example 'a fox', 'two foxes in the snow', 'a cat and a dog', "
        f"'an ant on the left', 'a bear {ACTIVITIES[0]}'. Backgrounds: {', '.join(BACKGROUNDS)}"
    )


def _animal(noun: str, prompt: str) -> str:
    if noun not in _NUMBER:
        raise CaptionError(
            f"{prompt!r}: no animal {noun!r}.{suggest(noun, _NUMBER)} Choose from: {', '.join(ANIMAL_NAMES)}"
        )
    return _NUMBER[noun]


ACTIVITY_SHARE = 0.02  # rare on purpose: alignment must have something to gain


def sample_training_spec(rng: random.Random, activities: float = ACTIVITY_SHARE) -> Spec:
    """One caption of the training distribution; never a held-out combination.

    Args:
        activities: share of captions with an activity, at most 0.22; 0 for none.
    """
    while True:
        spec = _sample_spec(rng, activities)
        if not spec.held_out:
            return spec


def sample_activity_spec(rng: random.Random) -> Spec:
    """One caption that names an activity; never a held-out combination."""
    while True:
        spec = _sample_spec(rng, 1.0)
        if not spec.held_out:
            return spec


def _sample_spec(rng: random.Random, activities: float) -> Spec:
    animal = rng.choice(ANIMAL_NAMES)
    background = rng.choice(BACKGROUNDS) if rng.random() < 0.8 else None
    roll = rng.random()
    if roll < activities:
        return Spec((animal,), activity=rng.choice(ACTIVITIES), background=background if rng.random() < 0.3 else None)
    if roll < 0.22:
        return Spec((animal, animal), background=background)
    if roll < 0.36:
        return Spec((animal, rng.choice([name for name in ANIMAL_NAMES if name != animal])), background=background)
    if roll < 0.52:
        return Spec((animal,), position=rng.choice(POSITIONS), background=background)
    if roll < 0.58:
        return Spec((animal,), bare=True)
    return Spec((animal,), background=background)


def _listed(specs: list[Spec], seed: int) -> list[str]:
    prompts = list(dict.fromkeys(map(str, specs)))
    random.Random(seed).shuffle(prompts)
    return prompts


def _combinations() -> list[Spec]:
    singles, placed, doubles, pairs = [], [], [], []
    for name, background in itertools.product(ANIMAL_NAMES, BACKGROUNDS):
        singles.append(Spec((name,), background=background))
        doubles.append(Spec((name, name), background=background))
        for position in POSITIONS:
            placed.append(Spec((name,), position=position, background=background))
    backgrounds = itertools.cycle(BACKGROUNDS)
    for pair in itertools.combinations(ANIMAL_NAMES, 2):
        pairs.append(Spec(pair, background=next(backgrounds)))
    return singles + placed + doubles + pairs


def train_prompts() -> list[str]:
    """Every training combination of animals, number, position and background, shuffled with a fixed seed."""
    return _listed([spec for spec in _combinations() if not spec.held_out], seed=1)


def held_out_prompts(count: int = 500) -> list[str]:
    """Combinations never seen in training (no activities), shuffled with a fixed seed; half of them single animals."""
    held = [spec for spec in _combinations() if spec.held_out]
    single = _listed([spec for spec in held if len(spec.animals) == 1], seed=2)
    several = _listed([spec for spec in held if len(spec.animals) == 2], seed=3)
    half = min(count // 2, len(single))
    prompts = single[:half] + several[: count - half]
    random.Random(4).shuffle(prompts)
    return prompts


def activity_prompts(*, held_out: bool | None = None) -> list[str]:
    """RLCM's alignment prompts, 45 animals × 3 activities.

    ``held_out`` selects those that training never (True) or rarely (False) showed; None selects all.
    """
    prompts = []
    for name, activity in itertools.product(ANIMAL_NAMES, ACTIVITIES):
        spec = Spec((name,), activity=activity)
        if held_out is None or spec.held_out == held_out:
            prompts.append(str(spec))
    return prompts
