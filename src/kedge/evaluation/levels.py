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
        of_several_looks: it says how a run went on, so that no comparison of two models gives it.
    """

    name: str
    sign: str
    title: str
    rule: str
    advice: str
    tone: Tone
    alarm: Alarm = ""
    of_several_looks: bool = False


TABLE = (
    Level(
        "better",
        "✓",
        title="Better",
        rule="the trained reward rose; judges that share nothing with it and see damage held; the pictures vary as "
        "before",
        advice="Look at the pictures, then use it.",
        tone="good",
    ),
    Level(
        "alike",
        "≈",
        title="Better, but more alike",
        rule="the trained reward rose and the judges held, but the pictures vary less, within a prompt or between "
        "prompts",
        advice=SOFTER,
        tone="warn",
        alarm="warn",
    ),
    Level(
        "past",
        "↘",
        title="Past its best",
        rule="judges like it less than at an earlier look of the same run, by 0.25 σ or more and beyond chance (while "
        "it trains: a comparison of two models knows no earlier look)",
        advice="Stop here and take an earlier checkpoint (watch.guard: best keeps the best), or raise β or lower the "
        "learning rate.",
        tone="warn",
        alarm="warn",
        of_several_looks=True,
    ),
    Level(
        "unclear",
        "?",
        title="Higher reward, and too little to judge it by",
        rule="the trained reward rose; the judges neither fell nor held, or how much the pictures vary is undecided "
        "(see below)",
        advice="Compare on more prompts or with more pictures of each: kedge compare --count, --samples.",
        tone="calm",
    ),
    Level(
        "unjudged",
        "?",
        title="Higher reward, and nobody to judge it",
        rule="the trained reward rose; no judge was measured that shares nothing with it and sees damage",
        advice="Measure other rewards (watch.metrics, kedge compare --metrics): docs/rewards.md says which see damage.",
        tone="calm",
    ),
    Level(
        "unchanged",
        "=",
        title="No different",
        rule="the trained reward did not move beyond chance",
        advice="Compare on more prompts (kedge compare --count); if it stays so, train longer, raise the learning "
        "rate, or lower β.",
        tone="calm",
    ),
    Level(
        "narrowed",
        "≠",
        title="Higher reward, but more alike",
        rule="the trained reward rose, the pictures vary less, and no judge vouches for them",
        advice=SOFTER,
        tone="bad",
        alarm="warn",
    ),
    Level(
        "collapsed",
        "●",
        title="Collapsed",
        rule="the trained reward rose, and less than half is left of how much the pictures vary, whatever judges say",
        advice=SOFTER,
        tone="bad",
        alarm="stop",
    ),
    Level(
        "worse",
        "▼",
        title="Worse",
        rule="the trained reward fell, and nothing else did",
        advice="Lower the learning rate, and look at the log for skipped steps.",
        tone="bad",
    ),
    Level(
        "damaged",
        "‼",
        title="Damaged",
        rule="the trained reward did not rise, and the judges fell or the pictures vary less",
        advice="Lower the learning rate or raise β, and look at the log for skipped steps.",
        tone="bad",
        alarm="stop",
    ),
    Level(
        "hacking",
        "✗",
        title="Learnt to cheat",
        rule="the trained reward rose while the judges fell",
        advice=SOFTER,
        tone="bad",
        alarm="stop",
    ),
)
LEVELS = {level.name: level for level in TABLE}
