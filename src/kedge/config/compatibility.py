"""Combinations that cannot work, refused before anything loads."""

from __future__ import annotations

from kedge.config.schema import RunConfig
from kedge.config.text import ConfigError
from kedge.registry import listed


def check(config: RunConfig) -> None:
    """Refuse an algorithm that needs a gradient beside a reward that has none, and names that do not exist.

    Raises:
        ConfigError: naming what to use instead.
    """
    from kedge.rewards import describe

    for where, text in [("reward", config.reward), *(("watch.metrics", metric) for metric in config.watch.metrics)]:
        try:
            info = describe(text)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        if where == "reward" and config.algorithm.settings.needs.differentiable_reward and not info.differentiable:
            raise ConfigError(_no_gradient(config.algorithm.name, text))


def _no_gradient(name: str, reward: str) -> str:
    from kedge.algorithms import ALGORITHMS
    from kedge.rewards import REWARDS

    algorithms = [other for other in ALGORITHMS if not ALGORITHMS.get(other).needs.differentiable_reward]
    rewards = [other for other in REWARDS if _differentiable(other)]
    return (
        f"algorithm {name!r} backpropagates through the reward, but {reward!r} has no gradient: train it with "
        f"{listed(algorithms)} (algorithm={algorithms[0]}), or choose a reward with a gradient "
        f"({', '.join(rewards)})"
    )


def _differentiable(reward: str) -> bool:
    from kedge.rewards import describe

    return describe(reward).differentiable
