"""Two processes on the CPU (gloo) train as one: averaged gradients, equal weights, one writer, streams of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest
import torch
from torch import Tensor

from helpers.processes import environment
from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.evaluation.run_log import read_log
from kedge.runs.checkpoint import CheckpointStore
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.processes import Processes

# Imports everything once; then each line on its input is a pair of processes, forked from it.
LAUNCHER = """
import dataclasses, json, os, sys
from pathlib import Path
import torch
from kedge.config import load_config
from kedge.training.assemble import assemble
from kedge.training.processes import Processes
from kedge.runs.folder import RunFolder

def work(folder, mode):
    config = load_config(folder.config)
    processes = Processes("cpu")
    trainer = assemble(config, folder, processes, resume=mode == "resume")
    average, sent = processes.average_gradients, []
    if mode == "dies" and processes.index == 1:
        trainer.algorithm = dataclasses.replace(trainer.algorithm, interrupt=4, signal="SIGKILL")

    if mode == "one is told" and processes.index == 1:
        trainer.algorithm = dataclasses.replace(trainer.algorithm, interrupt=None)

    def watched(parameters):
        own = [p.grad.clone() for p in parameters]
        average(parameters)
        sent.append((own, [p.grad.clone() for p in parameters]))

    processes.average_gradients = watched
    outcome = trainer.fit()
    torch.save({
        "gradients": sent,
        "weights": [p.detach() for p in trainer.context.policy.trainable()],
        "prompts": trainer.context.prompts.state_dict(),
        "noise": trainer.context.generator.get_state(),
        "outcome": [outcome.step, outcome.ended],
        "reason": outcome.reason,
    }, folder.path / f"rank{processes.index}.pt")

for line in sys.stdin:
    folder, mode, port = json.loads(line)
    children = []
    for rank in ("0", "1"):
        child = os.fork()
        if not child:
            os.dup2(os.open(f"{folder}/errors{rank}.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
            os.environ.update(RANK=rank, LOCAL_RANK=rank)
            work(RunFolder(Path(folder)), mode)
            sys.exit()
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""
RunPair = Callable[..., tuple[list[int], list[str]]]
Launch = Callable[..., list[dict]]


@pytest.fixture(scope="module")
def run_pair() -> Iterator[RunPair]:
    """Runs two processes; gives their exit codes and error outputs."""
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        requests, answers = launcher.stdin, launcher.stdout

        def run(folder: Path, mode: str = "fresh") -> tuple[list[int], list[str]]:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = str(probe.getsockname()[1])
            print(json.dumps([str(folder), mode, port]), file=requests, flush=True)
            too_long = Timer(400, os.killpg, [launcher.pid, signal.SIGKILL])
            too_long.start()
            try:
                codes = json.loads(answers.readline() or "[]")
            finally:
                too_long.cancel()
            return codes, [(folder / f"errors{rank}.txt").read_text() for rank in range(2)]

        yield run
        requests.close()


@pytest.fixture(scope="module")
def launch(run_pair: RunPair) -> Launch:
    """Runs two processes that have to succeed; gives what each saved."""

    def run(folder: Path, mode: str = "fresh") -> list[dict]:
        codes, errors = run_pair(folder, mode)
        assert codes == [0, 0], "\n".join(errors)
        return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    return run


def prepare(folder: Path, **changes) -> Path:
    changes = {"training__accumulation": 2, "optimizer__ema": 0.9, **changes}
    RunFolder(folder).open(parse_config(recipe(**changes)), 2, "cpu")
    return folder


@pytest.fixture(scope="module")
def pair(launch, tmp_path_factory) -> tuple[Path, list[dict]]:
    folder = prepare(tmp_path_factory.mktemp("pair") / "run", watch__samples_every=3, watch__samples_count=2)
    return folder, launch(folder)


def test_gradients_are_the_mean_over_processes_and_weights_stay_equal(pair):
    _, (first, second) = pair
    for (own0, shared0), (own1, shared1) in zip(first["gradients"], second["gradients"], strict=True):
        for a, b, x, y in zip(own0, own1, shared0, shared1, strict=True):
            assert torch.equal(x, y)
            assert torch.allclose(x, (a + b) / 2, rtol=1e-6, atol=1e-9)
    # From the second step on (the first adapter gradient is zero where B = 0), each had something of its own to say.
    assert not torch.equal(first["gradients"][1][0][1], second["gradients"][1][0][1])
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], second["weights"], strict=True))
    assert not torch.equal(first["noise"], second["noise"])


def test_two_processes_do_what_one_does_with_both_their_batches(pair, tmp_path):
    """The losses of both processes, computed by one process from the same prompts and noise, give their gradient."""
    _, ranks = pair
    config = parse_config(recipe(training__accumulation=2))
    expected: list[Tensor] | None = None
    for rank in range(2):
        processes = Processes("cpu")
        processes.index, processes.count = rank, 2  # as assemble sees them
        trainer = assemble(config, RunFolder(tmp_path / str(rank)), _Alone(processes))
        (losses,) = trainer.algorithm.updates(trainer.context)
        for loss in losses:
            (loss.value / 2).backward()
        gradients = [p.grad for p in trainer.context.policy.trainable()]
        expected = gradients if expected is None else [a + b for a, b in zip(expected, gradients, strict=True)]
    shared = ranks[0]["gradients"][0][1]
    for a, b in zip(shared, expected or [], strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-8)


class _Alone:
    """The seat of one process in a pair, without the other."""

    def __init__(self, processes: Processes):
        self.index, self.count, self.device = processes.index, 2, processes.device
        self.main, self.gather = False, processes.gather


def test_only_the_first_process_writes(pair):
    folder, _ = pair
    log = read_log(folder / "metrics.jsonl")
    assert [line["step"] for line in log] == list(range(1, 7))
    assert [line["total_queries"] for line in log] == [8 * step for step in range(1, 7)]  # 2 × 2 on either
    assert json.loads((folder / "env.json").read_text())["processes"] == 2
    assert len(list((folder / "samples").iterdir())) == 3


def test_a_resumed_pair_equals_an_uninterrupted_one(pair, launch, tmp_path):
    whole, _ = pair
    climb = {"name": "helpers.training_world:Climb", "interrupt": 2}
    folder = prepare(tmp_path / "run", algorithm=climb)
    assert [r["outcome"] for r in launch(folder)] == [[3, "interrupted"]] * 2
    prepare(folder)
    assert [r["outcome"] for r in launch(folder, "resume")] == [[6, "finished"]] * 2
    one, other = (CheckpointStore(path / "checkpoints").latest()[1] for path in (whole, folder))
    assert all(
        torch.equal(a, b) for a, b in zip(one["optimizer"]["weights"], other["optimizer"]["weights"], strict=True)
    )
    assert all(torch.equal(a["noise"], b["noise"]) for a, b in zip(one["processes"], other["processes"], strict=True))


def test_a_signal_to_one_ends_both(launch, tmp_path):
    climb = {"name": "helpers.training_world:Climb", "interrupt": 2}
    ranks = launch(prepare(tmp_path / "run", algorithm=climb), "one is told")
    assert [rank["outcome"] for rank in ranks] == [[3, "interrupted"]] * 2
    assert all(rank["reason"] in signal.Signals.__members__ for rank in ranks)  # the command exits by it


def test_a_pairs_checkpoint_needs_a_pair(pair, tmp_path):
    folder, _ = pair
    config = parse_config(recipe(training__accumulation=2, optimizer__ema=0.9))
    with pytest.raises(ValueError, match="written by 2 processes, this run has 1"):
        assemble(config, RunFolder(folder), Processes("cpu"), resume=True)


def test_when_one_process_dies_the_other_stops_and_the_checkpoint_is_good(pair, launch, run_pair, tmp_path):
    folder = prepare(tmp_path / "run", watch__samples_every=3, watch__samples_count=2)
    codes, errors = run_pair(folder, "dies")  # the second is killed in its fifth update
    assert codes[1] == -9
    assert codes[0] == 1
    assert "ProcessLost: process 0 of 2 can no longer reach the others" in errors[0]
    assert CheckpointStore(folder / "checkpoints").steps() == [2, 4]
    resumed = launch(folder, "resume")
    for a, b in zip(pair[1][0]["weights"], resumed[0]["weights"], strict=True):
        assert torch.equal(a, b)


HYBRID = {"name": "hybrid", "surrogate": "helpers.training_world:lightness", "min_count": 2}
SHARED: dict[str, dict] = {
    "hybrid, held": {**HYBRID, "target": {"nats": 0.01}},
    "hybrid, ridge": {**HYBRID, "surrogate": "ridge(clipscore@emoji)", "target": {"nats": 0.01}},
    "stages": {"name": "rocm", "anchor": "auto"},
    "rlcm, held": {"name": "rlcm", "normalise": "batch", "target": {"nats": 0.01}, "last_step": "pathwise"},
    "refl": {"name": "refl"},
    "soft_q": {"name": "soft_q"},
}


QUICK = "rlcm, held"  # it shares advantages and β, and has a gradient of the last step; the others are for -m slow


@pytest.mark.parametrize(
    "algorithm", [pytest.param(SHARED[x], id=x, marks=[pytest.mark.slow] * (x != QUICK)) for x in SHARED]
)
def test_two_processes_learn_one_thing(tmp_path, launch: Launch, algorithm: dict):
    """Each sees its own samples; weights, β and what explains the reward are those of all; interrupted, too."""
    whole, parts = (prepare(tmp_path / name, algorithm=algorithm, training__steps=4) for name in ("whole", "parts"))
    first, second = launch(whole)
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], second["weights"], strict=True))
    newest = CheckpointStore(whole / "checkpoints").latest()
    assert newest is not None
    one, other = (plain(part["algorithm"]) for part in newest[1]["processes"])
    assert one == other
    log = read_log(whole / "metrics.jsonl")
    if "target" in algorithm or "anchor" in algorithm:
        assert len({line["beta"] for line in log}) == 4
    prepare(parts, algorithm=algorithm, training__steps=2)
    launch(parts)
    prepare(parts, algorithm=algorithm, training__steps=4)
    resumed, _ = launch(parts, "resume")
    assert all(torch.equal(a, b) for a, b in zip(first["weights"], resumed["weights"], strict=True))
    assert [line["loss"] for line in read_log(parts / "metrics.jsonl")] == [line["loss"] for line in log]


def plain(value):
    """A checkpoint's tensors as lists, so that states can be compared."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, Tensor) else value
