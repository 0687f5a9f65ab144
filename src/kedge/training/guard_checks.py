"""What ``watch.guard: best`` and ``algorithm.anchor: auto`` ask of a run, refused before anything loads."""

from __future__ import annotations

from kedge.config import RunConfig
from kedge.config.text import ConfigError


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
