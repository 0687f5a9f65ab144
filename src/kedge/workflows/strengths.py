"""A run's adapter at several strengths: a frontier without more training, on the prompts that watched it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kedge.evaluation.picture_files import save_picture

if TYPE_CHECKING:
    from kedge.evaluation.encoders import Encoder
    from kedge.evaluation.result import Evaluation
    from kedge.policies.base import Policy

WORST = 20  # pictures that the judges marked down most
MOST_PICTURES = 128  # are kept in memory to choose them from
SHARES = 8  # samples on which the KL of each step is measured


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        strengths: by strength, evaluations of the prompts and noise of the looks.
        kl_share: step k → its share of the path KL at full strength.
        worst: the pictures that the judges marked down most, beside the base's.
    """

    strengths: dict[float, Evaluation] = field(default_factory=dict)
    kl_share: dict[int, float] = field(default_factory=dict)
    worst: Path | None = None


def draw_strengths(
    policy: Policy, base: Evaluation, strengths: Sequence[float], folder: Path, batch_size: int
) -> Drawn:
    """Draw a policy at several strengths of its adapter; nothing for one that has none.

    Args:
        base: the look at step 0, whose prompts, noise and rewards are taken.
        folder: where the worst pictures go.
    """
    adapter: Any = getattr(policy, "adapter", None)
    if adapter is None:
        return Drawn()
    from kedge.workflows.measurement import load_metrics
    from kedge.workflows.progress_bar import progress_bar

    rewards, encoder = load_metrics(list(base.scores), str(policy.device)), _encoder(base, str(policy.device))
    pictures = int(base.facts.get("samples_per_prompt", 1))
    assert base.seed is not None
    drawn = {}
    for strength in sorted({*strengths, 0.0, 1.0}):
        from kedge.evaluation import evaluate

        with adapter.scaled(strength), progress_bar(f"strength {strength:g}") as progress:
            drawn[strength] = evaluate(
                policy,
                rewards,
                base.prompts[::pictures],
                seed=base.seed,
                batch_size=batch_size,
                samples_per_prompt=pictures,
                encoder=encoder,
                keep_images=MOST_PICTURES // pictures if strength in (0.0, 1.0) else 0,
                progress=progress,
            )
    return Drawn(drawn, _kl_share(policy, base), _worst(drawn, list(rewards), folder))


def _encoder(base: Evaluation, device: str) -> Encoder | None:
    """The one that measured how much the look's pictures vary; None if none did, or it is not here any more."""
    from kedge.evaluation.encoders import load_encoder
    from kedge.rewards import MissingWeightsError

    name = base.facts.get("encoder")
    try:
        return load_encoder(str(name), device) if name else None
    except MissingWeightsError:
        return None


def _kl_share(policy: Policy, base: Evaluation) -> dict[int, float]:
    import torch

    from kedge.policies.base import NO_GRADIENT, ReferenceSteps, draw_noise, rollout
    from kedge.policies.distance import kl_by_step

    prompts = list(dict.fromkeys(base.prompts))[:SHARES]
    noise = draw_noise(policy, torch.Generator().manual_seed(base.seed or 0), len(prompts))
    with torch.no_grad():
        beside = ReferenceSteps(range(policy.steps, 1, -1), exact=False)
        steps = kl_by_step(
            rollout(policy, policy.encode(prompts), noise=noise, backprop=NO_GRADIENT, reference_steps=beside)
        )
    means = {k: float(values.mean()) for k, values in steps.items()}
    total = sum(means.values())
    return {k: value / total for k, value in means.items()} if total > 0 else {}


def _worst(drawn: dict[float, Evaluation], metrics: Sequence[str], folder: Path) -> Path | None:
    from kedge.evaluation import image_grid
    from kedge.evaluation.best_checkpoint import judges_of
    from kedge.evaluation.declines import jury_change
    from kedge.evaluation.frontier_report import WORST as NAME

    ours, theirs = drawn[1.0], drawn[0.0]
    judges = judges_of(metrics[1:], metrics[:1]) or tuple(metrics[1:])
    if ours.images is None or theirs.images is None or not judges:
        return None
    shown = min(len(ours.images), len(theirs.images))
    change = jury_change(judges, ours, theirs)[:shown]
    rows = [row for row in np.argsort(change)[:WORST] if change[row] < 0]
    if not rows:
        return None
    columns = {"base": theirs.images[rows], "tuned": ours.images[rows]}
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(image_grid(columns, [ours.prompts[row] for row in rows]), folder / NAME)
    return folder / NAME
