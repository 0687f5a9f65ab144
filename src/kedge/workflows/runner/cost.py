"""What an optimizer step costs, before anything runs: network passes and reward queries.

A pass is one call of the generator's network for one sample. Going forward counts one, going back one more: the
network is frozen but for its adapter, so that its own weights need no gradient. Classifier-free guidance calls the
network twice. Autoencoder, text encoder and reward are left out: they are alike for all methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kedge.algorithms.base import workload
from kedge.config import RunConfig
from kedge.policies.families import network_calls

FORWARD, BACKWARD = 1, 1


@dataclass(frozen=True)
class Cost:
    """Of one optimizer step, on average over a batch of experience.

    Attributes:
        passes: calls of the network, per sample and direction.
        queries: pictures that the reward scores.
    """

    passes: float
    queries: float


def step_cost(config: RunConfig) -> Cost:
    """The cost of one optimizer step of a run on one process.

    An algorithm of the user's own is taken for one that draws each sample once and backpropagates through all steps.
    """
    settings, training, model = config.algorithm.settings, config.training, config.model
    work = workload(settings, training.batch_size, training.accumulation)
    kinds = {"rocm": _rocm, "rlcm": _ppo, "ddpo": _ppo, "ppo": _ppo, "dpok": _dpok, "d3po": _d3po}
    batch = kinds.get(config.algorithm.name, _direct)(config, settings, work.samples)
    calls = network_calls(model.kind, model.omega, model.parts)
    return Cost(calls * batch / work.updates, work.queries / work.updates)


def steps_for(config: RunConfig, passes: float) -> int:
    """How many optimizer steps ``passes`` network passes buy; at least one."""
    return max(1, int(passes / step_cost(config).passes))


# Each of these: network passes of a batch of experience of ``samples`` trajectories, sampling and learning together.


def _direct(config: RunConfig, settings: Any, samples: int) -> float:
    return samples * config.model.steps * (FORWARD + BACKWARD)


def _rocm(config: RunConfig, settings: Any, samples: int) -> float:
    steps, last = config.model.steps, config.backprop.last_steps
    kept = steps if last is None else min(last, steps)
    back = BACKWARD + (FORWARD if config.backprop.checkpoint else 0)
    reference = 0.0
    if settings.divergence != "none":
        terms = min(settings.reference_steps or steps - 1, steps - 1)  # no divergence at k = 1
        reference = terms * FORWARD
        if settings.weight and settings.reference_gradient == "exact":
            reference += terms * max(0, kept - 2) / max(1, steps - 1) * back  # x_K is noise: nothing flows back
    return samples * (steps * FORWARD + kept * back + reference)


def _visited(config: RunConfig, fraction: float, scored: int = 0) -> int:
    return max(1, round(fraction * (config.model.steps - 1 + scored)))


def _ppo(config: RunConfig, settings: Any, samples: int) -> float:
    visits = _visited(config, settings.step_fraction, int(settings.score_last_step))
    learning = samples * visits * settings.epochs * (FORWARD + BACKWARD)
    # Old log-probabilities of the minibatches after the first are computed before it.
    calls: float = samples * config.model.steps + learning + samples * visits * (1 - 1 / settings.minibatches)
    return calls


def _dpok(config: RunConfig, settings: Any, samples: int) -> float:
    visits, epochs, steps = _visited(config, settings.step_fraction), settings.policy_steps, config.model.steps - 1
    # Old log-probabilities of what the first epoch does not visit: the expected number of further distinct visits.
    later = steps * (1 - (1 - visits / steps) ** epochs) - visits
    calls: float = samples * (config.model.steps + epochs * visits * (2 * FORWARD + BACKWARD) + later)
    return calls


def _d3po(config: RunConfig, settings: Any, samples: int) -> float:
    visits = _visited(config, settings.step_fraction)
    learning: float = settings.epochs * visits * (2 * FORWARD + BACKWARD)
    return samples * (config.model.steps + learning)
