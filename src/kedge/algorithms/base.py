"""What an algorithm is: it yields losses; the trainer owns everything that is done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from kedge.algorithms.prompt_cache import PromptCache
from kedge.policies.base import Backprop, Conditioning, Policy, draw_noise
from kedge.rewards.base import Reward

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Needs:
    """What an algorithm needs of reward, policy and sampler; checked when the config is read, before anything loads.

    ``noise``: steps that draw some, because it learns from their log-probabilities. One for which that depends on its
    settings has a property ``needs_noise``. ``single_step``: it learns at K = 1 all the same, where no step draws any.
    ``one_step``: no gradient goes through more than one of the trajectory's steps, so that how deep means nothing.
    """

    differentiable_reward: bool = False
    reference: bool = False
    pairs: bool = False
    noise: bool = False
    single_step: bool = False
    one_step: bool = False


@dataclass(frozen=True)
class Loss:
    """One micro-loss: the trainer calls backward on ``value``; the micro-losses of a step add up to its loss.

    Attributes:
        value: ``[]``, with graph.
        metrics: per-sample tensors ``[B]``, averaged over samples and processes for the log; or numbers.
    """

    value: Tensor
    metrics: dict[str, Tensor | float] = field(default_factory=dict)


class PromptSource(Protocol):
    """An endless, seeded, resumable stream of prompts."""

    def take(self, n: int) -> list[str]:
        """The next ``n`` prompts."""

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, for a checkpoint; only the trainer asks."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


class PromptEncoder(Protocol):
    """Encodes prompts, or takes their encodings from a cache."""

    def __call__(
        self, prompts: Sequence[str], encode: Callable[[Sequence[str]], Conditioning], device: torch.device
    ) -> Conditioning:
        """The prompts' encodings, batched, on ``device``; ``encode`` computes the missing ones."""


def alone(items: list[Any]) -> list[Any]:
    """:attr:`Context.gather` for a run of one process."""
    return items


def unheard(sentence: str) -> None:
    """:attr:`Context.say` outside of a training: the line is dropped."""


@dataclass
class Context:
    """Everything that the trainer provides to an algorithm.

    Attributes:
        batch_size: samples in one micro-batch on this process.
        accumulation: micro-batches in one optimizer step.
        generator: this process's stream of noise; saved with each checkpoint.
        state: the algorithm's own state (running statistics, value networks' state dicts); saved with each checkpoint.
        processes, process: how many processes train together, and which of them this one is, from 0.
        gather: joins the lists of all processes, in order of process; every process calls it with a list as long as
            the others' and gets the same answer (``accelerate.utils.gather_object``).
        say: a line for the user; the first process's alone are shown.
        cache: of encoded prompts.
        first_size: of several sizes of pictures, the policy at the one to evaluate; None where there is one size.
    """

    policy: Policy
    reward: Reward
    prompts: PromptSource
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    backprop: Backprop = field(default_factory=Backprop)
    batch_size: int = 4
    accumulation: int = 1
    state: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    process: int = 0
    gather: Callable[[list[Any]], list[Any]] = alone
    say: Callable[[str], None] = unheard
    cache: PromptEncoder = field(default_factory=PromptCache)
    first_size: Policy | None = None

    @property
    def evaluated(self) -> Policy:
        """The policy to evaluate and to export: with several sizes that of the first, whichever ``policy`` is now."""
        return self.first_size or self.policy

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """Each prompt is encoded once per run, while the cache can hold them."""
        return self.cache(prompts, self.policy.encode, self.policy.device)

    def noise(self, batch: int) -> Tensor:
        """Fresh noise for ``batch`` trajectories."""
        return draw_noise(self.policy, self.generator, batch)


class Algorithm(Protocol):
    """A frozen dataclass of an algorithm's own hyper-parameters.

    ``updates`` gathers one batch of experience and yields one item per optimizer step; each item is an iterable of
    micro-losses, evaluated lazily so that one micro-batch's graph is freed before the next is built. The trainer calls
    it again for the next batch, and saves checkpoints only in between.

    Two optional methods state its cost: see :mod:`kedge.algorithms.workload`. An algorithm that
    compares rewards with each other has a property ``advantages`` (:class:`kedge.algorithms.advantages.Advantages`), by
    which a run that cannot learn is refused before it starts.
    """

    needs: Needs

    def updates(self, context: Context) -> Iterator[Iterable[Loss]]:
        """One batch of experience: an iterable of micro-losses for each optimizer step."""
