"""A run's frontier: what it gained and lost on the way from its base, when to stop, and how strongly to use it.

Every look at a run (``RUN/watched``) and every strength of its adapter is a point: a distance √KL from the base, and
for each reward the paired change of every prompt. The judges' mean (rewards that share nothing with the trained one and
see damage) says which point is best; the truth, where one is known, is reported but advises nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kedge.evaluation.best_checkpoint import judges_of
from kedge.evaluation.declines import jury_change, narrowing, remaining
from kedge.evaluation.judges import standing
from kedge.evaluation.over_optimisation import Peak, fit_peak
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import Floats, Interval, mean_interval, spread_of, unit_means
from kedge.evaluation.statistics.rates import wilson
from kedge.policies.distance import PATH_KL


@dataclass(frozen=True)
class Point:
    """One look.

    Attributes:
        label: a step, or a strength.
        distance: √ of the mean path KL; 0 of the base, NaN if it was not measured.
        changes: metric → ``[P]``: paired change in standard deviations of the base's scores, prompt by prompt.
        jury: ``[P]``: the judges' mean change.
        narrowed: where its pictures vary less than the base's, beyond chance; empty if nowhere or not measured.
        remaining: diversity → which share of the base's is left.
    """

    label: float
    distance: float
    changes: dict[str, Floats]
    jury: Floats
    narrowed: str = ""
    remaining: dict[str, Interval] = field(default_factory=dict)

    def rise(self, metric: str) -> Interval:
        """Mean change with its 95 % interval over prompts."""
        return mean_interval(self.changes[metric])

    @property
    def height(self) -> Interval:
        """The judges' mean change with its interval."""
        return mean_interval(self.jury)

    def best_of(self, count: int) -> Interval:
        """The same of a point that was chosen because it is the highest of ``count``: what looks best is flattered.

        It holds for all of them at once (Bonferroni). The plain interval would hold the truth in 78 to 91 % of studies
        of 8 to 20 looks.
        """
        return mean_interval(self.jury, level=1 - 0.05 / max(1, count))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rises = {metric: self.rise(metric).to_dict() for metric in self.changes}
        distance = self.distance if math.isfinite(self.distance) else None
        return {
            "label": self.label,
            "distance": distance,
            "rises": rises,
            "judges": self.height.to_dict(),
            "narrowed": self.narrowed,
            "remaining": {name: share.to_dict() for name, share in self.remaining.items()},
        }


@dataclass(frozen=True)
class Joint:
    """Means hide who pays: shares of prompts at one point, with Wilson intervals.

    Attributes:
        all_rise: every reward rose.
        hacked: the trained one rose, and the others fell on average.
    """

    all_rise: tuple[float, float, float]
    hacked: tuple[float, float, float]


@dataclass(frozen=True)
class Frontier:
    """All points of one run.

    Attributes:
        trained: the reward that it was trained on.
        judges: who advises; without judges the other rewards do, which may not see damage.
        steps, strengths: points along the training, and along the strength of the adapter of step ``drawn``.
        peaks: metric → its curve over the steps.
        kl_share: step k → its share of the path KL there.
        drawn: the step of training whose adapter was drawn at several strengths: the run's result.
    """

    trained: str
    judges: tuple[str, ...]
    steps: tuple[Point, ...]
    strengths: tuple[Point, ...] = ()
    peaks: dict[str, Peak] = field(default_factory=dict)
    kl_share: dict[int, float] = field(default_factory=dict)
    drawn: float = math.nan

    @property
    def best_step(self) -> Point:
        """Where the judges' mean is highest, of those whose pictures vary as the base's do: itself among them."""
        return _best(self.steps)

    @property
    def best_strength(self) -> Point | None:
        """The same over strengths; None where none were drawn."""
        return _best(self.strengths) if self.strengths else None

    def joint(self) -> Joint:
        """Shares of prompts at the last step."""
        changes = self.steps[-1].changes
        others = []
        for metric, values in changes.items():
            if metric != self.trained and not standing(metric, [self.trained]).truth:
                others.append(values)
        rose = changes[self.trained] > 0
        together = rose & np.all([values > 0 for values in others], axis=0) if others else rose
        fell = rose & (np.mean(others, axis=0) < 0) if others else np.zeros_like(rose)
        return Joint(_share(together), _share(fell))

    def advice(self) -> str:
        """When to stop and how strongly to use it, because of what."""
        best, last, chosen = self.best_step, self.steps[-1], self.best_strength
        height = best.best_of(len(self.steps) - 1)  # of those that could be better than the base
        liked = max(self.steps, key=lambda point: point.height.value)
        if best.label == 0:
            varied = " whose pictures vary as the base's do" if liked.narrowed else ""
            reason = f"the judges ({', '.join(self.judges)}) liked no step{varied} better than the base"
            milder = ""
            if chosen is not None and chosen.label > 0 and chosen.height.value > 0:
                milder = f"; at strength {chosen.label:g} of step {self.drawn:g} they say {_sigma(chosen.height)}"
            return f"Do not use it, because {reason}: at the last step they say {_sigma(last.height)}{milder}."
        parts = [f"Stop at step {best.label:g}"]
        reasons = [f"there the judges ({', '.join(self.judges)}) say {_sigma(height)} over the base"]
        if best.label != last.label:
            reasons.append(f"at the last step ({last.label:g}) {_sigma(last.height)}")
        if height.low <= 0:
            reasons[0] += ", which chance explains as well"
        if liked.narrowed:
            reasons.append(f"at step {liked.label:g}, which they like better, pictures vary less: {liked.narrowed}")
        if chosen is not None:
            use, reason = self._strength(best, chosen)
            parts += [use] if use else []
            reasons += [reason] if reason else []
        return f"{', '.join(parts)}, because {'; '.join(reasons)}."

    def _strength(self, best: Point, chosen: Point) -> tuple[str, str]:
        """How strongly to use the adapter that was drawn, and why; both empty where that says nothing new."""
        if chosen.label == 0:
            narrow = any(point.narrowed for point in self.strengths)
            varied = " whose pictures vary as the base's do" if narrow else ""
            return "", f"of step {self.drawn:g} they like no strength{varied} better than the base"
        among = _sigma(chosen.best_of(sum(point.label > 0 for point in self.strengths)))
        reason = f"of the strengths drawn of step {self.drawn:g} they like {chosen.label:g} best, {among}"
        if best.label == self.drawn:
            return f"use strength {chosen.label:g}", reason
        if chosen.label == 1:
            return "", ""
        return f"or use step {self.drawn:g} at strength {chosen.label:g}", reason

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        joint = self.joint()
        peaks = {metric: peak.to_dict() for metric, peak in self.peaks.items()}
        return {
            "trained": self.trained,
            "step": None if math.isnan(self.drawn) else self.drawn,
            "judges": list(self.judges),
            "advice": self.advice(),
            "steps": list(map(Point.to_dict, self.steps)),
            "strengths": list(map(Point.to_dict, self.strengths)),
            "peaks": peaks,
            "all_rise": list(joint.all_rise),
            "hacked": list(joint.hacked),
            "kl_share": dict(zip(map(str, self.kl_share), self.kl_share.values(), strict=True)),
        }


def frontier(
    trained: str,
    looks: Mapping[int, Evaluation],
    strengths: Mapping[float, Evaluation] | None = None,
    kl_share: Mapping[int, float] | None = None,
    drawn: float | None = None,
) -> Frontier:
    """From evaluations of the same prompts and noise.

    Args:
        looks: by step, 0 (the base) among them.
        strengths: by strength of the adapter.
        drawn: the step that it is of; None is the last look.

    Looks at which a judge was missing are left out.

    Raises:
        ValueError: if there is no step 0, nothing after it, nobody but the trained reward, or no σ of that to count in.
    """
    if 0 not in looks or len(looks) < 2:
        raise ValueError("a frontier needs the look at step 0 and one after it: set watch.evaluate_every, and train")
    base, judges = looks[0], _advisers(looks[0], trained)
    if spread_of(base.scores[trained]) == 0:
        raise ValueError(f"{trained!r} gave all pictures of the base one score: there is no σ to count its change in")
    whole = {}
    for step, look in looks.items():
        if all(name in look.scores for name in (trained, *judges)):
            whole[step] = look
    if len(whole) < 2:
        raise ValueError(f"at no look after the base were all of {', '.join(judges)} measured")
    steps = _points(whole, base, judges)
    return Frontier(
        trained,
        judges,
        steps=steps,
        strengths=_points(strengths or {}, base, judges),
        peaks=_peaks(steps),
        kl_share=dict(kl_share or {}),
        drawn=max(whole) if drawn is None else drawn,
    )


def _advisers(base: Evaluation, trained: str) -> tuple[str, ...]:
    """The judges among what was measured; without judges the other rewards: better than nobody, and the advice names
    them."""
    metrics = [metric for metric in base.scores if metric != trained]
    judges = judges_of(metrics, [trained])
    if not judges:
        judges = tuple(metric for metric in metrics if not standing(metric, [trained]).truth)
    if not judges:
        raise ValueError(
            f"nobody but {trained!r} was measured: set watch.metrics to rewards that share nothing with it"
        )
    return judges


def _points(
    evaluations: Mapping[int, Evaluation] | Mapping[float, Evaluation], base: Evaluation, judges: Sequence[str]
) -> tuple[Point, ...]:
    points = []
    for label, now in sorted(evaluations.items()):
        points.append(_point(label, now, base, judges))
    return tuple(points)


def _point(label: float, now: Evaluation, base: Evaluation, judges: Sequence[str]) -> Point:
    changes = {}
    for metric, values in base.scores.items():
        spread = spread_of(values)
        if metric in now.scores and spread > 0:
            changes[metric] = unit_means((now.scores[metric] - values) / spread, now.prompts)
    distance = math.sqrt(float(now.distances[PATH_KL].mean())) if PATH_KL in now.distances else math.nan
    jury = unit_means(jury_change(judges, now, base), now.prompts)
    return Point(
        label, distance, changes=changes, jury=jury, narrowed=narrowing(now, base), remaining=remaining(now, base)
    )


def _peaks(steps: Sequence[Point]) -> dict[str, Peak]:
    distances = np.array([point.distance for point in steps])
    peaks: dict[str, Peak] = {}
    if not np.isfinite(distances).all():
        return peaks
    for metric in steps[0].changes:
        if any(metric not in point.changes for point in steps):  # it failed at a look
            continue
        peak = fit_peak(distances, np.stack([point.changes[metric] for point in steps]))
        if peak is not None:
            peaks[metric] = peak
    return peaks


def _best(points: Sequence[Point]) -> Point:
    """Where the judges' mean is highest, of those whose pictures vary as the base's do."""
    return max(points, key=lambda point: (not point.narrowed, point.height.value))


def _share(flags: Any) -> tuple[float, float, float]:
    """Share with its Wilson interval."""
    count, total = int(np.sum(flags)), len(flags)
    low, high = wilson(count, total)
    return count / total, low, high


def _sigma(interval: Interval) -> str:
    return f"{interval.value:+.3f} σ ({interval.low:+.3f} to {interval.high:+.3f})".replace("-", "−")
