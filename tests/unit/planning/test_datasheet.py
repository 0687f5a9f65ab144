"""What a device would take that is not here: by its data sheet, said to be computed."""

from __future__ import annotations

import pytest
import torch

from kedge.planning.datasheet import CALL, H100, REACHED, seconds_on
from kedge.planning.operations import OperationCost, counted


@pytest.mark.parametrize(("dtype", "rate"), [(torch.bfloat16, H100.half), (torch.float32, H100.single)])
def test_a_large_product_takes_its_arithmetic_and_its_traffic(dtype, rate) -> None:
    a, b = (torch.empty(8192, 8192, dtype=dtype, device="meta") for _ in range(2))
    traffic = 3 * a.numel() * a.element_size()
    expected = (2 * 8192**3 / rate + traffic / H100.bandwidth) / REACHED
    assert seconds_on(H100, counted(lambda: a @ b)) == pytest.approx(expected)


def test_many_small_operations_take_as_long_as_they_take_to_start() -> None:
    x = torch.empty(2, device="meta")
    cost = counted(lambda: [x + 1 for _ in range(50)])
    assert seconds_on(H100, cost) == pytest.approx(50 * CALL)
    assert seconds_on(H100, cost * 3) == pytest.approx(150 * CALL)


def test_several_tensors_in_a_list_are_seen_to_be_half_precision() -> None:
    parts = [torch.empty(4096, 4096, dtype=torch.float16, device="meta") for _ in range(64)]
    cost = counted(lambda: torch.cat(parts))
    assert seconds_on(H100, cost) == pytest.approx(max(CALL, cost.traffic / H100.bandwidth / REACHED))


def test_nothing_takes_no_time() -> None:
    assert seconds_on(H100, OperationCost()) == 0
