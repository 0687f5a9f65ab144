"""``kedge sweep --launcher ray``: the same runs, step by step, on a Ray cluster of this machine's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.training_world import recipe
from kedge import __version__
from kedge.cli.sweep import _share
from kedge.workflows.runner.ray_launcher import _check_room, one_run

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="NO RAY: its launcher was NOT tested. pip install ray")
COMMAND = [sys.executable, "-m", "kedge", "sweep", "my.yaml"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose name is not plain, with a recipe."""
    folder = tmp_path / "Läufe 1"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "my.yaml").write_text(yaml.safe_dump(recipe(training__steps=2, watch__samples_every=0)))
    return folder


def numbers(run: Path) -> list[dict[str, Any]]:
    """The log without what a clock or a memory says."""
    lines = []
    for text in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        lines.append({key: value for key, value in line.items() if "seconds" not in key and "memory" not in key})
    return lines


def test_options_that_do_not_go_together_are_refused() -> None:
    assert _share("here", None, None) is None
    with pytest.raises(ValueError, match=r"--launcher must be here or ray, not 'rya'\. Did you mean 'ray'\?"):
        _share("rya", None, None)
    with pytest.raises(ValueError, match="add --launcher ray"):
        _share("here", 2.0, None)
    if find_spec("ray") is None:
        with pytest.raises(ValueError, match="Ray is not installed here: pip install ray"):
            _share("ray", None, None)


def test_what_no_node_could_give_is_refused_instead_of_waited_for() -> None:
    """Of two nodes of one GPU each none has two, nor has the one with a GPU eight CPUs."""
    _check_room([{"CPU": 2.0}], 2, 0)
    with pytest.raises(ValueError, match=r"1 GPUs \(--gpus\), but no node of Ray has both: they have 2 and 0"):
        _check_room([{"CPU": 2.0}], 1, 1)
    two = [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 8.0}]
    _check_room(two, 2, 1)
    _check_room(two, 8, 0)
    for cpus, gpus in ((2, 2), (8, 1), (9, 0)):
        with pytest.raises(ValueError, match="they have 2 and 1; 8 and 0"):
            _check_room(two, cpus, gpus)


def test_a_node_without_the_shared_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="all nodes have to share it"):
        one_run(["--version"], str(tmp_path / "elsewhere"), str(tmp_path / "log"))
    assert one_run(["--version"], str(tmp_path), str(tmp_path / "logs" / "a.log")) == 0
    assert (tmp_path / "logs" / "a.log").read_text().strip() == __version__


@needs_ray
def test_runs_on_ray_are_those_of_here(place: Path) -> None:
    axes = ["algorithm.beta=0.1,5", "training.seed=0..1"]
    subprocess.run([*COMMAND, *axes, "--out", "here"], check=True)
    result = subprocess.run(
        [*COMMAND, *axes, "--out", "there", "--launcher", "ray"], check=True, capture_output=True, text=True
    )
    assert "runs 5 of 5" in result.stdout
    for name in ("beta-0.1_seed-0", "beta-0.1_seed-1", "beta-5_seed-0", "beta-5_seed-1"):
        assert numbers(place / "there" / "runs" / name) == numbers(place / "here" / "runs" / name)
    assert (place / "there" / "table.csv").read_bytes() == (place / "here" / "table.csv").read_bytes()


@needs_ray
def test_an_interrupted_sweep_saves_its_runs_and_goes_on(place: Path) -> None:
    command = [*COMMAND, "training.steps=200", "training.seed=0..1", "--out", "long", "--launcher", "ray"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    logs = place / "long" / "runs"
    while not any(log.stat().st_size > 2000 for log in logs.glob("seed-*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Go on with the same command" in said
    assert any((run / "checkpoints").is_dir() for run in logs.glob("seed-*"))
    subprocess.run(command, check=True)
    for run in logs.glob("seed-*/"):
        assert [line["step"] for line in numbers(run)] == list(range(1, 201))
