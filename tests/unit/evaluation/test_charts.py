from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np

from kedge.evaluation.charts import POINTS, Curve, Effect, curve_chart, effects_chart, smooth


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))


def test_charts_take_their_colours_from_the_page() -> None:
    for svg in (curve_chart([Curve(range(20), range(20))], "one"), effects_chart([Effect("a", 1, 0.5, 1.5)])):
        assert "var(--accent)" in svg or "var(--good)" in svg
        assert not re.search(r"#0102\d\d", svg)
        assert not re.search(r"(fill|stroke): #(?!0)", svg)
        assert "font-family" not in svg
        assert "<style" not in svg
        parse(svg)


def test_equal_data_gives_equal_bytes_and_other_data_other_ids() -> None:
    a, again, b = (curve_chart([Curve([0, 1, 2], y)], "<one>") for y in ([0, 1, 2], [0, 1, 2], [2, 1, 0]))
    assert a == again
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (a, b)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_gaps_and_single_points_do_no_harm() -> None:
    parse(curve_chart([Curve([0, 1, 2], [1.0, None, float("inf")], kind="points")], "gaps"))
    parse(curve_chart([Curve([], [])], "empty"))


def test_smoothing_is_a_running_mean() -> None:
    y = np.random.default_rng(0).normal(size=200)
    expected = [y[max(0, i - 5) : i + 6].mean() for i in range(200)]
    assert np.allclose(smooth(y), expected)
    assert smooth(np.array([3.0])).tolist() == [3.0]


def test_long_runs_are_thinned() -> None:
    long = curve_chart([Curve(range(50_000), np.zeros(50_000))], "long")
    assert len(long) < 2 * len(curve_chart([Curve(range(POINTS), np.zeros(POINTS))], "short"))


def test_a_chart_says_in_words_what_it_shows() -> None:
    svg = effects_chart([Effect("A & B", 1.25, 0.5, 1.5), Effect("C", -2, -3, -1)])
    assert parse(svg).get("aria-label") == "Changes: A & B +1.25; C -2.00"
    assert parse(curve_chart([Curve([0, 1], [0, 1])], 'Loss "a" <b>')).get("aria-label") == 'Loss "a" <b>'


def test_what_rose_and_what_fell_differ_in_form_and_not_by_colour_alone() -> None:
    def forms(*effects: Effect) -> set[str]:
        """The outlines of the markers, which matplotlib defines once each."""
        return set(re.findall(r'<defs>\s*<path id="[^"]*" d="([^"]*)"', effects_chart(effects)))

    up, down, none = Effect("up", 1, 0.5, 1.5), Effect("down", -1, -1.5, -0.5), Effect("none", 0, -1, 1)
    assert forms(up, replace(up, label="again", group="neutral")) == forms(up)
    assert len(forms(up, down, none) - forms(up) - forms(down)) == 1
    assert forms(up) != forms(down)


def test_effects_are_coloured_by_their_interval() -> None:
    svg = effects_chart(
        [
            Effect("up", 1, 0.5, 1.5),
            Effect("down", -1, -1.5, -0.5),
            Effect("none", 0, -1, 1),
            Effect("n", 1, 0.5, 2, "neutral"),
        ]
    )
    lines = re.findall(r'<path d="[^"]*" clip-path[^>]*stroke: (var\(--\w+\))', svg)
    assert lines.count("var(--good)") == 1
    assert lines.count("var(--bad)") == 1
    assert [t for t in ("up", "down", "none") if f">{t}</text>" in svg] == ["up", "down", "none"]
