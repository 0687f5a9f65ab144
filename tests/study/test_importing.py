"""People's ratings and choices from elsewhere: every format that the pages name, and Kedge's own exports."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.study_votes import fill
from kedge.cli.study.learn import import_ratings
from kedge.evaluation.statistics import Interval
from kedge.rewards import load_reward
from kedge.study.comparisons import Comparison, read_comparisons
from kedge.study.export import main_votes, pickapic_csv, votes_csv, write_pickapic_parquet
from kedge.study.fit import Fit
from kedge.study.fit_rating import _agreement, fit_ratings, ridge
from kedge.study.importing import read_judgements
from kedge.study.ratings import Chosen, Picture, Rated, Rating, read_import, write_import
from kedge.workflows.study_fit import fit_summary, fit_votes


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Twenty pictures, the later the brighter."""
    files = []
    for i in range(20):
        noise = np.random.default_rng(i).integers(0, 40, (16, 16, 3))
        files.append(tmp_path / f"{i}.png")
        Image.fromarray((noise + 10 * i).astype(np.uint8)).save(files[-1])
    return files


def judged(file: Path, text: str) -> list:
    file.write_text(text, encoding="utf-8")
    return read_judgements(file)


def test_an_empty_cell_at_the_end_of_each_line_is_no_harm(tmp_path, pictures):
    (row,) = judged(tmp_path / "r.csv", "image,rating\n3.png,4,\n")
    assert row.rating == 4


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_ratings_in_a_table_with_any_separator(tmp_path, pictures, separator):
    lines = [separator.join(("image", "rating", "prompt")), separator.join(("3.png", '"4,5"', "a fox"))]
    rows = judged(tmp_path / "r.csv", "\n".join(lines) + "\n")
    assert [(row.prompt, row.image.file, row.rating) for row in rows] == [("a fox", tmp_path / "3.png", 4.5)]


@pytest.mark.parametrize(
    ("column", "values", "preferred"),
    [
        ("choice", ("a", "B", "tie"), [0, 1, 0.5]),
        ("choice", ("left", "right", "equal"), [0, 1, 0.5]),
        ("preferred", ("0", "1", "0.5"), [0, 1, 0.5]),
        ("winner", ("1", "2", "2"), [0, 1, 1]),
        ("winner", ("1", "2", "Tie"), [0, 1, 0.5]),
        ("winner", ("1.0", "2.0", "none"), [0, 1, 0.5]),
        ("better", ("0.png", "3.png", "4.png"), [0, 1, 0]),
        ("label_0", ("1", "0", "0.5"), [0, 1, 0.5]),
    ],
)
def test_choices_in_all_the_words_for_first_and_second(tmp_path, pictures, column, values, preferred):
    rows = "".join(f"x,{2 * i}.png,{2 * i + 1}.png,{value}\n" for i, value in enumerate(values))
    chosen = judged(tmp_path / "c.csv", f"caption,image_a,image_b,{column}\n{rows}")
    assert [row.preferred for row in chosen] == preferred
    assert [row.first.file.name for row in chosen] == ["0.png", "2.png", "4.png"]


def test_label_studio_s_full_and_small_json(tmp_path, pictures):
    pair = {"image1": "/data/upload/7/3.png", "image2": "/data/local-files/?d=sets%2F5.png", "prompt": "a fox"}
    pairwise = {"type": "pairwise", "from_name": "p", "to_name": "i1,i2", "value": {"selected": "right"}}
    cancelled = {"was_cancelled": True, "result": [pairwise]}
    tasks = [{"id": 1, "data": pair, "annotations": [{"result": [pairwise]}, cancelled, {"result": []}]}]
    (row,) = judged(tmp_path / "full.json", json.dumps(tasks))
    assert isinstance(row, Chosen)
    assert (row.prompt, row.first.file, row.second.file) == ("a fox", tmp_path / "3.png", tmp_path / "5.png")
    assert row.preferred == 1
    stars = {"type": "rating", "value": {"rating": 4}}
    (rated,) = judged(
        tmp_path / "s.json", json.dumps([{"data": {"image": "3.png"}, "annotations": [{"result": [stars]}]}])
    )
    assert rated.rating == 4
    (small,) = judged(tmp_path / "min.json", json.dumps([{"image": "3.png", "rating": 2, "annotator": 1}]))
    assert small.rating == 2


def test_pictures_are_looked_for_in_the_folder_that_is_named(tmp_path, pictures):
    table = tmp_path / "elsewhere" / "r.csv"
    table.parent.mkdir()
    table.write_text("image,rating\nhttps://example.org/x/3.png,1\n")
    with pytest.raises(ValueError, match=r"r.csv, row 1: https://example.org/x/3.png is on the web.*--images"):
        read_judgements(table)
    assert read_judgements(table, tmp_path)[0].image.file == tmp_path / "3.png"
    table.write_text("image,rating\nhttp://[x,1\n")
    with pytest.raises(ValueError, match=r"r.csv, row 1: 'http://\[x' is neither a file in"):
        read_judgements(table)


@pytest.mark.parametrize("name", ["cat #1.png", "what?.png", "a;b.png", "50%25.png", "http: a cat.png"])
def test_a_picture_beside_the_file_is_found_whatever_signs_are_in_its_name(tmp_path, pictures, name):
    file = pictures[3].rename(tmp_path / name)
    table = [{"image": name, "rating": 1}, {"image": f"set/{name}", "rating": 2}]
    rows = judged(tmp_path / "r.jsonl", "".join(json.dumps(row) + "\n" for row in table))
    assert [row.image.file for row in rows] == [file, file]
    assert len(read_import(write_import(rows, tmp_path / "r.jsonl", tmp_path / "in"))) == 2


def test_an_address_that_is_longer_than_file_names_may_be_is_read_as_one(tmp_path, pictures):
    (row,) = judged(tmp_path / "r.csv", f"image,rating\nhttps://example.org/x/3.png?key={'k' * 5000},1\n")
    assert row.image.file == tmp_path / "3.png"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("r.csv", "image,rating\n3.png,good\n", ("r.csv, row 1", "rating", "'good'", "number")),
        ("r.csv", "image,rating\n3.png,nan\n", ("r.csv, row 1", "rating", "'nan'", "number")),
        (
            "p.csv",
            "jpg_0,jpg_1,label_0,caption\n3.png,3.png,inf,x\n",
            ("p.csv, row 1", "label_0 should be 1, 0 or 0.5, not 'inf'"),
        ),
        ("p.csv", "jpg_0,jpg_1,label_0\n3.png,4.png,1\n3.png,4.png,2\n", ("row 2", "label_0", "0.5, not '2'")),
        ("p.csv", "jpg_0,jpg_1,label_0\n3.png,4.png,-0.1\n", ("row 1", "label_0", "0.5, not '-0.1'")),
        ("c.csv", "image_a,image_b,choice\n3.png,4.png,1\n3.png,4.png,3\n", ("row 2", "1 or 2", "not '3'")),
        ("r.csv", "image,rating\n99.png,1\n", ("row 1", "'99.png'", "--images")),
        (
            "r.csv",
            "picture_name,rating\n3.png,1\n",
            ("which column holds the image", "--column image="),
        ),
        ("r.csv", "image_a,image_b\n3.png,4.png\n", ("which column holds the choice", "--column choice=")),
        ("r.csv", "image_a,image_b,choice\n3.png,4.png,up\n", ("row 1", "choice", "'up'", "left or right")),
        ("r.csv", "image,rating\n", ("holds no rows",)),
        ("r.csv", "image,rating\n3.png,1,a fox\n", ("r.csv, line 2", "more cells", "'a fox'", "quotation marks")),
        ("r.csv", "image,rating\n3.png\n", ("row 1", "nothing in column 'rating'")),
        ("r.csv", 'image,rating\n3.png,"' + "x" * 140_000, ("r.csv cannot be read as a table", "131072")),
        ("r.jsonl", '{"image": "3.png", "rating": 1}\n{"image": "3.png"}\n', ("row 2", "nothing in column 'rating'")),
        ("r.json", "[" * 100_000, ("r.json is nested too deeply",)),
        ("r.json", "{", ("r.json", "not valid JSON")),
        ("r.json", "[1]", ("item 1", "object")),
        ("r.parquet", "no", ("r.parquet", "not a Parquet file")),
        ("r.xlsx", "", ("cannot read .xlsx", ".csv")),
    ],
)
def test_what_cannot_be_read_is_named_by_file_row_and_value(tmp_path, pictures, name, text, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked one by one
        judged(tmp_path / name, text)
    for word in words:
        assert word in str(caught.value)


def test_columns_of_unusual_names_are_named(tmp_path, pictures, capsys):
    table = tmp_path / "r.csv"
    table.write_text("url,stars_given\n3.png,4\n")
    import_ratings(table, tmp_path / "in", None, ["image=url", "rating=stars_given"])
    assert "1 ratings" in capsys.readouterr().out
    (rating,) = read_import(tmp_path / "in")
    assert isinstance(rating, Rating)
    assert rating.image.read_bytes() == pictures[3].read_bytes()
    with pytest.raises(ValueError, match="Did you mean 'rating'"):
        read_judgements(table, None, {"ratin": "url"})
    with pytest.raises(ValueError, match=r"no column 'ur'. Did you mean 'url'"):
        read_judgements(table, None, {"image": "ur"})


@pytest.mark.parametrize("name", ["votes.csv", "pickapic.csv", "pickapic.parquet"])
def test_kedge_reads_its_own_exports(make_study, tmp_path, name):
    store = make_study("clean", "ruined", pairs=6, raters=2)
    fill(store, lambda rng: 0.7)
    file = store.folder / name
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
        write_pickapic_parquet(store, file)
    else:
        file.write_text((votes_csv if name == "votes.csv" else pickapic_csv)(store))
    write_import(read_judgements(file), file, tmp_path / "in")
    ours = sorted((c.prompt, c.first.read_bytes(), c.second.read_bytes(), c.label) for c in read_comparisons([store]))
    back = sorted(
        (c.prompt, c.first.read_bytes(), c.second.read_bytes(), c.label) for c in read_import(tmp_path / "in")
    )
    assert back == ours
    assert len(back) == len(main_votes(store)) > 6


def test_of_several_questions_the_first_is_imported_and_attention_checks_are_not(make_study, tmp_path, caplog):
    store = make_study("clean", "ruined", pairs=8, raters=2, questions="preference,appeal,alignment", checks=0.5)
    for pair, prompt in enumerate(("=1+1", "'quoted'"), start=1):
        store.db.execute("UPDATE pair SET prompt = ? WHERE id = ?", (prompt, pair))
    fill(store, lambda rng: 0.6)
    file = store.folder / "votes.csv"
    file.write_text(votes_csv(store))
    write_import(read_judgements(file), file, tmp_path / "in")
    imported = sorted(map(contents, read_import(tmp_path / "in")))
    assert imported == sorted(map(contents, read_comparisons([store])))
    assert {"=1+1", "'quoted'"} < {prompt for prompt, *_ in imported}
    assert "preference, appeal, alignment: the votes on 'preference' are taken" in caplog.text
    assert "24 attention checks are left out" in caplog.text
    file.write_text(votes_csv(store).replace("True", "TRUE"))  # as a spreadsheet saves it
    assert len(read_judgements(file)) == 16


def test_questions_of_other_programs_are_no_reason_to_leave_rows_out(tmp_path, pictures):
    rows = judged(tmp_path / "c.csv", "question,image_a,image_b,choice\nq,0.png,1.png,a\nr,2.png,3.png,b\n")
    assert len(rows) == 2


def contents(choice: Comparison) -> tuple[str, bytes, bytes, float]:
    return choice.prompt, choice.first.read_bytes(), choice.second.read_bytes(), choice.label


def test_ridge_is_the_minimum_of_its_penalised_squares():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 7, generator=generator, dtype=torch.float64)
    y = x @ torch.arange(7, dtype=torch.float64) + 3 + 0.1 * torch.randn(40, generator=generator, dtype=torch.float64)
    weights, bias, strength = ridge(x, y)
    residual = x @ weights + bias - y
    assert abs(float(residual.sum())) < 1e-9
    gradient = (x - x.mean(0)).T @ residual + strength * weights
    assert float(gradient.abs().max()) < 1e-9
    assert torch.allclose(weights, torch.arange(7, dtype=torch.float64), atol=0.2)


def test_a_reward_from_ratings_ranks_new_pictures_and_loads_by_its_path(tmp_path, pictures):
    """Brightness was rated; the reward is the fitted map itself, through the published layers."""
    rows = [Rated("", Picture(file.name, file=file), float(i)) for i, file in enumerate(pictures)]
    write_import(rows, tmp_path / "r.csv", tmp_path / "in")
    fit = fit_votes([tmp_path / "in"], tmp_path / "reward", backbone="emoji", held_out=0.3)
    text = "\n".join(fit_summary(fit, 0))
    assert f"reward=aesthetic@{tmp_path / 'reward'}" in text
    assert fit.rank is not None
    assert fit.rank.value > 0.5
    reward = load_reward(f'aesthetic@"{tmp_path / "reward"}"')
    dark, bright = (torch.full((1, 3, 16, 16), value) for value in (0.1, 0.75))
    assert float(reward(bright, ["x"])) > float(reward(dark, ["x"])) + 3


def test_a_reward_that_guesses_is_not_handed_over_without_a_word(tmp_path):
    def told(low: float, epoch: int) -> str:
        accuracy = Interval((low + 0.6) / 2, low, 0.6, 40)
        return "\n".join(fit_summary(Fit(tmp_path, 200, 40, accuracy, accuracy, None, epoch), 12))

    assert "it cannot be distinguished from guessing" in told(0.38, 3)
    assert "no epoch did better" in told(0.55, 0)
    fine = told(0.55, 3)
    assert "guessing" not in fine
    assert "no epoch" not in fine


def test_too_few_ratings_and_files_are_refused_with_what_to_do(tmp_path, pictures):
    few = [Rating("", file, 1.0) for file in pictures[:3]]
    with pytest.raises(ValueError, match="3 ratings are too few"):
        fit_ratings(tmp_path, few, tmp_path / "out", keep_backbone=True)
    table = tmp_path / "r.csv"
    table.write_text("image,rating\n3.png,4\n")
    with pytest.raises(ValueError, match="first kedge study import"):
        fit_votes([table], tmp_path / "out")


@pytest.mark.parametrize(("units", "each", "alike"), [(12, 4, 0.5), (30, 3, 0.8)])
def test_the_interval_of_a_rank_correlation_knows_which_ratings_are_alike(units, each, alike):
    """Several ratings of a prompt; Fisher's z as of independent ones holds the truth in 79 to 85 % of studies."""
    rng, held, studies, rho = np.random.default_rng(0), 0, 120, 0.6
    labels, truth = np.repeat(np.arange(units), each), 6 / math.pi * math.asin(rho / 2)
    for _ in range(studies):
        common, own = rng.standard_normal((2, units, 1)), rng.standard_normal((2, units, each))
        x, other = (math.sqrt(alike) * common + math.sqrt(1 - alike) * own).reshape(2, -1)
        interval, _ = _agreement(x, rho * x + math.sqrt(1 - rho**2) * other, labels)
        held += interval.low < truth < interval.high
    assert held / studies >= 0.92  # the error of the share is 2 %


@pytest.mark.parametrize(
    ("count", "rating", "words"),
    [(10, float, "only 2 were held out: too few to say (--held-out)"), (40, lambda i: 3.0, "are all alike")],
)
def test_why_nothing_is_known_of_a_reward_is_said(tmp_path, pictures, count, rating, words):
    rows = [Rated(f"p{i}", Picture(file.name, file=file), rating(i)) for i, file in enumerate((pictures * 2)[:count])]
    write_import(rows, tmp_path / "r.csv", tmp_path / "in")
    fit = fit_votes([tmp_path / "in"], tmp_path / "reward", backbone="emoji")
    text = "\n".join(fit_summary(fit, 0))
    assert f"how well it does on others is not known: {fit.unknown}" in text
    assert words in text


def test_a_rank_correlation_of_two_prompts_says_nothing():
    rng = np.random.default_rng(0)
    interval, _ = _agreement(rng.standard_normal(8), rng.standard_normal(8), np.repeat([0, 1], 4))
    assert (interval.low, interval.high, interval.units) == (-1.0, 1.0, 2)
