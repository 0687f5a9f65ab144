"""What a generator must offer, and the one rollout that samples from all of them.

Steps are counted down as in ROCM: k = K, …, 1, from the noise x_K to the image latent x_0. The last step (k = 1) is
deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from kedge.gaussian import Gaussian
from kedge.policies.random_depth import depth_probabilities, draw_depth
from kedge.policies.settings import BackpropSettings

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = "lengths"  # the key of the true lengths of padded texts


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts: named tensors with the batch first, so that any family can carry what it needs.

    Texts of different lengths are padded; ``lengths`` ``[B]`` (int64, always on the CPU) has their true lengths.
    """

    tensors: dict[str, Tensor]

    def __len__(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    def __getitem__(self, index: Any) -> Conditioning:
        """Select samples (slice or index tensor) from every tensor."""
        return Conditioning({name: tensor[index] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device) -> Conditioning:
        """The same on ``device``; the lengths stay on the CPU."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return Conditioning(moved | self.lengths)

    @property
    def lengths(self) -> dict[str, Tensor]:
        """The lengths under their name, if there are any."""
        return {LENGTHS: self.tensors[LENGTHS]} if LENGTHS in self.tensors else {}


class Policy(Protocol):
    """A generator as a policy over latents: LCM, diffusion, or a toy in tests.

    Attributes:
        steps: K, the number of sampling steps.
        latent_shape: ``(C, H, W)`` of one latent.
        device, dtype: where and in what precision latents live (float32 whatever the networks use).
    """

    steps: int
    latent_shape: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts, without gradient."""

    def transition(self, x: Tensor, k: int, cond: Conditioning) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` at ``x = x_k`` ``[B, *latent_shape]``; std = 0 at k = 1."""

    def reference(self) -> AbstractContextManager[None]:
        """Inside, ``transition`` is the frozen base model: the same network with its adapters off."""

    def decode(self, x0: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` in [0, 1], differentiable."""

    def trainable(self) -> Iterable[torch.nn.Parameter]:
        """The parameters that training may change (the LoRA)."""


@runtime_checkable
class PairedPolicy(Protocol):
    """A policy that can compute its own step and the reference's in one network call."""

    def pair(self, x: Tensor, k: int, cond: Conditioning) -> tuple[Gaussian, Gaussian]:
        """``transition`` and the reference's ``transition`` at ``x = x_k``, each ``[B, *latent_shape]``."""


@runtime_checkable
class PredictingPolicy(Protocol):
    """A policy that knows how the mean of a step depends on the picture that it predicts."""

    def x0_weight(self, k: int) -> float | None:
        """∂mean / ∂x̂_0 of step k at a fixed x_k: α_{k-1} for a consistency model. None if it is not known."""


@runtime_checkable
class ArrangingPolicy(Protocol):
    """A policy whose sampler in diffusers draws the noise of its steps as tokens, not as latents."""

    def arranged(self, noise: Tensor) -> Tensor:
        """A step's noise ``[B, *latent_shape]``, filled in the order in which diffusers draws it, as latents."""


def draw_noise(policy: Policy, generators: torch.Generator | Sequence[torch.Generator], batch: int) -> Tensor:
    """All the randomness of ``batch`` trajectories: ``[K, B, *latent_shape]``, standard normal.

    Row 0 is x_K; row i is the noise of the i-th step. It is drawn in the order in which diffusers' pipelines draw, so
    the same generator (one, or one per sample) gives the same pictures there.
    """
    arrange = policy.arranged if isinstance(policy, ArrangingPolicy) else None

    def draw(generator: torch.Generator, count: int = 1) -> Tensor:
        shape = (count, *policy.latent_shape)
        return torch.randn(shape, generator=generator, device=generator.device, dtype=policy.dtype).to(policy.device)

    def stacked(rows: list[Tensor]) -> Tensor:
        return torch.stack(rows[:1] + (list(map(arrange, rows[1:])) if arrange else rows[1:]))

    if isinstance(generators, torch.Generator):
        return stacked([draw(generators, batch) for _ in range(policy.steps)])
    if len(generators) != batch:
        raise ValueError(f"{len(generators)} generators for a batch of {batch}: give one, or one per sample")
    return stacked([torch.cat(list(map(draw, generators))) for _ in range(policy.steps)])


@dataclass(frozen=True)
class Backprop(BackpropSettings):
    """How a rollout is computed and how gradients travel back through it; orthogonal to the algorithm.

    Attributes:
        offload: keep what is stored for the backward pass in the host's memory instead of the device's.
        paired: where the reference's step is wanted with its gradient, compute it in one network call with the
            policy's, in a batch of twice the size (see :class:`PairedPolicy`).
        continuation: the p of ``random_depth`` by which ``last_steps`` was drawn; 1 of depths that are certain.
    """

    offload: bool = False
    paired: bool = False
    continuation: float = 1.0

    def depths(self, steps: int) -> list[tuple[float, Backprop]]:
        """The depths that may be drawn for a rollout of ``steps`` steps, each with its probability."""
        if self.random_depth is None:
            return [(1.0, self)]
        deepest = steps if self.last_steps is None else min(self.last_steps, steps)
        fixed = replace(self, random_depth=None, continuation=self.random_depth)
        probabilities = enumerate(depth_probabilities(self.random_depth, deepest), start=1)
        return [(probability, replace(fixed, last_steps=depth)) for depth, probability in probabilities]

    def drawn(self, steps: int, generator: torch.Generator) -> Backprop:
        """The same with a depth drawn in place of ``random_depth``; itself if the depth is not random."""
        depths, p = self.depths(steps), self.random_depth
        return self if p is None else depths[draw_depth(p, len(depths), generator) - 1][1]

    def keeps(self, k: int) -> bool:
        """Whether step k keeps its graph: k counts down, so the last n steps are k ≤ n."""
        return self.last_steps is None or k <= self.last_steps

    def gradients(self, k: int) -> AbstractContextManager[Any]:
        """``torch.no_grad()`` for the steps that are cut off, nothing for the others."""
        return nullcontext() if self.keeps(k) else torch.no_grad()

    def storage(self) -> AbstractContextManager[Any]:
        """Inside, what autograd stores for the backward pass goes where ``offload`` says."""
        if not self.offload:
            return nullcontext()
        from kedge.policies.activation_offload import OffloadedActivations

        return OffloadedActivations()

    def transition(self, policy: Policy, x: Tensor, k: int, cond: Conditioning, *, reference: bool = False) -> Gaussian:
        """``policy.transition``, or the reference's, recomputed in the backward pass if ``checkpoint``."""

        def call(x: Tensor) -> tuple[Tensor, Tensor]:
            # The reference context is entered in here, so that the recomputation enters it again.
            with policy.reference() if reference else nullcontext():
                step = policy.transition(x, k, cond)
            return step.mean, step.std

        return Gaussian(*self.recomputed(call, x))

    def step(
        self, policy: Policy, x: Tensor, k: int, cond: Conditioning, beside: ReferenceSteps
    ) -> tuple[Gaussian, ...]:
        """``policy.transition`` at x_k and, at the steps of ``beside``, the reference's; weighted for a drawn depth."""
        survival = self.continuation ** (k - 1)  # S_k, the probability that step k keeps its graph
        if survival == 1 or not torch.is_grad_enabled():
            return self._step(policy, x, k=k, cond=cond, beside=beside)
        from kedge.policies.scaled_gradient import scale_gradient, scale_means

        inner = scale_gradient(x, survival)  # undone for what flows on: earlier steps divide by their own S
        return scale_means(1 / survival, *self._step(policy, inner, k=k, cond=cond, beside=beside))

    def _step(
        self, policy: Policy, x: Tensor, k: int, cond: Conditioning, beside: ReferenceSteps
    ) -> tuple[Gaussian, ...]:
        if k in beside.steps:
            return self.both(policy, x, k, cond, exact=beside.exact)
        return (self.transition(policy, x, k, cond),)

    def both(self, policy: Policy, x: Tensor, k: int, cond: Conditioning, *, exact: bool) -> tuple[Gaussian, Gaussian]:
        """``policy.transition`` and the reference's; the latter with the gradient through ``x`` if ``exact``."""
        if self.paired and exact and isinstance(policy, PairedPolicy):
            paired = policy.pair  # bound here, for the type checker

            def call(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                p, q = paired(x, k, cond)
                return p.mean, q.mean, p.std

            mean, reference_mean, std = self.recomputed(call, x)
            return Gaussian(mean, std), Gaussian(reference_mean, std)
        p = self.transition(policy, x, k, cond)
        with nullcontext() if exact else torch.no_grad():
            return p, self.transition(policy, x, k, cond, reference=True)

    def recomputed(self, call: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
        """``call(x)``, made again in the backward pass if ``checkpoint``: it enters itself what contexts it needs."""
        if self.checkpoint and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            results: tuple[Tensor, ...] = checkpoint(call, x, use_reentrant=False, preserve_rng_state=False)
            return results
        return call(x)


NO_GRADIENT = Backprop(last_steps=0)


@dataclass(frozen=True)
class ReferenceSteps:
    """At which steps of a rollout the reference's step is computed beside the policy's.

    Attributes:
        steps: at these k.
        exact: with the gradient that flows into it through x_k; otherwise without any.
    """

    steps: Collection[int] = ()
    exact: bool = True


NO_REFERENCE = ReferenceSteps()


@dataclass
class Trajectory:
    """What a rollout went through.

    Attributes:
        latents: K + 1 tensors x_K, …, x_0, each ``[B, *latent_shape]``.
        transitions: K Gaussians p(x_{k-1} | x_k, c), k = K, …, 1.
        references: by k, the reference's Gaussian at the same x_k, where ``reference_steps`` has it.
    """

    cond: Conditioning
    latents: list[Tensor]
    transitions: list[Gaussian] = field(default_factory=list)
    references: dict[int, Gaussian] = field(default_factory=dict)

    @property
    def x0(self) -> Tensor:
        """The final latent, to be decoded."""
        return self.latents[-1]

    def step(self, k: int) -> tuple[Tensor, Tensor, Gaussian]:
        """``(x_k, x_{k-1}, p(x_{k-1} | x_k, c))``."""
        i = len(self.transitions) - k
        return self.latents[i], self.latents[i + 1], self.transitions[i]


def rollout(
    policy: Policy,
    cond: Conditioning,
    noise: Tensor,
    backprop: Backprop = NO_GRADIENT,
    reference_steps: ReferenceSteps = NO_REFERENCE,
) -> Trajectory:
    """Sample trajectories: G(θ, ε, c) of ROCM (page 4), for every family.

    Args:
        noise: ``[K, B, *latent_shape]`` from :func:`draw_noise`.
        backprop: which steps keep their graph, and whether they are recomputed.
        reference_steps: where to compute the reference's step too, at the same x_k.
    """
    if noise.shape[0] != policy.steps:
        raise ValueError(f"noise has {noise.shape[0]} rows, but the policy takes {policy.steps} steps")
    x = noise[0]  # ROCM, Algorithm 1, line 1: x_K = ε_K ~ N(0, I)
    trajectory = Trajectory(cond, [x])
    for i, k in enumerate(range(policy.steps, 0, -1), start=1):
        with backprop.gradients(k):
            p, *reference = backprop.step(policy, x, k, cond, reference_steps)
            x = p.mean if k == 1 else p.sample(noise[i])  # line 6: x_{k-1} = α_{k-1} x̃_k + σ_{k-1} ε_{k-1}
        trajectory.latents.append(x)
        trajectory.transitions.append(p)
        if reference:
            trajectory.references[k] = reference[0]
    return trajectory
