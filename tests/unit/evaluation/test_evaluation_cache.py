"""A run's evaluations are kept by what was asked and by what answered; small ones do not push out large ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.evaluation import Evaluation
from kedge.files import locked
from kedge.rewards.user import load_callable
from kedge.training.run import train
from kedge.workflows.compare import compare
from kedge.workflows.evaluate import evaluate

PROMPTS = ["a hen", "a fox", "an owl", "a cow"]
CODE = "CALLS = []\ndef calm(images, prompts):\n    CALLS.append(len(images))\n    return {} * images.mean((1, 2, 3))\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache") / "run"
    train(parse_config(recipe(training__steps=2)), folder)
    return folder


def mean(run: Path, metric: str, prompts: list[str] = PROMPTS, **changes) -> float:
    result = evaluate([str(run)], metric, prompts, base=False, encoder="none", device="cpu", **changes)
    return float(result.evaluations[0].scores[metric].mean())


def records(run: Path) -> dict[str, int]:
    """Name → number of samples."""
    sizes = {}
    for path in (run / "evaluation").glob("*.json"):
        if path.stem != "comparison":
            sizes[path.stem] = len(Evaluation.load(path))
    return sizes


def test_an_edited_reward_is_measured_again_and_an_unchanged_one_is_not(trained, tmp_path):
    file = tmp_path / "own.py"
    metric = f'"{file}:calm"'
    file.write_text(CODE.format(1))
    first = mean(trained, metric)
    stored = next((trained / "evaluation").glob("*.json"))
    written = stored.stat().st_mtime_ns
    assert mean(trained, metric) == first
    assert stored.stat().st_mtime_ns == written  # found again
    file.write_text(CODE.format(100))
    assert mean(trained, metric) == pytest.approx(100 * first)


def test_a_smaller_evaluation_stands_beside_a_larger_one_and_both_are_found_again(trained):
    metric = "helpers.training_world:darkness"
    large = mean(trained, metric, samples=2, fresh=True)
    assert records(trained)["tuned"] == 8
    small = mean(trained, metric, prompts=PROMPTS[:1])
    sizes = records(trained)
    assert sizes["tuned"] == 8
    assert sorted(sizes.values())[0] == 1
    times = {path: path.stat().st_mtime_ns for path in (trained / "evaluation").glob("*.json")}
    assert (mean(trained, metric, samples=2), mean(trained, metric, prompts=PROMPTS[:1])) == (large, small)
    assert times == {path: path.stat().st_mtime_ns for path in (trained / "evaluation").glob("*.json")}
    mean(trained, metric, samples=3)
    assert records(trained)["tuned"] == 12


def test_two_evaluations_of_one_run_at_once_take_turns_and_measure_once(trained, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("kedge.files.POLL", 0.01)
    file = tmp_path / "slow.py"
    file.write_text(CODE.format(3))
    metric, numbers = f'"{file}:calm"', list[float]()
    with locked(trained / "evaluation" / ".lock") as ours:
        assert ours
        both = [threading.Thread(target=lambda: numbers.append(mean(trained, metric))) for _ in range(2)]
        for thread in both:
            thread.start()
        while len(caplog.records) < 2:
            time.sleep(0.01)
        assert numbers == []
    for thread in both:
        thread.join()
    assert numbers[0] == numbers[1]
    assert sum(load_callable(f"{file}:calm").__globals__["CALLS"]) == len(
        PROMPTS
    )  # the second one found what the first had measured


def test_the_report_tells_of_the_comparison_that_was_just_made(trained):
    metric = "helpers.training_world:darkness"
    options = {"encoder": "none", "device": "cpu"}
    compare(str(trained), "base", metric, PROMPTS, samples=4, **options)
    small = compare(str(trained), "base", metric, PROMPTS[:2], samples=1, **options)
    assert len(small.ours) == len(small.theirs) == 2
    assert (records(trained)["tuned"], records(trained)["base"]) == (16, 16)
    assert small.report.is_file()


def test_damaged_and_mismatched_records_do_not_end_a_report(trained):
    from kedge.evaluation.report import write_report

    metric = "helpers.training_world:darkness"
    compare(str(trained), "base", metric, PROMPTS, samples=4, encoder="none", device="cpu")
    base = trained / "evaluation" / "base.json"
    data = json.loads(base.read_text())
    base.write_text(json.dumps({**data, "seed": 99}))
    assert "Not evaluated yet" in write_report(trained).read_text()
    base.write_text("{")
    assert mean(trained, metric, samples=4) is not None
    compare(str(trained), "base", metric, PROMPTS, samples=4, encoder="none", device="cpu")
    assert Evaluation.load(base).seed == 0


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Inside, nothing can be written there: by a mount for root, who may write whatever a mode says."""
    if os.geteuid() == 0:
        if shutil.which("mount") is None or subprocess.run(["mount", "--bind", folder, folder]).returncode:
            pytest.skip("mounting is not allowed here")
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    places = [folder, *filter(Path.is_dir, folder.rglob("*"))]
    for place in places if os.geteuid() else ():
        place.chmod(0o500)
    try:
        yield
    finally:
        for place in places if os.geteuid() else ():
            place.chmod(0o700)
        if os.geteuid() == 0:
            subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.name != "posix", reason="modes and mounts as POSIX has them")
def test_a_run_on_a_read_only_disk_is_measured_but_not_compared(tmp_path, caplog):
    run = tmp_path / "run"
    train(parse_config(recipe(training__steps=1)), run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with read_only(run):
        assert mean(run, "helpers.training_world:darkness") < 1
        assert f"{run} is read-only: the evaluation is not kept" in caplog.text
        with pytest.raises(ValueError, match=r"report\.html cannot be written: .* is read-only"):
            compare(str(run), metrics="helpers.training_world:darkness", prompts=PROMPTS, encoder="none")
        with pytest.raises(OSError, match=r"Read-only|Permission|cannot be written"):
            train(parse_config(recipe(training__steps=2)), run, resume=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
