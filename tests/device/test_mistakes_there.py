"""What must not pass on another device, so that the tests beside this one mean something."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.gpu


def test_operands_on_two_devices_are_refused(device: torch.device) -> None:
    there, local = torch.ones(3, device=device), torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        there + local
    with pytest.raises(RuntimeError, match="same device"):
        torch.nn.functional.linear(there, torch.ones(2, 3))
    assert (there + torch.tensor(1.0)).device == there.device  # a number may come from anywhere


def test_an_array_is_not_made_of_what_is_elsewhere(device: torch.device) -> None:
    with pytest.raises(TypeError, match="numpy"):
        torch.ones(3, device=device).numpy()


def test_views_and_gradients_stay_there(device: torch.device) -> None:
    x = torch.zeros(2, 3, device=device)
    x[1, 2] = 5
    assert x.cpu()[1].tolist() == [0, 0, 5]
    w = torch.ones(3, device=device, requires_grad=True)
    (x @ w).sum().backward()
    assert w.grad is not None
    assert w.grad.device == x.device
    assert w.grad.tolist() == [0, 0, 5]
