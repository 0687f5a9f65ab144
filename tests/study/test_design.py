"""Laws of the design: blind, seeded, balanced, whatever the sizes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.study.design import Design, Showing, assign, plan_pairs
from kedge.study.questions import parse_questions

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 60), st.integers(0, 5))


def whole_study(design: Design, models: int, prompts: int, raters: int) -> tuple[list, list[list[Showing]]]:
    """Raters one after another, each assigned with what the earlier ones were shown."""
    pairs = plan_pairs(models, prompts, design)
    shown = [[0, 0] for _ in pairs]
    given_out = []
    for rater in range(raters):
        showings = assign(design, rater, [(p.first, p.second) for p in pairs], [tuple(s) for s in shown])
        for showing in showings:
            if not showing.repeat:
                shown[showing.pair][showing.swapped] += 1
        given_out.append(showings)
    return pairs, given_out


@settings(deadline=None, max_examples=60)
@given(SIZES, st.integers(1, 7), st.data())
def test_every_balance_holds(sizes, raters, data) -> None:
    models, prompts, count, seed = sizes
    per_rater = data.draw(st.none() | st.integers(1, count))
    pairs, given_out = whole_study(Design(count, seed, per_rater), models, prompts, raters)
    matchups = Counter((p.first, p.second) for p in pairs)
    assert max(matchups.values()) - min(matchups.values()) <= 1
    times, swaps = Counter({i: 0 for i in range(count)}), Counter()
    for showings in given_out:
        assert len({s.pair for s in showings}) == len(showings) == (per_rater or count)
        times.update(s.pair for s in showings)
        swaps.update({s.pair: 1 if s.swapped else -1 for s in showings})
        if per_rater is None:
            for matchup in matchups:
                lead = [
                    1 if s.swapped else -1 for s in showings if (pairs[s.pair].first, pairs[s.pair].second) == matchup
                ]
                assert abs(sum(lead)) <= 1
    assert max(times.values()) - min(times.values()) <= 1
    assert all(abs(lead) <= 1 for lead in swaps.values())


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.floats(0, 1), st.integers(0, 9))
def test_repeats_come_later_swapped_and_in_the_asked_number(count, checks, seed) -> None:
    _, (showings,) = whole_study(Design(count, seed, checks=checks), 2, count, 1)
    first = {s.pair: (i, s.swapped) for i, s in enumerate(showings) if not s.repeat}
    repeats = [(i, s) for i, s in enumerate(showings) if s.repeat]
    assert len(repeats) == min(round(checks * count), count // 2)
    for i, again in repeats:
        where, swapped = first[again.pair]
        assert swapped != again.swapped
        assert i - where > count // 4


def test_prompts_are_used_evenly_and_a_repeated_prompt_has_another_seed() -> None:
    pairs = plan_pairs(2, 10, Design(35))
    times = Counter(p.prompt for p in pairs)
    assert set(times.values()) == {3, 4}
    assert len({(p.prompt, p.first, p.second, p.repetition) for p in pairs}) == 35


def test_with_three_models_a_prompt_that_comes_again_meets_another_matchup() -> None:
    pairs = plan_pairs(3, 3, Design(9))
    assert len({(p.prompt, p.first, p.second) for p in pairs}) == 9


def test_the_seed_decides_everything_and_raters_differ() -> None:
    assert whole_study(Design(20, 1), 2, 20, 3) == whole_study(Design(20, 1), 2, 20, 3)
    (pairs, one), (others, two) = whole_study(Design(20, 1), 2, 20, 2), whole_study(Design(20, 2), 2, 20, 2)
    assert pairs != others
    assert one[0] != two[0]
    assert [s.pair for s in one[0]] != [s.pair for s in one[1]]


@pytest.mark.parametrize(
    ("arguments", "words"), [((0,), "at least one"), ((5, 0, 6), "1 to 5"), ((5, 0, None, 1.5), "between 0 and 1")]
)
def test_impossible_designs_are_refused(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        Design(*arguments)


def test_questions_are_named_or_written_out() -> None:
    questions = parse_questions("preference, cute=Which is cuter, if any?,alignment")
    assert [q.key for q in questions] == ["preference", "cute", "alignment"]
    assert questions[1].text == "Which is cuter, if any?"
    for wrong, words in (("apeal", "Did you mean 'appeal'"), ("", "needs a question"), ("a b=x", "key=text")):
        with pytest.raises(ValueError, match=words):
            parse_questions(wrong)
    with pytest.raises(ValueError, match="twice"):
        parse_questions("appeal,appeal")
