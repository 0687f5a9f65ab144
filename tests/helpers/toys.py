"""A generator small enough for finite differences in float64: the real step arithmetic around a tiny network."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from diffusers import DDIMScheduler, LCMScheduler
from torch import Tensor, nn

from helpers.adapter_switch import AdapterSwitch
from kedge.algorithms.base import Context
from kedge.gaussian import Gaussian
from kedge.policies.base import Backprop, Conditioning
from kedge.policies.families.diffusion import ddim_schedule
from kedge.policies.families.lcm import consistency_schedule

NOISE_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class LowRankLinear(nn.Module):
    """x W + s x A B, with the second term on a switch; W is frozen, B = 0 at first."""

    def __init__(self, inputs: int, outputs: int, rank: int, dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs, dtype=dtype) / math.sqrt(inputs), requires_grad=False)
        self.a = nn.Parameter(torch.randn(inputs, rank, dtype=dtype) / math.sqrt(rank))
        self.b = nn.Parameter(torch.zeros(rank, outputs, dtype=dtype))

    def forward(self, x: Tensor, adapted: bool) -> Tensor:
        base = x @ self.weight
        return base + x @ self.a @ self.b if adapted else base


class ToyPolicy(AdapterSwitch):
    """A :class:`kedge.policies.base.Policy` over latents ``[3, 2, 2]``, which decode to 2×2 pictures.

    Args:
        kind: ``lcm`` or ``diffusion``: whose step constants to use.
        drift: standard deviation of the adapter's B; 0 leaves it at its initialisation.

    Attributes:
        calls: how often the network ran, as ``policy`` and as ``reference``; ``decode``; ``encode`` by prompt.
    """

    latent_shape = (3, 2, 2)
    device = torch.device("cpu")

    def __init__(
        self,
        kind: str = "lcm",
        steps: int = 4,
        *,
        drift: float = 0.3,
        seed: int = 0,
        rank: int = 2,
        eta: float = 1.0,
        dtype: torch.dtype = torch.float64,
    ):
        self.steps, self.dtype = steps, dtype
        if kind == "lcm":
            self.schedule = consistency_schedule(LCMScheduler(**NOISE_SCHEDULE), steps, dtype)
        else:
            scheduler = DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, steps_offset=1)
            self.schedule = ddim_schedule(scheduler, steps, eta, dtype)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            size = math.prod(self.latent_shape)
            self.layers = nn.ModuleList([LowRankLinear(size + 3, 8, rank, dtype), LowRankLinear(8, size, rank, dtype)])
            for layer in self.layers:
                layer.b.data.normal_(std=drift)
        self.calls: Counter[str] = Counter()

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Two numbers for each prompt, from its letters."""
        self.calls.update(f"encode {prompt}" for prompt in prompts)
        seeds = (torch.Generator().manual_seed(zlib.crc32(prompt.encode())) for prompt in prompts)
        return Conditioning({"words": torch.stack([torch.randn(2, generator=g, dtype=self.dtype) for g in seeds])})

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        self.calls["policy" if self._adapted else "reference"] += 1
        level = torch.full((len(x), 1), k / self.steps, dtype=x.dtype)
        hidden = torch.tanh(self.layers[0](torch.cat([x.flatten(1), level, cond.tensors["words"]], 1), self._adapted))
        noise = x + 0.1 * self.layers[1](hidden, self._adapted).view_as(x)
        return self.schedule[k].gaussian(x, noise)

    def decode(self, x0: Tensor) -> Tensor:
        self.calls["decode"] += 1
        return torch.sigmoid(x0)

    def trainable(self) -> Iterable[nn.Parameter]:
        return [parameter for layer in self.layers for parameter in (layer.a, layer.b)]


class ToyReward:
    """A smooth function of the picture and of how long the prompt is."""

    name, differentiable = "toy", True

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        length = torch.tensor([len(prompt) for prompt in prompts], dtype=images.dtype)
        weight = torch.linspace(-1, 2, images[0].numel(), dtype=images.dtype)
        return torch.sin(3 * images.flatten(1) + length[:, None]) @ weight


class Cycle:
    """A prompt source that goes round."""

    def __init__(self, prompts: Sequence[str]):
        self.prompts, self.position = list(prompts), 0

    def take(self, n: int) -> list[str]:
        taken = [self.prompts[(self.position + i) % len(self.prompts)] for i in range(n)]
        self.position += n
        return taken


FULL = Backprop()
PROMPTS = ("cat", "two dogs", "a fox in the snow")


def toy_context(
    policy: ToyPolicy,
    *,
    batch_size: int = 3,
    accumulation: int = 1,
    backprop: Backprop = FULL,
    seed: int = 0,
) -> Context:
    """What a trainer would lend to an algorithm."""
    return Context(
        policy=policy,
        reward=ToyReward(),
        prompts=Cycle(PROMPTS),
        generator=torch.Generator().manual_seed(seed),
        backprop=backprop,
        batch_size=batch_size,
        accumulation=accumulation,
    )
