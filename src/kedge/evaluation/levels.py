"""The levels of a verdict: one table, from best to worst, that the alarm, comparisons, reports and pages read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "calm", "warn", "bad"]
Alarm = Literal["", "warn", "stop"]

SOFTER = "Raise β or lower the learning rate, stop earlier, or use the adapter at less than full strength."


@dataclass(frozen=True)
class Level:
    """One verdict.

    Attributes:
        name: for machines.
        sign: tells it from the others without colour.
        title: for people, the headline's first words.
        rule: when it is given.
        advice: what to do.
        tone: its colour, where there is one.
        alarm: what it is to a run that trains: nothing, a warning, or also a reason to stop if ``watch.guard: stop``.
    """

    name: str
    sign: str
    title: str
    rule: str
    advice: str
    tone: Tone
    alarm: Alarm = ""


TABLE = (
    Level(
        "better",
        "✓",
        "Better",
        "the trained reward rose; judges that share nothing with it and see damage held; the pictures vary as before",
        "Look at the pictures, then use it.",
        "good",
    ),
    Level(
        "alike",
        "≈",
        "Better, but more alike",
        "the trained reward rose and the judges held, but the pictures vary less, within a prompt or between prompts",
        SOFTER,
        "warn",
        "warn",
    ),
    Level(
        "unclear",
        "?",
        "Higher reward, and too little to judge it by",
        "the trained reward rose; the judges neither fell nor held (see below)",
        "Compare on more prompts or with more pictures of each: kedge compare --count, --samples.",
        "calm",
    ),
    Level(
        "unjudged",
        "?",
        "Higher reward, and nobody to judge it",
        "the trained reward rose; no judge was measured that shares nothing with it and sees damage",
        "Measure other rewards (watch.metrics, kedge compare --metrics): docs/rewards.md says which see damage.",
        "calm",
    ),
    Level(
        "unchanged",
        "=",
        "No different",
        "the trained reward did not move beyond chance",
        "Train longer, raise the learning rate, or lower β.",
        "calm",
    ),
    Level(
        "narrowed",
        "≠",
        "Higher reward, but more alike",
        "the trained reward rose, the pictures vary less, and no judge vouches for them",
        SOFTER,
        "bad",
        "warn",
    ),
    Level(
        "collapsed",
        "●",
        "Collapsed",
        "the trained reward rose, and less than half is left of how much the pictures vary, whatever judges say",
        SOFTER,
        "bad",
        "stop",
    ),
    Level(
        "worse",
        "▼",
        "Worse",
        "the trained reward fell, or did not rise while the judges fell",
        "Lower the learning rate, and look at the log for skipped steps.",
        "bad",
    ),
    Level(
        "hacking",
        "✗",
        "Learnt to cheat",
        "the trained reward rose while the judges fell",
        SOFTER,
        "bad",
        "stop",
    ),
)
LEVELS = {level.name: level for level in TABLE}
