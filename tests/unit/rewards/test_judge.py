"""A model's words about a picture, read as a number."""

from __future__ import annotations

import pytest
import torch

from helpers.http_server import scripted
from kedge.rewards import load_reward
from kedge.rewards.judge import Judge
from kedge.rewards.judge_templates import TEMPLATES, mean_after, same_text, yes_or_no

ASPECTS = "1. Text Faithfulness:\n## Score: {}\n## Justification: 2 of 3\n2. Quality:\n## **Score:** {}\n3. Text:\n"
RATIONAL = ASPECTS + "## Score: {}"
OVERALL = "(question='Rate {prompt}', pattern='Overall: ([0-9.]+)'"
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
        ("(template=unifiedreward)", "**Final Score:** 4", 4),
        ("(template=unifiedreward)", "final score: **4.5**", 4.5),
        ("(template=rationalrewards)", RATIONAL.format("3", "2", "1").replace("Score", "score"), 2),
        ("()", "Well drawn. Score: 7.5", 7.5),
        ("()", "**Score:** 8", 8),
        ("()", "Score: **8**", 8),
        ("()", "__Score__: _-1.5_", -1.5),
        ("()", "score: 7", 7),
        (f"{OVERALL})", "Overall: 8.5...", 8.5),
        (f"{OVERALL})", "Overall: 8.5. So it is", 8.5),
        (f"{OVERALL})", "Overall: 7 … Overall: ... or Overall: 1.2.3", 7),
        (f"{OVERALL}, unread=-1)", "Overall: ...", -1),
        ("(pattern='x=(.*)', unread=-1)", "x=nan", -1),
        (r"(question='Rate {prompt}', pattern='overall=(\d+)')", "x=1 overall=42", 42),
    ],
)
def test_the_answer_becomes_a_number(settings, answer, score):
    assert judged(answer, settings)[0] == pytest.approx(score)


def test_of_several_scores_those_that_are_no_numbers_do_not_count():
    assert mean_after(r"is ([0-9.]+)")("it is 1, is 2.5. It is ... so it is 1.2.3", "") == 1.75


def test_answers_that_are_all_unread_are_told_of_once(caplog):
    def score(*words):
        with scripted(*map(says, words)) as (address, _):
            judge = Judge(f"{address.removesuffix('/score')}/v1#m", unread=-1, workers=1)
            return [judge(IMAGES.repeat(2, 1, 1, 1), ["a", "b"]).tolist() for _ in range(len(words) // 2)]

    assert score("Score: 7", "I cannot say") == [[7, -1]]
    assert caplog.messages == []
    assert score("I cannot say", "well", "oh", "hm") == [[-1, -1], [-1, -1]]
    (warning,) = caplog.messages
    assert "any of 2 answers, which score -1 each; one of them ends 'I cannot say'" in warning


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
        ({"workers": 0}, "workers must be 1 or more, not 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Judge("http://x/v1", **settings)


def test_without_a_server_it_says_how_to_write_one():
    with pytest.raises(ValueError, match="judge@http://HOST"):
        load_reward("judge")
