"""A model's words about a picture, read as a number."""

from __future__ import annotations

import pytest
import torch

from helpers.http_server import scripted
from kedge.rewards import load_reward
from kedge.rewards.judge import Judge
from kedge.rewards.judge_templates import TEMPLATES, same_text, yes_or_no

ASPECTS = "1. Text Faithfulness:\n## Score: {}\n## Justification: 2 of 3\n2. Quality:\n## **Score:** {}\n3. Text:\n"
RATIONAL = ASPECTS + "## Score: {}"
IMAGES = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def says(text):
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}


def judged(answer, settings="", prompt='a sign that says "OPEN"'):
    with scripted(says(answer)) as (address, requests):
        base = address.removesuffix("/score")
        score = load_reward(f'judge{settings}@"{base}/v1#m"')(IMAGES, [prompt]).item()
    return score, requests[0]


@pytest.mark.parametrize(
    ("settings", "answer", "score"),
    [
        ("(template=unifiedreward)", "The alignment is good (4 of 5).\nFinal Score: 3.75", 3.75),
        ("(template=unifiedreward)", "Final Score: 2\n… on reflection, Final Score: 3", 3),
        ("(template=unifiedreward, unread=-1)", "I cannot say", -1),
        ("(template=rationalrewards)", RATIONAL.format("3.5", "2", "N/A"), 2.75),
        ("(template=rationalrewards)", RATIONAL.format("3", "2", "1"), 2),
        ("(template=rationalrewards, unread=1)", "# Summary: Score it yourself", 1),
        ("(template=yes)", " **Yes**, it does", 1),
        ("(template=yes)", "no", 0),
        ("(template=ocr)", "O P E N", 1),
        ("(template=ocr)", "", 0),
        ("()", "Well drawn. Score: 7.5", 7.5),
        (r"(question='Rate {prompt}', pattern='overall=(\d+)')", "x=1 overall=42", 42),
    ],
)
def test_the_answer_becomes_a_number(settings, answer, score):
    assert judged(answer, settings)[0] == pytest.approx(score)


def test_the_prompt_stands_in_the_question():
    request = judged("Yes", "(question='Is {prompt} {here}?', template=yes)", "a cat")[1]
    assert request["messages"][0]["content"][1]["text"] == "Is a cat {here}?"
    assert request["max_tokens"] == TEMPLATES["yes"].longest


def test_text_is_compared_with_what_stands_in_quotation_marks():
    assert same_text("Stop now", 'a board with "STOP" and “now”') == 1
    assert 0 < same_text("STEP", 'a board with "STOP"') < 1
    assert yes_or_no("yesterday", "") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "unifiedrewrd"}, "Did you mean 'unifiedreward'"),
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": "x"}, "must have one group"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Judge("http://x/v1", **settings)


def test_without_a_server_it_says_how_to_write_one():
    with pytest.raises(ValueError, match="judge@http://HOST"):
        load_reward("judge")
