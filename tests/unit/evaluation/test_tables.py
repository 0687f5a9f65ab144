from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from kedge.evaluation.comparison import compare
from kedge.evaluation.rendering import FORMATS, render
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table, comparison_table, decimals, display, evaluation_table

PROMPTS = tuple(f"prompt {i}" for i in range(40))


def evaluation(name: str, shift: float = 0.0, seed: int | None = 0, own: float = 0.1) -> Evaluation:
    """Scores that share the prompts' difficulty, so that pairs tell more than two separate means."""
    shared = np.random.default_rng(0).normal(0, 1, len(PROMPTS))
    noise = np.random.default_rng(sum(map(ord, name))).normal(0, own, len(PROMPTS))
    scores = {"pickscore@emoji": 21 + shared + noise + shift, "hpsv2": 0.27 + 0.01 * (shared + noise + shift)}
    return Evaluation(name, PROMPTS, seed, scores, {"edge_density": np.full(len(PROMPTS), 0.3 + shift)})


def bold(table: Table) -> list[tuple[str, str]]:
    return [
        (label, key)
        for label, cells in table.rows
        for key, cell in zip(table.keys, cells, strict=True)
        if cell is not None and cell.bold
    ]


def test_best_is_bold_only_beyond_chance() -> None:
    clear = evaluation_table([evaluation("base"), evaluation("tuned", 0.3)])
    assert bold(clear) == [("tuned", "pickscore@emoji"), ("tuned", "hpsv2")]
    level = evaluation_table([evaluation("base"), evaluation("tuned", 0.0)])
    assert bold(level) == []
    assert bold(evaluation_table([evaluation("only")])) == []


def test_unpaired_rows_need_disjoint_intervals() -> None:
    base = evaluation("base")
    assert bold(evaluation_table([base, evaluation("near", 0.3, seed=1)])) == []
    assert len(bold(evaluation_table([base, evaluation("far", 2.0, seed=1)]))) == 2


def test_image_statistics_have_no_best_and_missing_metrics_a_dash() -> None:
    partial = Evaluation("partial", PROMPTS, 0, {"hpsv2": np.full(len(PROMPTS), 0.2)})
    table = evaluation_table([evaluation("base"), partial], ["edge_density", "hpsv2"])
    assert bold(table) == [("base", "hpsv2")]
    assert "| partial | – |" in render(table, "markdown")


@pytest.mark.parametrize(
    ("metric", "header"),
    [
        ("hpsv2", "HPSv2 ×10"),
        ("hpsv2@emoji", "HPSv2 ×10"),
        ("pickscore@emoji", "PickScore"),
        ("pickscore@/data/mine", "PickScore (/data/mine)"),
        ("my_reward", "my reward"),
        ("my_package.rewards:my_reward", "my reward"),
    ],
)
def test_headers_name_the_factor(metric: str, header: str) -> None:
    assert display(metric).header == header


def test_scales_can_be_chosen() -> None:
    assert display("hpsv2@emoji", {"hpsv2": 1}).header == "HPSv2"
    assert display("jpeg", {"jpeg": 100}).header == "jpeg ×100"


def test_numbers_show_two_digits_of_their_uncertainty() -> None:
    assert Cell(Interval(21.4321, 21.31, 21.55, 10)).texts() == ("21.43", "± 0.12")
    assert Cell(Interval(0.27123, 0.2700, 0.2724, 10), scale=10).texts() == ("2.712", "± 0.012")
    assert Cell(Interval(0.5, 0.4, 0.6, 10), style="percent").texts() == ("50 %", "(40–60)")
    assert Cell(Interval(-0.25, -1.36, 0.89, 10), style="percent", digits=0).texts() == ("−25 %", "(−136 to 89)")
    assert Cell(Interval(0.5, 0.4, 0.6, 10), style="signed").texts() == ("+0.50", "± 0.10")
    assert Cell(Interval(12345.0, 12000, 12690, 10)).texts() == ("12345", "± 345")
    assert Cell(Interval(3.0, 3.0, 3.0, 10)).texts() == ("3.00", "± 0.00")
    assert Cell(Interval(0.0, 0.0, 0.0, 10)).texts() == ("0.000", "± 0.000")
    lopsided = Interval(2.7, 1.9, 6.0, 10)  # 2.7 ± 2.05 would reach from 0.65 to 4.75
    assert Cell(lopsided, style="range", digits=1).texts() == ("2.7", "(1.9–6.0)")
    assert Cell(Interval(-1.0, -2.0, np.inf, 10), style="range", digits=1).texts() == ("−1.0", "")
    assert Cell(Interval(1.5, -np.inf, np.inf, 1)).texts()[1] == ""
    assert decimals([Interval(1, 0.999999999, 1.000000001, 3)]) == 6


def test_every_format_holds_the_numbers() -> None:
    base, tuned = evaluation("base"), evaluation("tuned", 0.3)
    table = evaluation_table([base, tuned], title="Results")
    mean = base.interval("hpsv2")
    shown = f"{mean.value * 10:.3f}"
    for format in FORMATS:
        text = render(table, format)
        assert text.endswith("\n")
        assert ("Results" in text) == (format != "csv")
        assert (shown in text) == (format in ("table", "markdown", "latex"))
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert len(rows) == 4
    assert float(rows[1]["value"]) == mean.value  # unscaled, in full
    data = json.loads(render(table, "json"))
    assert data["rows"][0]["hpsv2"]["low"] == mean.low
    with pytest.raises(ValueError, match="choose from table, markdown"):
        render(table, "html")


def test_names_cannot_break_a_format() -> None:
    nasty = "a|b & 50% of_$x\\y\n"
    cell = Cell(Interval(1.0, 0.9, 1.1, 5), bold=True)
    table = Table("Model", ("R|x",), ("r",), ((nasty, (cell,)),))
    markdown = render(table, "markdown").splitlines()
    assert len(markdown) == 3
    assert markdown[2].replace("\\|", "").count("|") == 3
    assert "**1.00** ± 0.10" in markdown[2]
    latex = render(table, "latex")
    assert r"a|b \& 50\% of\_\$x\textbackslash{}y" in latex
    assert r"$\mathbf{1.00} \pm 0.10$" in latex
    assert next(csv.DictReader(io.StringIO(render(table, "csv"))))["model"] == nasty


def test_terminal_table_is_never_cut() -> None:
    table = evaluation_table([evaluation("a name that is rather long, as names of folders are " * 3)] * 2)
    lines = render(table, "table").splitlines()
    assert all("…" not in line for line in lines)
    assert any("± 0.2" in line and "± 0.02" in line for line in lines)


def test_a_difference_has_a_precision_of_its_own() -> None:
    """Prompts differ by 10, the models by 0.02: at the means' precision a clear rise would read +0.0 ± 0.0."""
    difficulty, noise = (np.random.default_rng(seed).normal(0, 1, len(PROMPTS)) for seed in (0, 1))
    base = Evaluation("base", PROMPTS, 0, {"hpsv2": 10 * difficulty})
    tuned = Evaluation("tuned", PROMPTS, 0, {"hpsv2": 10 * difficulty + 0.02 + 0.005 * noise})
    comparison = compare(tuned, base)
    assert comparison["hpsv2"].rose
    (row,) = comparison_table(comparison, {"hpsv2": 1}).rows
    mean, difference = row[1][0], row[1][2]
    assert mean is not None
    assert difference is not None
    assert mean.texts()[1] == "± 2.5"
    assert difference.texts() == ("+0.0200", "± 0.0015")


def test_comparison_table() -> None:
    comparison = compare(evaluation("tuned", 0.3), evaluation("base"))
    table = comparison_table(comparison)
    text = render(table, "markdown")
    assert "| PickScore | " in text
    assert "**+0.3" in text or "**+0.2" in text
    assert "HPSv2 ×10" in text
    assert "Higher than base" in text
    assert " %** (" in text
    assert r"\,\%} (" in render(table, "latex")
    assert [label for label, _ in comparison_table(comparison, statistics=True).rows] == ["edge density"]
