"""Devices by name: what there is, and one clear message for what there is not."""

from __future__ import annotations

import pytest
import torch

from kedge.devices import find_device


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """A machine with so many GPUs, as far as torch tells."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda") if count else None)

    return pretend


def test_auto_is_the_accelerator_if_there_is_one(gpus) -> None:
    gpus(0)
    assert find_device() == find_device("cpu") == torch.device("cpu")
    gpus(2)
    assert find_device("auto").type == "cuda"
    assert (find_device("cuda:1"), find_device("cpu")) == (torch.device("cuda:1"), torch.device("cpu"))


@pytest.mark.parametrize(
    ("count", "name", "message"),
    [
        (0, "cuda", r"no device 'cuda' on this machine \(torch .* finds no GPU.*; here are: cpu; auto"),
        (2, "cuda:2", r"no device 'cuda:2' on this machine; here are: cpu, cuda:0, cuda:1; auto"),
        (2, "mps", r"no device 'mps' on this machine; here are: cpu, cuda:0, cuda:1"),
        (0, "gpu", r"no device 'gpu': torch calls it 'cuda'; here are: cpu; auto takes the best"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(count: int, name: str, message: str, gpus) -> None:
    gpus(count)
    with pytest.raises(ValueError, match=message):
        find_device(name)


def test_a_plan_may_be_for_another_machine(gpus) -> None:
    gpus(0)
    assert find_device("cuda", must_exist=False).type == "cuda"
    with pytest.raises(ValueError, match="no device 'gpu'"):
        find_device("gpu", must_exist=False)


def test_one_training_after_another_runs_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one program: Accelerate's own state would keep the device of the first."""
    from kedge.training import processes

    monkeypatch.setattr(processes, "find_device", torch.device)
    assert [processes.Processes(name).device.type for name in ("cpu", "meta", "cpu")] == ["cpu", "meta", "cpu"]
