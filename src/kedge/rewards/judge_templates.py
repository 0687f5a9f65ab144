"""What a model behind a server is asked about a picture, and how its answer becomes a number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from difflib import SequenceMatcher

Read = Callable[[str, str], float | None]
NUMBER = r"(-?\d+(?:\.\d+)?)"
SCORE = rf"Score[*_]*:[\s*_]*{NUMBER}"  # also **Score:** 8 and Score: **8**, as models write that know Markdown


@dataclass(frozen=True)
class JudgeTemplate:
    """One way to ask.

    Attributes:
        question: ``{prompt}`` in it becomes the prompt.
        read: the answer and the prompt to a number; None if the answer holds none.
        units: of that number.
        longest: tokens of an answer.
    """

    question: str
    read: Read
    units: str
    longest: int = 64


def number_after(pattern: str) -> Read:
    """The last number that ``pattern`` (a regular expression with one group) finds in the answer."""

    def read(answer: str, prompt: str) -> float | None:
        numbers = _numbers(pattern, answer)
        return numbers[-1] if numbers else None

    return read


def mean_after(pattern: str) -> Read:
    """The mean of all numbers that ``pattern`` finds in the answer: one for each aspect of a judgement."""

    def read(answer: str, prompt: str) -> float | None:
        numbers = _numbers(pattern, answer)
        return sum(numbers) / len(numbers) if numbers else None

    return read


def _numbers(pattern: str, answer: str) -> list[float]:
    """What the group finds, as numbers, less what is none: ``[0-9.]+`` also finds the full stops of a sentence."""
    numbers = []
    for match in re.findall(pattern, answer):
        with suppress(ValueError):
            numbers.append(float(match.rstrip(".")))
    return list(filter(math.isfinite, numbers))


def yes_or_no(answer: str, prompt: str) -> float | None:
    """1 for an answer that begins with yes, 0 for one that begins with no."""
    word = re.match(r"\W*(yes|no)\b", answer, re.IGNORECASE)
    return None if word is None else float(word[1].lower() == "yes")


def same_text(answer: str, prompt: str) -> float | None:
    """How much of the prompt's quoted words the answer has: 2 · common letters in order / all letters, spaces aside.

    A prompt without quotation marks is compared whole.
    """
    quoted = re.findall(r'"([^"]+)"|“([^”]+)”', prompt)
    wanted = " ".join("".join(words) for words in quoted) or prompt
    first, second = (re.sub(r"\s+", "", text).casefold() for text in (wanted, answer))
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


# The question that UnifiedReward was trained on, word for word (github.com/CodeGoat24/UnifiedReward, MIT).
_UNIFIED = (
    "<image>\nYou are given a text caption and a generated image based on that caption. Your task is to evaluate this "
    "image based on two key criteria:\n1. Alignment with the Caption: Assess how well this image aligns with the "
    "provided caption. Consider the accuracy of depicted objects, their relationships, and attributes as described in "
    "the caption.\n2. Overall Image Quality: Examine the visual quality of this image, including clarity, detail "
    "preservation, color accuracy, and overall aesthetic appeal.\nBased on the above criteria, assign a score from 1 "
    "to 5 after 'Final Score:'.\nYour task is provided as follows:\nText Caption: [{prompt}]"
)

# RationalRewards' aspects, scale and the lines that its model writes (github.com/TIGER-AI-Lab/RationalRewards). The
# words around them are Kedge's own: that repository states no licence.
_RATIONAL = (
    "You judge pictures that were generated from a user's instruction.\n\nUser Instruction: {prompt}\n\nJudge the "
    "picture on three aspects. Justify each, and give it a score between 1 (it fails) and 4 (nothing to criticise); "
    "fractions count.\n1. Text Faithfulness: are all objects, attributes and relations of the instruction there, and "
    "nothing else?\n2. Physical and Visual Quality: is it plausible and free of artefacts?\n3. Text Rendering: is "
    "written text right and legible? Its score is N/A if the instruction asks for none.\n\nAnswer in this form:\n"
    "# Detailed Judgement\n1. Text Faithfulness:\n## Score: [1 to 4]\n## Justification: [why]\n"
    "2. Physical and Visual Quality:\n## Score: [1 to 4]\n## Justification: [why]\n"
    "3. Text Rendering:\n## Score: [1 to 4, or N/A]\n## Justification: [why]\n# Summary: [one sentence]"
)

TEMPLATES = {
    "unifiedreward": JudgeTemplate(_UNIFIED, number_after(rf"(?i)Final {SCORE}"), "1 to 5", 1024),
    "rationalrewards": JudgeTemplate(_RATIONAL, mean_after(rf"(?im)^\W*Score\W*{NUMBER}"), "1 to 4", 2048),
    "yes": JudgeTemplate('Does this picture show "{prompt}"? Answer Yes or No.', yes_or_no, "0 or 1", 8),
    "ocr": JudgeTemplate("What is written in this picture? Answer with the words alone.", same_text, "0 to 1", 128),
    "rating": JudgeTemplate(
        'How well does this picture show "{prompt}", from 0 to 10? Think as long as you need, then end with: Score: N',
        number_after(rf"(?i){SCORE}"),
        "0 to 10",
        1024,
    ),
}
