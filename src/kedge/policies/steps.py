"""Sampling steps: what the network's output says about x_0 and the noise, and the schedule of each step's constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor

from kedge.gaussian import Gaussian
from kedge.quiet import without_remarks

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")  # of schedulers that name one
FLOW = "flow_prediction"  # of flow matching, where there is no other


class Step(Protocol):
    """The constants of one sampling step of a family, and what it makes of the network's output.

    With a property ``x0_weight``, ∂mean / ∂x̂_0 at a fixed x_k (``[]``), evaluations also tell how far the predicted
    pictures moved (:mod:`kedge.policies.distance`).
    """

    @property
    def timestep(self) -> Tensor:
        """``[]``: what the denoiser is told."""

    def on(self, device: torch.device) -> Self:
        """With the timestep on ``device``, which would else wait for it. The other constants are free on the host."""

    def network_input(self, x: Tensor) -> Tensor:
        """x_k as the network wants to see it."""

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        """``p(x_{k-1} | x_k, c)`` from the denoiser's output at x_k."""


@runtime_checkable
class PredictingStep(Protocol):
    """A step that says which picture the network's output means."""

    def predicted_x0(self, x: Tensor, output: Tensor) -> Tensor:
        """x̂_0 from the network's output at x_k."""


@dataclass(frozen=True)
class ScheduledStep:
    """What the steps of every family have: :class:`Step` but for ``gaussian``.

    Attributes:
        prediction_type: what the network predicts, one of :data:`PREDICTION_TYPES` or :data:`FLOW`.
        timestep: t_k as the network was told in its training: int64, or float32 for continuous times.
    """

    prediction_type: str
    timestep: Tensor

    def on(self, device: torch.device) -> Self:
        """With the timestep on ``device``."""
        return replace(self, timestep=self.timestep.to(device))

    def network_input(self, x: Tensor) -> Tensor:
        """x_k itself."""
        return x


AnyStep = TypeVar("AnyStep", bound=ScheduledStep)


def schedule_of(
    cls: type[AnyStep],
    timesteps: Sequence[Tensor] | Tensor,
    constants: Callable[[int, Tensor], tuple[Tensor, ...]],
    *,
    prediction_type: str,
    dtype: torch.dtype,
) -> dict[int, AnyStep]:
    """Steps K, …, 1 of a family, from the noise to the image.

    Args:
        cls: the family's step.
        timesteps: t_K, …, t_1, each ``[]``.
        constants: from i = 0, …, K − 1 and t_{K-i} to the further fields of ``cls`` in their order, each ``[]``.
        dtype: that the constants are rounded to.
    """
    schedule = {}
    for i, timestep in enumerate(timesteps):
        rounded = [constant.to(dtype) for constant in constants(i, timestep)]
        schedule[len(timesteps) - i] = cls(prediction_type, timestep, *rounded)
    return schedule


def check_steps(steps: int, most: int) -> None:
    """Raises ValueError for a number of steps that is not from 1 to the model's ``most``."""
    if not 1 <= steps <= most:
        raise ValueError(f"model.steps must be between 1 and {most} for this model, not {steps}")


def set_timesteps(scheduler: Any, steps: int, timesteps: Sequence[int] | None) -> None:
    """Have diffusers' scheduler take ``steps`` steps of its own choice, or these.

    Raises:
        ValueError: for times that the network was not trained on.
    """
    if timesteps is None:
        scheduler.set_timesteps(steps)
        return
    most = scheduler.config.num_train_timesteps
    if timesteps[0] >= most:
        raise ValueError(f"model.timesteps starts at {timesteps[0]}, but this model's times are 0 to {most - 1}")
    with without_remarks():
        scheduler.set_timesteps(timesteps=list(timesteps))


def refuse_clipping(scheduler: Any) -> None:
    """Latents are not bounded: clipping the predicted x_0 would be no Gaussian mean worth differentiating.

    Raises:
        ValueError: if the scheduler's config asks for it.
    """
    for key in ("clip_sample", "thresholding"):
        if scheduler.config.get(key):
            raise ValueError(
                f"scheduler/scheduler_config.json sets {key}: true, which latent models do not use; set it to false"
            )


def check_prediction_type(name: str) -> None:
    """Raises ValueError for a convention that is not one of :data:`PREDICTION_TYPES`."""
    if name not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type {name!r} in scheduler_config.json: expected {', '.join(PREDICTION_TYPES)}")


def predicted_x0(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """x_0 from the output at ``x = α x_0 + σ ε``."""
    if prediction_type == "epsilon":
        return (x - sigma * output) / alpha
    if prediction_type == "v_prediction":  # v = α ε − σ x_0
        return alpha * x - sigma * output
    if prediction_type == FLOW:  # v = ε − x_0, and α + σ = 1
        return x - sigma * output
    return output


def predicted_noise(output: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """ε from the output at ``x = α x_0 + σ ε``."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return alpha * output + sigma * x
    if prediction_type == FLOW:
        return x + alpha * output
    return (x - alpha * output) / sigma
