"""Rewards as users write them."""

from __future__ import annotations

import pytest

from kedge.rewards import Term, describe, parse
from kedge.rewards.expression import split_rewards


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("hpsv2", [Term(1, "hpsv2")]),
        ("  hpsv2.1@emoji ", [Term(1, "hpsv2.1", "emoji")]),
        ("0.7*hpsv2 + 0.3*pickscore", [Term(0.7, "hpsv2"), Term(0.3, "pickscore")]),
        ("0.7*hpsv2+0.3*pickscore", [Term(0.7, "hpsv2"), Term(0.3, "pickscore")]),
        ("pickscore - 2e-1 * compressibility", [Term(1, "pickscore"), Term(-0.2, "compressibility")]),
        ("-aesthetic@a/b", [Term(-1, "aesthetic", "a/b")]),
        ("z(pickscore@emoji) + .5*z( hpsv2 )", [Term(1, "pickscore", "emoji", True), Term(0.5, "hpsv2", None, True)]),
        ("aesthetic@/x/sac+logos+ava1.pth", [Term(1, "aesthetic", "/x/sac+logos+ava1.pth")]),
        ('pickscore@"/my models/p" + my.module:fn', [Term(1, "pickscore", "/my models/p"), Term(1, "my.module:fn")]),
        ("alignment@http://localhost:8000/v1#llava", [Term(1, "alignment", "http://localhost:8000/v1#llava")]),
        ("~/rewards.py:redness", [Term(1, "~/rewards.py:redness")]),
        ("clipscore-hessel", [Term(1, "clipscore-hessel")]),
        ("hpsv3( pessimism = 1.5 ) - vqa()", [Term(1, "hpsv3", settings=(("pessimism", "1.5"),)), Term(-1, "vqa")]),
        (
            """z(vqa(question='Is "{prompt}" + (b), there?', no="")@a/b)""",
            [Term(1, "vqa", "a/b", True, (("question", 'Is "{prompt}" + (b), there?'), ("no", "")))],
        ),
    ],
)
def test_reads(text, terms):
    assert list(parse(text)) == terms


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a reward"),
        ("hpsv2 pickscore", "at 'pickscore': expected \\+ or -"),
        ("hpsv2 +", "expected a reward"),
        ("2*", "expected a reward"),
        ("0*hpsv2", "weight 0"),
        ("hpsv2*0.5", "expected \\+ or -"),
        ("0.7*pickscore@emoji+0.3*hpsv2@emoji", "spaces round the \\+"),
        ("z(hpsv2", "expected"),
        ("hpsv3(1)", "at '1\\)': expected settings as key=value"),
        ("hpsv3(pessimism=1 2)", "expected settings"),
        ("vqa(no=a, no=b)", "no is set twice"),
    ],
)
def test_says_where_reading_stops(text, says):
    with pytest.raises(ValueError, match=says):
        parse(text)


@pytest.mark.parametrize("text", ["hpsv2@emoji", 'pickscore@"/my models/p"', "z(hpsv2)", "my.module:fn"])
def test_text_of_a_term_reads_back(text):
    (term,) = parse(text)
    assert term.text == text
    assert parse(term.text) == (term,)


def test_describes_a_sum():
    info = describe("0.5*hpsv2 + 0.5*compressibility_proxy")
    assert info.differentiable
    assert info.needs_prompt
    assert {part.where for part in info.parts} >= {"xswu/HPSv2"}
    assert not describe("0.5*hpsv2 + 0.5*compressibility").differentiable


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pickscoer", "Did you mean 'pickscore'"),
        ("0.5*hpsv2 + 0.5*nothing_like_it", "Choose from: .*aesthetic.*pickscore.* or module:callable"),
        ("oracle@emoji", "takes no source"),
        ("compressibility@/some/path", "takes no source"),
        ("hpsv2.1@emoji", "the emoji world has no 'hpsv2.1'; it has: pickscore"),
        ("alignment@/some/path", "alignment@http://HOST:PORT/v1"),
        ("remote(batch=many)@http://x/score", "'remote': batch must be a number, not 'many'"),
        ("remote(batch=inf)@http://x/score", "'remote': batch must be a finite number, not 'inf'"),
        ("remote(batch=nan)@http://x/score", "batch must be a finite number, not 'nan'"),
        ("remote(timeout=1e999, attempts=1)@http://x/score", "timeout must be a finite number, not '1e999'"),
        ("no_such_module_of_mine:fn", "no such module"),
        ("math:pi", "cannot be called"),
        ("math:sqroot", "Did you mean 'sqrt'"),
        ("/nowhere/rewards.py:fn", "no such file"),
    ],
)
def test_refuses_with_advice(text, says):
    with pytest.raises(ValueError, match=says):
        describe(text)


@pytest.mark.parametrize(
    "text",
    ["hpsv3(pessimism=1.5)", """z(vqa(question='Is "{prompt}" it?', no="")@a/b)""", 'vqa(question="it\'s {prompt}")'],
)
def test_a_term_is_written_as_it_was_read(text):
    (term,) = parse(text)
    assert parse(term.text) == (term,)


def test_paths_as_people_have_them():
    assert parse("Übung.py:ruhig")[0].name == "Übung.py:ruhig"
    assert parse("0.5*ä/ö.py:ü + 作品/r.py:f")[1].name == "作品/r.py:f"
    (term,) = parse('clipscore@"/mein Ordner (2), neu/ß"')
    assert term.source == "/mein Ordner (2), neu/ß"
    assert parse(term.text) == (term,)
    (own,) = parse('"mein Ordner/a+b (2).py:f"')
    assert own.name == "mein Ordner/a+b (2).py:f"
    assert parse(own.text) == (own,)
    for text in ("/mein Ordner/r.py:f", "mein Ordner/r.py:f", "(neu)/r.py:f", "clipscore@/mein Ordner/ß"):
        with pytest.raises(ValueError, match="goes into double quotes"):
            parse(text)
    with pytest.raises(ValueError, match=r"before the next reward$"):  # no word of paths
        parse("pickscore hpsv2")


@pytest.mark.parametrize(
    "rewards",
    [
        ["pickscore@emoji", "vqa(model='a,b')"],
        ["""judge(question="a, b) or (c", pattern="Overall: ([0-9.]+)", unread=0)@http://x/v1""", "hpsv2"],
        ["""z(vqa(question='(a), b', no=""))""", "hpsv3(pessimism=1, x=2)", '"my, file.py:f"'],
        ["vqa(question='an open (bracket, and more')", "hpsv2"],
    ],
)
def test_a_list_of_rewards_is_split_at_the_commas_between_them(rewards):
    assert split_rewards(", ".join(rewards)) == rewards
