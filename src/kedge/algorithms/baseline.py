"""DPOK's value baseline: what reward to expect at x_k, so that the advantage is what came on top.

Architecture and constants of the published code (google-research/dpok): three layers gated by an embedding of the
step, fitted to the final reward by least squares.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kedge.algorithms.base import Context
from kedge.algorithms.experience import Experience
from kedge.policies.base import Conditioning

WIDTH = 256


class Gated(nn.Module):
    """A linear layer whose outputs are scaled by an embedding of the step k."""

    def __init__(self, inputs: int, steps: int):
        super().__init__()
        self.linear = nn.Linear(inputs, WIDTH)
        self.gate = nn.Embedding(steps + 1, WIDTH)
        nn.init.uniform_(self.gate.weight)

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        scaled: Tensor = self.gate(k) * self.linear(x)
        return scaled


class ValueNetwork(nn.Module):
    """V(x_k, c, k), ``[B]``."""

    def __init__(self, inputs: int, steps: int):
        super().__init__()
        self.layers = nn.ModuleList([Gated(inputs, steps), Gated(WIDTH, steps), Gated(WIDTH, steps)])
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, features: Tensor, k: Tensor) -> Tensor:
        for layer in self.layers:
            features = layer(features, k).relu()
        values: Tensor = self.head(features)
        return values.squeeze(1)


class Baseline:
    """The network with its optimizer; lives in ``context.state["value"]`` between batches of experience."""

    def __init__(self, context: Context, experience: Experience, lr: float):
        features = self._features(experience.x(experience.steps)[:1], experience.cond[:1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same start on every process, whatever the global stream holds
            self.network = ValueNetwork(features.shape[1], experience.steps)
        self.network.to(features.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr)
        self._context, self._experience = context, experience
        if "value" in context.state:
            self.network.load_state_dict(context.state["value"]["network"])
            self.optimizer.load_state_dict(context.state["value"]["optimizer"])

    @staticmethod
    def _features(x: Tensor, cond: Conditioning) -> Tensor:
        """x_k and the conditioning, each token sequence averaged: ``[B, F]`` float32."""
        features = [x.float().flatten(1)]
        for name, tensor in cond.tensors.items():
            if name not in cond.lengths:
                width = tensor.shape[-1] if tensor.ndim > 1 else 1
                features.append(tensor.float().reshape(len(tensor), -1, width).mean(1))
        return torch.cat(features, dim=1)

    def value(self, rows: Tensor, k: Tensor) -> Tensor:
        """V of the trajectories ``rows`` at steps ``k``, both ``[b]``; returns ``[b]``."""
        x = self._experience.latents[self._experience.steps - k, rows]
        values: Tensor = self.network(self._features(x, self._experience.cond[rows]), k.to(x.device))
        return values

    @torch.no_grad()
    def values(self) -> Tensor:
        """V of every trajectory at every step, ``[N, K + 1]``; columns 0 and 1 are unused and zero."""
        n, steps = len(self._experience), self._experience.steps
        rows = torch.arange(n)
        columns = [self.value(rows, torch.full_like(rows, k)) for k in range(2, steps + 1)]
        return torch.stack([torch.zeros_like(columns[0])] * 2 + columns, dim=1)

    def fit(self, targets: Tensor, updates: int, batch_size: int) -> float:
        """Least squares on random (trajectory, step) pairs; returns the mean squared error, before the last update.

        Args:
            targets: ``[N]``, the (standardised) final rewards.
        """
        n, generator = len(self._experience), self._context.generator
        loss = torch.zeros(())
        for _ in range(updates):
            pairs = torch.randint(
                n * (self._experience.steps - 1), (batch_size,), generator=generator, device=generator.device
            )
            rows, k = (pairs % n).cpu(), (pairs // n + 2).cpu()
            with torch.enable_grad():
                loss = (self.value(rows, k) - targets[rows]).square().mean()
                self.optimizer.zero_grad()
                loss.backward()
            self._average_gradients()
            self.optimizer.step()
        self._context.state["value"] = self.state_dict()
        return loss.item()

    def _average_gradients(self) -> None:
        """Every process takes the same step."""
        if self._context.processes == 1:
            return
        gradients = []
        for p in self.network.parameters():
            if p.grad is not None:
                gradients.append(p.grad)
        flat = torch.cat([gradient.flatten().cpu() for gradient in gradients])
        mean = torch.stack(self._context.gather([flat])).mean(0)
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next batch, or a resumed run, needs."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
