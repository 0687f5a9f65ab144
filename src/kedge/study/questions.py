"""What raters are asked about a pair: ROCM's three questions, or the owner's own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kedge.registry import suggest


@dataclass(frozen=True)
class Question:
    """One question about a pair.

    Attributes:
        key: in tables and exports; letters, digits and underscores.
        title: a few words for charts.
        text: what the rater reads.
    """

    key: str
    title: str
    text: str


# ROCM, section 4 and Figure 3 (after SPO): in this order, for each pair.
QUESTIONS = {
    "preference": Question("preference", "General preference", "Which picture do you prefer, all in all?"),
    "appeal": Question("appeal", "Visual appeal", "Which picture looks better, whatever the text says?"),
    "alignment": Question("alignment", "Prompt alignment", "Which picture shows better what the text says?"),
}
PAPER = "preference,appeal,alignment"
MOST = 8


def parse_questions(text: str) -> tuple[Question, ...]:
    """``"preference,alignment"``, or a question of your own as ``"cute=Which one is cuter?"``; commas between them.

    Raises:
        ValueError: naming the part that is no question.
    """
    parts = map(str.strip, re.split(r",(?=\s*\w+\s*(?:=|,|$))", text))
    questions = tuple(map(_question, filter(None, parts)))
    if not questions:
        raise ValueError(f"a study needs a question: {', '.join(QUESTIONS)}, or your own as key=text")
    if len({question.key for question in questions}) < len(questions):
        raise ValueError(f"--questions {text!r} names a question twice")
    if len(questions) > MOST:
        raise ValueError(f"{len(questions)} questions for each pair are too many: at most {MOST}")
    return questions


def _question(part: str) -> Question:
    key, equals, words = map(str.strip, part.partition("="))
    if equals:
        if not re.fullmatch(r"[A-Za-z]\w{0,30}", key) or not words:
            raise ValueError(f"cannot read the question {part!r}: write key=text, for example cute=Which one is cuter?")
        return Question(key, key.replace("_", " ").capitalize(), words)
    if key not in QUESTIONS:
        raise ValueError(
            f"no question {key!r}.{suggest(key, QUESTIONS)} Choose from {', '.join(QUESTIONS)}, or write your own as "
            "key=text"
        )
    return QUESTIONS[key]
