"""What is timed on a CPU is what a run computes there: small maps are multiplied, to equal numbers; others are not."""

from __future__ import annotations

import pytest
import torch

from kedge.planning.kernels import BACKWARD, CONVOLUTION, kernel

CPU = torch.device("cpu")
SHARED = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)  # stride, padding, dilation, transposed, output_padding, groups


def names_of(call) -> set[str]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    return {event.key for event in profile.key_averages()}


def tensors(side: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 168, side, side, generator=generator)
    return x, torch.randn(400, 168, 3, 3, generator=generator), torch.randn(400, generator=generator)


@pytest.mark.parametrize(("side", "small"), [(4, True), (8, False)])
def test_a_convolution_is_timed_as_it_is_computed(side: int, small: bool) -> None:
    x, weight, bias = tensors(side)
    call = kernel(CONVOLUTION.default, [x, weight, bias, *SHARED], {}, CPU)
    torch.testing.assert_close(call(), torch.conv2d(x, weight, bias, padding=1), rtol=1e-5, atol=1e-4)
    assert ("aten::convolution" not in names_of(call)) == small


@pytest.mark.parametrize(("side", "small"), [(4, True), (8, False)])
@pytest.mark.parametrize("wanted", [(True, False, False), (True, True, False)])
def test_its_backward_pass_too(side: int, small: bool, wanted: tuple[bool, bool, bool]) -> None:
    x, weight, _ = tensors(side)
    gradient = torch.ones(2, 400, side, side)
    expected = BACKWARD.default(gradient, x, weight, None, *SHARED, wanted)
    call = kernel(BACKWARD.default, [gradient, x, weight, None, *SHARED, wanted], {}, CPU)
    for got, known in zip(call(), expected, strict=False):
        if got is not None:
            torch.testing.assert_close(got, known, rtol=1e-5, atol=1e-3)
    assert ("aten::convolution_backward" not in names_of(call)) == small


def test_a_transposed_or_grouped_convolution_is_itself() -> None:
    x, weight, _ = tensors(4)
    grouped = (*SHARED[:5], 2)
    call = kernel(CONVOLUTION.default, [x, weight[:, :84].contiguous(), None, *grouped], {}, CPU)
    assert "aten::convolution" in names_of(call)
    turned = (*SHARED[:3], True, [0, 0], 1)
    call = kernel(CONVOLUTION.default, [x, weight[:168].transpose(0, 1).contiguous(), None, *turned], {}, CPU)
    assert "aten::convolution" in names_of(call)
