"""From the scheduler in a model's folder to the one that samples a family, with what the model was trained on intact.

Its file mixes two things: which noise the network was trained on, which every scheduler must have the same, and how one
may sample from it, which the family decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from diffusers import SchedulerMixin

from kedge.policies.steps import PREDICTION_TYPES
from kedge.quiet import without_remarks

# What the network was trained on. Any of it taken otherwise is another model.
TRAINED_ON = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)
ABSENT = (None, False)  # what a scheduler without one of these keys does
AnyScheduler = TypeVar("AnyScheduler", bound=SchedulerMixin)


def as_scheduler(cls: type[AnyScheduler], scheduler: SchedulerMixin, **options: Any) -> AnyScheduler:
    """``cls`` with the config of the scheduler in the model's folder.

    Args:
        options: replace keys of that config.

    Raises:
        ValueError: if ``cls`` would take the noise that the network was trained on for another.
    """
    if "beta_schedule" not in scheduler.config:
        raise ValueError(
            f"scheduler/scheduler_config.json is that of {type(scheduler).__name__}, which knows no betas: Kedge "
            "trains UNets on Stable Diffusion's noise only"
        )
    known: Any = cls
    accepted = known._get_init_keys(cls)
    config = {}
    for name, value in scheduler.config.items():
        if name in accepted or name.startswith("_"):
            config[name] = value
    converted: Any = known.from_config(config, **options)
    for key in TRAINED_ON:
        before = options.get(key, scheduler.config.get(key))
        after = converted.config.get(key)
        if before != after and not (before in ABSENT and after in ABSENT):
            raise ValueError(_refusal(key, scheduler, before=before, cls=cls, after=after))
    result: AnyScheduler = converted
    return result


def _refusal(key: str, scheduler: SchedulerMixin, before: Any, cls: type, after: Any) -> str:
    source = type(scheduler).__name__
    if key in scheduler.config.get("_use_default_values", ()):
        return (
            f"scheduler/scheduler_config.json leaves out {key}, which is {before!r} in {source} and {after!r} in "
            f"{cls.__name__}, by which Kedge samples: write it into the file"
        )
    return (
        f"scheduler/scheduler_config.json sets {key}: {before!r}, which {cls.__name__} would take for {after!r}: Kedge "
        "cannot sample this model"
    )


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
