"""What a training is refused for before anything loads, beside what no recipe may say: asked by every plan of one."""

from __future__ import annotations

import re

from kedge.config import ConfigError, RunConfig
from kedge.devices import find_device
from kedge.training.trackers import check_tracker_names

# Torch is asked about other names only: importing it takes seconds.
_USUAL_DEVICES = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")


def check_before_loading(config: RunConfig) -> None:
    """Refuse what no training could be begun with, on this machine or another.

    Raises:
        ConfigError: naming the key and what to write instead.
    """
    check_guard(config)
    check_votes(config)
    check_decay(config)
    check_tracker_names(config)
    device = config.training.device
    if _USUAL_DEVICES.fullmatch(device):
        return
    try:
        find_device(device, must_exist=False)
    except ValueError as error:
        raise ConfigError(f"training.device: {error}") from error


def check_decay(config: RunConfig) -> None:
    """Refuse a decay of the weights by an optimizer that has none.

    Raises:
        ConfigError: naming the optimizer that has one.
    """
    if config.optimizer.name == "adam" and config.optimizer.weight_decay:
        raise ConfigError(
            f"optimizer.weight_decay={config.optimizer.weight_decay:g} means nothing to adam: set "
            "optimizer.name=adamw, or leave it out"
        )


def check_votes(config: RunConfig) -> None:
    """Refuse recorded votes that cannot be read.

    Raises:
        ConfigError: naming the file, and the line.
    """
    voted_prompts = getattr(config.algorithm.instance, "voted_prompts", None)
    if voted_prompts is None:
        return
    try:
        voted_prompts()
    except ValueError as error:
        raise ConfigError(f"algorithm.{error}") from error


def check_guard(config: RunConfig) -> None:
    """Refuse to look for the best step without looks or judges, and a distance that doubles until nobody stops it.

    Raises:
        ConfigError: naming the key and what to write instead.
    """
    watch, steps = config.watch, config.training.steps
    if getattr(config.algorithm.instance, "anchor", None) == "auto" and watch.guard != "best":
        raise ConfigError(
            "algorithm.anchor=auto goes farther and farther until judges stop it: set watch.guard=best, "
            "watch.evaluate_every (10 is usual) and watch.metrics"
        )
    if watch.guard != "best":
        return
    if not watch.evaluate_every:
        raise ConfigError("watch.guard=best looks for the best step: set watch.evaluate_every (10 is usual)")
    if watch.evaluate_every > steps:
        raise ConfigError(
            "watch.guard=best would look at step 0 alone, the base: "
            f"watch.evaluate_every={watch.evaluate_every} is more than training.steps={steps}"
        )
    from kedge.evaluation.best_checkpoint import judges_of

    if not judges_of(watch.metrics, [config.reward]):
        raise ConfigError(
            f"watch.guard=best needs a judge among watch.metrics ({', '.join(watch.metrics) or 'none'}): a reward that "
            f"shares neither data nor makers with {config.reward!r} and sees damage, see the table in docs/rewards.md"
        )
