"""Every image that is scored for training is counted, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import training_world
from kedge.config import parse_config
from kedge.config.workload import workload_of
from kedge.evaluation.run_log import read_log
from kedge.planning.plan import plan
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.meter import Spent, forget_peak, peak_memory, spent
from kedge.training.processes import Processes
from kedge.training.run import train

# With 2 × 3 samples for an optimizer step: the settings, and the queries of its first six steps.
ALGORITHMS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "rocm": ({"name": "rocm"}, [6, 6, 6, 6, 6, 6]),
    "rlcm": ({"name": "rlcm"}, [6, 6, 6, 6, 6, 6]),
    "rlcm, inner epochs": ({"name": "rlcm", "epochs": 2}, [6, 0, 6, 0, 6, 0]),
    "ddpo, minibatches": ({"name": "ddpo", "minibatches": 2, "epochs": 2}, [12, 0, 0, 0, 12, 0]),
    "ddpo, other chunks": ({"name": "ddpo", "sample_batch_size": 4}, [6, 6, 6, 6, 6, 6]),
    "dpok": ({"name": "dpok", "policy_steps": 3, "value_batch_size": 4}, [6, 0, 0, 6, 0, 0]),
    "d3po, pairs": ({"name": "d3po", "epochs": 2}, [6, 0, 6, 0, 6, 0]),
    "d3po, votes": ({"name": "d3po", "votes": "votes.jsonl"}, [0, 0, 0, 0, 0, 0]),
    "of the user's own": ({"name": "helpers.training_world:Climb", "updates_per_batch": 2}, [6, 6, 6, 6, 6, 6]),
}
SEEN: list[int] = []


def redness(images: Tensor, prompts: list[str]) -> Tensor:
    """Red, and it keeps its own count."""
    SEEN.append(len(images))
    return training_world.redness(images, prompts)


redness.differentiable = True  # type: ignore[attr-defined]


def config_for(settings: dict[str, Any], **changes: Any) -> Any:
    reward = f"{__name__}:redness"
    return parse_config(recipe_of(settings, reward=reward, **changes))


def recipe_of(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return training_world.recipe(algorithm=settings, training__accumulation=3, **changes)


@pytest.fixture(autouse=True)
def votes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("votes.jsonl").write_text(
        "\n".join(json.dumps({"prompt": "cat", "seed": i, "preferred": 1}) for i in range(3))
    )


def log_of(config: Any, folder: Path) -> list[dict[str, float | None]]:
    run_folder = RunFolder(folder)
    run_folder.open(config, 1, "cpu")
    SEEN.clear()
    assemble(config, run_folder, Processes("cpu")).fit()
    return read_log(run_folder.metrics)


@pytest.mark.parametrize(("settings", "expected"), ALGORITHMS.values(), ids=ALGORITHMS)
def test_queries_are_the_images_that_the_reward_saw(settings, expected, tmp_path):
    config = config_for(settings)
    log = log_of(config, tmp_path / "run")
    assert [line["queries"] for line in log][:6] == expected
    assert [line["total_queries"] for line in log][:6] == [sum(expected[: i + 1]) for i in range(6)]
    assert spent(log).queries == sum(SEEN)

    work = workload_of(config)
    assert work.batches(6) * work.queries == sum(SEEN)
    assert f"reward queries: {sum(SEEN)} on each process" in list(plan(config))


def test_watching_is_not_counted(tmp_path):
    held_out = {"source": "animals-45", "count": 4}
    watching = {"watch__evaluate_every": 2, "watch__held_out": held_out, "watch__samples_every": 2}
    config = config_for({"name": "rlcm"}, **watching)
    log = log_of(config, tmp_path / "run")
    assert spent(log).queries == 36
    # Before the first step, then after every second: four prompts, each drawn from several noises.
    assert sum(SEEN) == 36 + 4 * 4 * config.watch.pictures


def test_the_card_and_the_log_say_what_it_took(tmp_path):
    train(config_for({"name": "rlcm"}), tmp_path / "run")
    log = read_log(RunFolder(tmp_path / "run").metrics)
    assert all((line["seconds"] or 0) > 0 and (line["peak_memory_mb"] or 0) > 50 for line in log)
    assert f"It took {spent(log)}." in RunFolder(tmp_path / "run").card.read_text()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can only be forgotten on Linux")
def test_what_ran_before_in_the_same_process_is_not_counted():
    cpu = torch.device("cpu")
    forget_peak(cpu)
    before = peak_memory(cpu)
    filled = torch.ones(100_000_000, dtype=torch.uint8)
    assert peak_memory(cpu) >= before + 50_000_000
    del filled
    forget_peak(cpu)
    assert peak_memory(cpu) < before + 50_000_000


def test_an_account_in_words():
    assert str(spent([])) == str(Spent(0, 0.0, 0.0))
    lines = [{"step": 1, "total_queries": 64, "seconds": 59.6, "peak_memory_mb": 900.4}, {"step": 2, "seconds": 60.0}]
    assert str(spent(lines)) == "64 reward queries, 2 min 00 s, 900 MB at most"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system tells less")
def test_memory_is_not_that_of_the_process_that_started_this_one() -> None:
    """rusage's is handed down to a child."""
    ballast = torch.zeros(100_000_000)
    code = "import torch; from kedge.training.meter import peak_memory as p; print(p(torch.device('cpu')))"
    before = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert ballast.sum() == 0
    assert before < peak_memory(torch.device("cpu")) - 50_000_000
