"""What a terminal shows: nothing cut, nothing silent, times in words."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from kedge.config import load_config, preset
from kedge.evaluation.rendering import for_width, plain
from kedge.evaluation.statistics import Interval
from kedge.evaluation.tables import Cell, Table
from kedge.training.progress import Bar
from kedge.units import duration
from kedge.waiting import waiting
from kedge.workflows.banner import banner


def table(columns: int) -> Table:
    """As ``kedge compare`` makes them: long labels, and numbers with their intervals."""
    headers = tuple(f"column {i} (paired, 95 %)" for i in range(columns))
    rows = []
    for row in range(3):
        cells = [Cell(Interval(11.64 + i, 11.31 + i, 11.97 + i, 66, 0.95), style="signed") for i in range(columns)]
        rows.append((f"PickScore {row} (trained on)", tuple(cells)))
    return Table("reward", headers, tuple(map(str, range(columns))), tuple(rows), title="66 prompts", note="A note.")


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40])
@pytest.mark.parametrize("columns", [1, 4, 7])
def test_no_number_is_cut_however_narrow_the_terminal(width, columns):
    out = io.StringIO()
    shown = table(columns)
    Console(file=out, width=width, color_system=None).print(for_width(shown, width))
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for label, cells in shown.rows:
        assert label in text or width == 40  # labels may go on in a further line, numbers never
        for cell in cells:
            assert plain(cell) in text


def test_a_table_that_fits_stays_a_table():
    assert for_width(table(4), 200).row_count == 3
    assert for_width(table(4), 80).row_count == 3 * 5


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.04 s"),
        (7.26, "7.3 s"),
        (40, "40 s"),
        (720, "12 min"),
        (7740, "2 h 9 min"),
        (7200, "2 h"),
        (7199.9, "2 h"),
        (32 * 3600, "32 h"),
        (3 * 86400 + 3 * 3600, "3 d 3 h"),
        (21438 * 3600, "2.4 years"),
    ],
)
def test_durations_are_words(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("columns", [80, 60])
def test_the_bar_shows_the_time_left_and_all_numbers(columns, monkeypatch):
    out = io.StringIO()
    bar = Bar(Console(file=out, width=columns, force_terminal=True, color_system=None))
    bar.start(0, 1000)
    monkeypatch.setattr(bar, "_clock", time.monotonic() - 94.0)
    numbers = {"reward": 21.251, "divergence": 0.0123, "held_out/helpers.training_world:redness": 0.5}
    bar.update(12, numbers | {"peak_memory_mb": 7238.0})
    bar.close()
    text = out.getvalue()
    assert "7.2 GB" in " ".join(text.split())
    assert "12/1000" in text
    assert "2 h 9 min left" in text
    assert "divergence 0.0123" in " ".join(text.split())
    assert "…" not in text


def test_a_line_tells_what_takes_long_and_stops_when_it_is_over():
    out = io.StringIO()
    with waiting("loading emoji-lcm", out, every=0.02):
        deadline = time.monotonic() + 5
        while out.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = out.getvalue().splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("loading emoji-lcm · ") and line.endswith("so far") for line in lines)
    time.sleep(0.1)
    assert out.getvalue().splitlines() == lines


def test_the_other_processes_say_nothing(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    out = io.StringIO()
    with waiting("loading", out, every=0.01):
        time.sleep(0.05)
    assert not out.getvalue()


def test_the_banner_tells_what_will_be_trained_before_anything_loads():
    config = load_config(preset("emoji-rocm").path, ["training.steps=60", "optimizer.lr=100"])
    text = "\n".join(banner(config, Path("runs/my")))
    for words in (
        "runs/my",
        "emoji-lcm (lcm, 4 steps)",
        "pickscore@emoji, by rocm, divergence kl",
        "60 steps",
        "seed 0",
    ):
        assert words in text
    assert "optimizer.lr=100 is very large" in text


def test_presets_can_be_searched_and_are_wrapped(monkeypatch, capsys):
    import sys

    from kedge.cli.presets import presets_command

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    presets_command(["sdxl"])
    text = capsys.readouterr().out
    assert "rocm-sdxl-16gb" in text
    assert "emoji-rocm\n" not in text
    assert max(map(len, text.splitlines())) <= 80
    with pytest.raises(ValueError, match="no preset is about 'quantum'"):
        presets_command(["quantum"])
