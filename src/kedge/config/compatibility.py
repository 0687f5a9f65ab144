"""Combinations that cannot work, refused before anything loads."""

from __future__ import annotations

from kedge.config.schema import RunConfig
from kedge.config.text import ConfigError


def check(config: RunConfig) -> None:
    """Refuse an algorithm that needs a gradient beside a reward that has none, and names that do not exist.

    Raises:
        ConfigError: naming what to use instead.
    """
    from kedge.policies import POLICIES
    from kedge.rewards import describe

    try:
        POLICIES.resolve(config.model.kind)
    except ValueError as error:
        raise ConfigError(f"model.kind: {error}") from error
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
        f"{_either(algorithms)} (algorithm={algorithms[0]}), or choose a reward with a gradient "
        f"({', '.join(rewards)})"
    )


def _differentiable(reward: str) -> bool:
    from kedge.rewards import describe

    return describe(reward).differentiable


def _either(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
