"""A convolution that multiplies small maps is the convolution: its maps, its gradients, and where it steps in."""

from itertools import product

import pytest
import torch
from torch import nn

from kedge.policies.small_maps import KERNEL, PLACES, SmallMapConv2d, Steps, multiplies, multiply_small_maps

SHAPES = {
    "3 × 3": {"kernel_size": 3, "padding": 1},
    "1 × 1": {"kernel_size": 1},
    "halving": {"kernel_size": 3, "padding": 1, "stride": 2},
    "uneven": {"kernel_size": (3, 1), "padding": (1, 0), "stride": (1, 2)},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "no bias": {"kernel_size": 3, "padding": 1, "bias": False},
}


def convolutions(**shape) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A layer, and the same layer told to multiply up to 40 places."""
    torch.manual_seed(0)
    plain, network = nn.Conv2d(168, 400, **shape), nn.Sequential(nn.Conv2d(168, 400, **shape))
    network[0].load_state_dict(plain.state_dict())
    multiply_small_maps(network)
    assert type(network[0]) is SmallMapConv2d
    return plain, network[0]


@pytest.mark.parametrize(("name", "height", "batch"), product(SHAPES, (3, 4), (2, 3)))
def test_maps_and_gradients_are_those_of_the_convolution(name, height, batch):
    results = []
    for layer in convolutions(**SHAPES[name]):
        x = torch.randn(batch, 168, height, 3, generator=torch.Generator().manual_seed(1))
        x.requires_grad_(True)
        y = layer(x)
        y.sin().sum().backward()
        results.append((y, x.grad, layer.weight.grad))
    steps = Steps(layer.stride, layer.padding, layer.dilation)
    assert multiplies(x, layer.weight, steps)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (torch.zeros(2, 168, 4, 4), True),
        (torch.zeros(2, 168, 7, 3), False),  # 42 places are more than a tenth of 400 channels
        (torch.zeros(1, 168, 4, 4), False),  # a single small map is not oneDNN's
        (torch.zeros(2, 168, 4, 4, dtype=torch.bfloat16), False),
    ],
)
def test_it_multiplies_where_that_is_faster(x, expected):
    layer = convolutions(kernel_size=3, padding=1)[1].to(x.dtype)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        layer(x)
    names = {event.key for event in profile.key_averages()}
    assert ("aten::convolution" not in names) == expected
    assert PLACES * layer.out_channels == 40


def test_what_it_does_not_multiply_is_as_before():
    """Kernels in another order, unbatched maps, autocast, and graphs that are traced for any batch."""
    plain, layer = convolutions(kernel_size=3, padding=1)
    x = torch.randn(2, 168, 3, 3)
    ordered = layer.to(memory_format=torch.channels_last)
    steps = Steps((1, 1), (1, 1), (1, 1))
    assert not multiplies(x, ordered.weight, steps)
    layer = convolutions(kernel_size=3, padding=1)[1]
    assert multiplies(x, layer.weight, steps)
    torch.testing.assert_close(layer(x[0]), plain(x[0]))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    traced = torch.jit.trace(layer, x)
    torch.testing.assert_close(traced(x.repeat(2, 1, 1, 1)), plain(x.repeat(2, 1, 1, 1)))
    assert not nn.Conv2d(16, 1280, 1).weight.numel() >= KERNEL  # a LoRA's


def test_what_is_no_plain_convolution_is_left_alone():
    grouped, circular = nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3, padding_mode="circular")
    named = nn.Conv2d(8, 8, 3, padding="same")
    multiply_small_maps(nn.ModuleList([grouped, circular, named]))
    assert {type(layer) for layer in (grouped, circular, named)} == {nn.Conv2d}
