"""A tiny consistency policy with a pretrained base and an adapter, for the laws of the policy-gradient methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from helpers.adapter_switch import AdapterSwitch
from helpers.toys import Cycle
from kedge.algorithms.base import Algorithm, Context
from kedge.gaussian import Gaussian
from kedge.policies.base import Backprop, Conditioning

PROMPTS = ("cat", "dog", "fox")
TARGETS = torch.tensor([-0.8, 0.0, 0.8], dtype=torch.float64)


PRETRAINED: dict[tuple[torch.dtype, int], dict[str, Tensor]] = {}  # each base is trained once


class TinyLCM(AdapterSwitch):
    """K = 4 steps over latents ``[3, 1, 1]``: one pixel. x̃_0 = base(x_k, k, c) + adapter(x_k, k, c)."""

    steps = 4
    latent_shape = (3, 1, 1)
    device = torch.device("cpu")

    def __init__(self, dtype: torch.dtype = torch.float64, train: int = 150):
        self.dtype = dtype
        self.alpha = torch.tensor([1.0, 0.9, 0.65, 0.35, 0.07], dtype=torch.float64).to(dtype)  # α_k, k = 0..4
        self.sigma = (1 - self.alpha**2).sqrt()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.base, self.adapter = (nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)) for _ in range(2))
            nn.init.zeros_(self.adapter[-1].weight)
            nn.init.zeros_(self.adapter[-1].bias)
            self.base.to(dtype), self.adapter.to(dtype)
            if (dtype, train) not in PRETRAINED:
                self._pretrain(train)
                PRETRAINED[dtype, train] = deepcopy(self.base.state_dict())
        self.base.load_state_dict(PRETRAINED[dtype, train])
        self.base.requires_grad_(False)

    def _pretrain(self, updates: int) -> None:
        optimizer = torch.optim.Adam(self.base.parameters(), lr=2e-2)
        for _ in range(updates):
            cond = self.encode([PROMPTS[int(i)] for i in torch.randint(3, (128,))])
            x0 = TARGETS.to(self.dtype)[cond.tensors["index"]].reshape(-1, 1, 1, 1)
            x0 = x0 + 0.3 * torch.randn(128, *self.latent_shape, dtype=self.dtype)
            k = int(torch.randint(1, 5, ()))
            x = self.alpha[k] * x0 + self.sigma[k] * torch.randn_like(x0)
            loss = (self._network(self.base, x, k, cond) - x0).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _network(self, network: nn.Module, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        level = torch.full((len(x), 1), k / self.steps, dtype=x.dtype)
        constant = torch.ones_like(level)
        return network(torch.cat([x.flatten(1), level, constant, cond.tensors["one_hot"]], dim=1)).view_as(x)

    def denoised(self, x: Tensor, k: int, cond: Conditioning) -> Tensor:
        """x̃_0."""
        x0 = self._network(self.base, x, k, cond)
        return x0 + self._network(self.adapter, x, k, cond) if self._adapted else x0

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        index = torch.tensor([PROMPTS.index(prompt) for prompt in prompts])
        return Conditioning({"index": index, "one_hot": torch.eye(3, dtype=self.dtype)[index]})

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        return Gaussian(self.alpha[k - 1] * self.denoised(x, k, cond), self.sigma[k - 1])

    def decode(self, x0: Tensor) -> Tensor:
        return (x0 / 4 + 0.5).clamp(0, 1)

    def trainable(self) -> Iterable[nn.Parameter]:
        return list(self.adapter.parameters())

    def move(self, scale: float = 0.3) -> None:
        """Take the adapter away from zero."""
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in self.trainable():
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


class FunctionReward:
    """Any function as a reward that has no gradient."""

    differentiable = False

    def __init__(self, function: Callable[[Tensor, Sequence[str]], Tensor], name: str = "function"):
        self.function, self.name, self.queries = function, name, 0

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        assert not torch.is_grad_enabled()
        self.queries += len(prompts)
        return self.function(images, prompts)


def brightness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Brighter is better."""
    return images.flatten(1).mean(1)


def prompt_only(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """A reward that does not look."""
    return torch.tensor([float(PROMPTS.index(prompt)) for prompt in prompts])


def context(policy: TinyLCM | None = None, reward=brightness, *, seed: int = 0, **settings) -> Context:
    settings = {"batch_size": 6, "accumulation": 2} | settings
    return Context(
        policy=policy or TinyLCM(),
        reward=FunctionReward(reward),
        prompts=Cycle(PROMPTS),
        generator=torch.Generator().manual_seed(seed),
        backprop=Backprop(),
        **settings,
    )


def gradients(algorithm: Algorithm, context: Context) -> list[Tensor]:
    """The flat gradient of each optimizer step of one batch of experience, without taking any step."""
    parameters, rows = list(context.policy.trainable()), []
    for update in algorithm.updates(context):
        total = sum(loss.value for loss in update)
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, parameters)]))
    return rows


def train(algorithm: Algorithm, context: Context, batches: int, lr: float) -> list[dict[str, float]]:
    """A loop as the trainer's; returns the mean metrics of each optimizer step."""
    optimizer = torch.optim.Adam(context.policy.trainable(), lr=lr)
    history = []
    for _ in range(batches):
        for update in algorithm.updates(context):
            optimizer.zero_grad()
            seen: dict[str, list[Tensor]] = {}
            for loss in update:
                loss.value.backward()
                for name, value in loss.metrics.items():
                    seen.setdefault(name, []).append(torch.as_tensor(value, dtype=torch.float64).reshape(-1))
            optimizer.step()
            history.append({name: torch.cat(values).mean().item() for name, values in seen.items()})
    return history
