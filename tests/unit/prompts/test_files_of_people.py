"""Prompt files as people have them: other line ends, semicolons, no header, flags, lists in Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kedge.algorithms.votes import read_votes
from kedge.evaluation.image_folder import read_image_folder, write_image_folder
from kedge.prompts import PromptError, load_prompts
from kedge.prompts.sources import read_file

ODD = ["a\u2028line", "next\x85line", "a\x0bvertical tab", "a\x1crecord", "a\x0cform feed"]  # one prompt each


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_space_after_a_comma_is_none_of_the_column(tmp_path):
    """The header and the numbers became prompts."""
    path = write(tmp_path, "prompts.csv", 'id, prompt\n1, a fox\n2, "a cat, in the sun"\n')
    assert read_file(path) == ["a fox", "a cat, in the sun"]


def test_prompts_of_one_word_need_no_header(tmp_path, caplog):
    assert read_file(write(tmp_path, "words.csv", "fox\ncat\ndog\n")) == ["fox", "cat", "dog"]
    assert read_file(write(tmp_path, "prompt.csv", "prompt\ncat\ndog\n")) == ["cat", "dog"]
    assert not caplog.text
    assert read_file(write(tmp_path, "named.csv", "animal\na cat\na dog\n")) == ["a cat", "a dog"]
    assert "first line, 'animal', is taken for the name of the column" in caplog.text


def test_objects_with_other_keys_are_named_by_their_line(tmp_path):
    path = write(tmp_path, "prompts.jsonl", '{"prompt": "a"}\n\n{"text": "b"}\n')
    with pytest.raises(PromptError, match="line 3: no key 'prompt'; it has: text"):
        read_file(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_of_text_ends_where_editors_say(tmp_path, end):
    path = write(tmp_path, "prompts.txt", end.join([*ODD, "last"]))
    assert read_file(path) == [*ODD, "last"]


def test_prompts_come_back_from_jsonl_votes_and_image_folders(tmp_path):
    import numpy as np

    lines = "\n".join(json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in ODD)
    assert read_file(write(tmp_path, "prompts.jsonl", "\ufeff" + lines)) == ODD
    votes = [json.dumps({"prompt": prompt, "seed": 1, "preferred": 0}, ensure_ascii=False) for prompt in ODD]
    assert [vote.prompt for vote in read_votes(write(tmp_path, "votes.jsonl", "\n".join(votes)))] == ODD
    folder = write_image_folder(tmp_path / "pictures", np.zeros((len(ODD), 4, 4, 3), np.uint8), ODD)
    assert read_image_folder(folder)[1] == ODD


def test_flags_and_comments_of_sampling_files_are_left_out_and_told(tmp_path, caplog):
    lines = [
        "# portraits",
        "a cat --w 512 --h 768 --d 42",
        "a dog --n blurry, --bad",
        "an x--ray",
        "a hen -- quite small",
    ]
    path = write(tmp_path, "prompts.txt", "\n".join(lines))
    assert load_prompts(str(path)) == ["a cat", "a dog", "an x--ray", "a hen -- quite small"]
    assert "1 lines that start with # are comments" in caplog.text
    assert "are left out of 2 prompts" in caplog.text


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("prompt,width\na cat,5\n", ["a cat"]),
        ("width;prompt\n5;a cat, sitting\n", ["a cat, sitting"]),
        ("text\twidth\na cat\t5\n", ["a cat"]),
        ("prompt|n\na cat|5", ["a cat"]),
        ('prompt;n\n"a; b";5', ["a; b"]),
        ("a cat on a mat\na dog\n", ["a cat on a mat", "a dog"]),
        ("a cat, sitting\na dog\n", ["a cat, sitting", "a dog"]),
        ('"a cat, sitting"\n"a dog"\n', ["a cat, sitting", "a dog"]),
        ('"a cat, 3"\n"a dog, 4"\n', ["a cat, 3", "a dog, 4"]),
        ("a cat, 3\na dog, sitting\n", ["a cat, 3", "a dog, sitting"]),
        ('prompt,n\n"two\nlines",1\n', ["two\nlines"]),
        ("prompt\n\na cat\n", ["a cat"]),
        ("words\na cat\n", ["a cat"]),
    ],
)
def test_tables_with_other_separators_and_without_a_header(tmp_path, text, prompts):
    assert read_file(write(tmp_path, "p.csv", text)) == prompts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('prompt,n\n"a cat,1\na dog,2\n', "line 3: unexpected end of data .is a quote left open"),
        ("prompt,prompt\na,b\n", "2 columns 'prompt'"),
        ("a cat;1\na dog;2\n", "no header, but a column of numbers .separated by ';'.*as prompt;number"),
        ("a cat on a mat, 0.5\na dog, -2\n", "no header, but a column of numbers .separated by ','"),
        ('"a cat","512"\n"a dog","256"\n', "say which column holds the prompts.*Columns: a cat, 512"),
    ],
)
def test_tables_that_cannot_be_understood_are_refused(tmp_path, text, says):
    with pytest.raises(PromptError, match=says):
        read_file(write(tmp_path, "p.csv", text))


def test_a_column_of_a_table_without_header_is_refused(tmp_path):
    with pytest.raises(PromptError, match="no header, so it has no column 'caption'"):
        read_file(write(tmp_path, "p.csv", "a cat on a mat\na dog\n"), "caption")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", "[" * 100_000),
        ("p.json", "[1" + "0" * 5000 + "]"),
        ("p.jsonl", '{"prompt": "a"}\n' + "[" * 100_000),
        ("p.json", '["a \\ud83e fox"]'),
        ("p.json", '[["a"]]'),
        ("p.csv", "prompt\n" + "x" * 200_000),
    ],
)
def test_broken_files_are_named(tmp_path, name, text):
    path = write(tmp_path, name, text)
    with pytest.raises(PromptError, match=name.replace(".", r"\.")):
        load_prompts(str(path))


def test_parquet_holds_texts_bytes_nothing_and_lists(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")

    def table(name: str, values: list) -> Path:
        pq.write_table(pa.table({"caption": values}), tmp_path / name)
        return tmp_path / name

    assert read_file(table("a.parquet", ["a cat", None])) == ["a cat", ""]
    assert read_file(table("b.parquet", [b"a cat", "un œuf".encode()])) == ["a cat", "un œuf"]
    assert read_file(table("c.parquet", [["a cat", "one cat"], [], ["a dog"]])) == ["a cat", "one cat", "a dog"]
    with pytest.raises(PromptError, match=r"d\.parquet, column 'caption', row 1: expected a prompt, found 3"):
        read_file(table("d.parquet", [3]))
    damaged = table("e.parquet", ["a cat"] * 100)
    data = bytearray(damaged.read_bytes())
    data[4:40] = b"\xff" * 36
    damaged.write_bytes(data)
    with pytest.raises(PromptError, match=r"e\.parquet is not a Parquet file, or a damaged one"):
        read_file(damaged)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt": "a", "seed": 4.611686018427388e+18, "preferred": 0}', "lost its last digits"),
        ('{"prompt": "a", "seed": 3.0, "preferred": 0}', "lost its last digits"),
        ('{"prompt": "a", "seed": true, "preferred": 0}', "whole number"),
        ('{"prompt": null, "seed": 3, "preferred": 0}', "a prompt is a text"),
        ('{"prompt": "a", "seed": 3, "preferred": true}', "not true or false"),
        ("[1]", "expected"),
    ],
)
def test_votes_that_would_become_something_else_are_refused(tmp_path, line, says):
    with pytest.raises(ValueError, match=rf"votes\.jsonl:1: .*{says}"):
        read_votes(write(tmp_path, "votes.jsonl", line))
