"""Prompts from every kind of file, from the hub, by name; and what is said about bad ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kedge.prompts import NAMED, PromptError, inspect_prompts, load_prompts
from kedge.prompts.hub import PARQUET_BRANCH, hub_column

PROMPTS = ["a cat", "two foxes, in the snow", 'a "dog"', "ein Bär"]


def write(folder: Path, kind: str, column: str) -> Path:
    path = folder / f"prompts.{kind}"
    rows = [{"id": i, column: prompt} for i, prompt in enumerate(PROMPTS)]
    if kind == "txt":
        path.write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8-sig") as file:  # with a byte order mark, as Excel writes
            writer = csv.DictWriter(file, ["id", column], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["caption", "odd name"])
def test_every_kind_of_file(tmp_path, kind, column):
    path = write(tmp_path, kind, column)
    named = None if column == "caption" else column
    assert load_prompts(str(path), column=named) == PROMPTS
    if kind != "txt":
        with pytest.raises(PromptError, match=r"no column 'captoin'.*Columns: id, "):
            load_prompts(str(path), column="captoin")
        if named:
            with pytest.raises(PromptError, match=r"say which column holds the prompts"):
                load_prompts(str(path))


def test_a_json_list_of_strings(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(PROMPTS))
    assert load_prompts(str(path)) == PROMPTS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", "{", "not valid JSON"),
        ("p.json", "{}", "must hold a list"),
        ("p.json", "[1]", "item 1: expected a prompt, found 1"),
        ("p.jsonl", '{"prompt": "a"}\n{', "line 2, is not valid JSON"),
        ("p.jsonl", '{"prompt": null}', "line 1: expected a prompt, found None"),
        ("p.parquet", "no", "not a Parquet file"),
        ("p.txt", "  \n\n", "holds no prompts"),
        ("p.csv", "a,b\n1,2\n", "say which column"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(PromptError, match=message) as caught:
        load_prompts(str(tmp_path / name))
    assert name in str(caught.value)


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    with pytest.raises(PromptError, match=r"no such prompt file: .*nowhere\.txt"):
        load_prompts(str(tmp_path / "nowhere.txt"))
    (tmp_path / "p.docx").write_text("x")
    with pytest.raises(PromptError, match=r"cannot read \.docx files; use \.txt, \.csv"):
        load_prompts(str(tmp_path / "p.docx"))
    (tmp_path / "p.txt").write_bytes(b"caf\xe9")
    with pytest.raises(PromptError, match="not UTF-8"):
        load_prompts(str(tmp_path / "p.txt"))
    with pytest.raises(PromptError, match=r"no prompts called 'animals-54'\. Did you mean 'animals-45'"):
        load_prompts("animals-54")


def test_a_draw_is_seeded_and_has_no_repeats(tmp_path):
    ten = load_prompts("animals-45", count=10, seed=1)
    assert ten == load_prompts("animals-45", count=10, seed=1)
    assert ten != load_prompts("animals-45", count=10, seed=2)
    assert len(set(ten)) == 10
    with pytest.raises(PromptError, match=r"^count is 50, but animals-45 has only 45"):
        load_prompts("animals-45", count=50)


def test_empty_repeated_and_over_long_prompts_are_reported(tmp_path, caplog):
    long = "word " * 76
    path = tmp_path / "p.txt"
    path.write_text(f"a cat\n\n  a cat  \n{long}\na dog\n")
    assert load_prompts(str(path)) == ["a cat", "a cat", long.strip(), "a dog"]
    assert "1 of 5 prompts are empty: left out" in caplog.text
    assert "1 of 5 prompts occur more than once" in caplog.text
    assert "'a cat' occurs 2 times" in caplog.text
    assert "1 of 5 prompts are longer than the 75 tokens" in caplog.text
    assert inspect_prompts(["a cat", "a dog"]).lines() == []


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [("a " * 75, False), ("a " * 76, True), ("1234567890" * 8, True), ("ab," * 37, False), ("ab," * 38, True)],
)
def test_only_prompts_that_are_certainly_cut_are_called_over_long(prompt, cut):
    assert bool(inspect_prompts([prompt]).over_long) is cut


def test_the_animals():
    animals = load_prompts("animals-45")
    assert len(set(animals)) == 45
    assert animals[0] == "cat"
    assert animals[-1] == "kangaroo"
    doing = load_prompts("animals-activities")
    assert len(set(doing)) == 135
    for prompt in ("a cat washing the dishes", "an ant riding a bike", "a kangaroo playing chess"):
        assert prompt in doing


@pytest.mark.parametrize("name", [name for name, named in NAMED.items() if named.hub])
def test_sets_from_the_hub_say_so_and_take_a_local_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PromptError, match=r"from the Hugging Face hub .*prompts\.local=FILE") as caught:
        load_prompts(name)
    assert NAMED[name].local in str(caught.value)
    path = write(tmp_path, "jsonl", "caption")
    assert load_prompts(name, local=str(path)) == PROMPTS


@pytest.mark.parametrize("name", [name for name, named in NAMED.items() if not named.hub])
def test_sets_in_the_package_load(name):
    prompts = load_prompts(name)
    assert len(prompts) == (NAMED[name].count or len(prompts))
    assert len(set(prompts)) == len(prompts)


def hub(folder: Path) -> fsspec.AbstractFileSystem:
    """A file system laid out like the hub's, with an expensive column beside the prompts."""
    for split, parts in {"train": 2, "validation_unique": 1}.items():
        where = folder / "datasets" / "me" / f"prompts@{PARQUET_BRANCH}" / "default" / split
        where.mkdir(parents=True)
        for part in range(parts):
            rows = [{"caption": f"{split} {part} {i}", "jpg": b"x" * 1000} for i in range(3)]
            pq.write_table(pa.Table.from_pylist(rows), where / f"{part:04d}.parquet")
    return fsspec.filesystem("dir", path=str(folder), target_protocol="file")


def test_a_column_of_a_hub_data_set(tmp_path):
    filesystem = hub(tmp_path)
    train = hub_column("me/prompts", None, "train", filesystem)
    assert train == [f"train {part} {i}" for part in range(2) for i in range(3)]
    assert len(hub_column("me/prompts", "caption", "validation_unique", filesystem)) == 3
    with pytest.raises(PromptError, match=r"no split 'test'\. Splits: train, validation_unique"):
        hub_column("me/prompts", None, "test", filesystem)
    with pytest.raises(PromptError, match="no data set 'me/other'"):
        hub_column("me/other", None, "train", filesystem)


def test_a_function_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_prompts.py").write_text(
        "def some():\n    yield from ('a cat', 'a dog')\ndef none():\n    return [1]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_prompts("own_prompts:some") == ["a cat", "a dog"]
    with pytest.raises(PromptError, match="own_prompts:none must return prompts: strings, not int"):
        load_prompts("own_prompts:none")
    with pytest.raises(ValueError, match=r"'own_prompts' has no 'som'\. Did you mean 'some'\?"):
        load_prompts("own_prompts:som")
