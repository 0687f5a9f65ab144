"""Which moment of a run is best, by rewards that it was not trained on; and when looking further is no use.

H_t is what the judges say at step t: their mean paired change from the base, in standard deviations of the base's
scores, prompt by prompt, from the same noise at every look. The best step so far is remembered. The run has passed its
best when H_t lies more than one standard error of the paired difference below it, twice in a row. One look can be
chance; by the second the model has been trained further, and still is worse.

Judges look at one picture at a time, and like a model that always draws the same good one. So a step whose pictures
vary less than 85 % of the base's, within a prompt or between prompts and beyond chance, is never the best, and counts
as one below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kedge.evaluation.declines import jury_change, narrowing
from kedge.evaluation.guard import ALIKE
from kedge.evaluation.judges import standing
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import Line, is_look
from kedge.evaluation.statistics import Floats, unit_means
from kedge.evaluation.statistics.standard_error import over

FALLS = 2  # looks in a row
NARROWED = "its pictures vary less than the base's, so that it cannot be the best"


def judges_of(metrics: Iterable[str], trained: Iterable[str]) -> tuple[str, ...]:
    """Those of the metrics that may judge: they share nothing with the trained rewards, and see damage."""
    names = tuple(trained)
    judges = []
    for metric in metrics:
        if metric not in names and standing(metric, names).clears:
            judges.append(metric)
    return tuple(judges)


@dataclass(frozen=True)
class Look:
    """What one look found.

    Attributes:
        height: H_t, in σ of the base's scores.
        best: whether this is the best step so far.
        over: whether the run has passed its best.
        narrowed: where its pictures vary less than the base's; empty if nowhere.
        sentence: for the user.
    """

    height: float
    best: bool
    over: bool
    narrowed: str
    sentence: str


@dataclass
class BestByJudges:
    """The best step of one run so far.

    Attributes:
        judges: at least one, of :func:`judges_of`.
        step: the best.
        by_prompt: H of that step, prompt by prompt; empty before the first look whose pictures vary, which is the best
            until then: the base, or, of a run that is judged from a resume on, where it was.
        falls: looks in a row that were below it.
    """

    judges: tuple[str, ...]
    step: int = 0
    by_prompt: Floats = field(default_factory=lambda: np.zeros(0))
    falls: int = 0

    def look(self, step: int, now: Evaluation, base: Evaluation) -> Look:
        """Compare this moment with the best one; both evaluations of the same prompts and noise."""
        heights = unit_means(jury_change(self.judges, now, base), now.prompts)
        first = not len(self.by_prompt)
        difference = heights if first else heights - self.by_prompt
        estimate = over(difference)
        change, error = estimate.value, estimate.error
        narrowed = narrowing(now, base) if step > 0 else ""
        best = not narrowed and (first or change > 0)
        self.falls = self.falls + 1 if not first and (narrowed or change < -error) else 0
        numbers = f"{heights.mean():+.3f} σ, {change:+.3f} ± {error:.3f}".replace("-", "−")
        sentence = f"the judges ({', '.join(self.judges)}) say {numbers} from step {self.step}, the best so far"
        if narrowed:
            sentence += f"; {NARROWED}: {narrowed}"
        if best:
            self.step, self.by_prompt = step, heights
        return Look(float(heights.mean()), best, over=self.falls >= FALLS, narrowed=narrowed, sentence=sentence)

    def state_dict(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        judged = {"step": self.step, "by_prompt": self.by_prompt.tolist(), "falls": self.falls}
        return {**judged, "judges": list(self.judges)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.step, self.falls = state["step"], state["falls"]
        self.by_prompt = np.asarray(state["by_prompt"], dtype=np.float64)


def chosen_step(log: Sequence[Line]) -> float | None:
    """The step that a run's judges chose, by its last look; None where none did."""
    chosen = None
    for line in log:
        if is_look(line):
            chosen = line.get("best_step")
    return chosen


def choice_in_words(log: Sequence[Line]) -> str:
    """What a run's log says about the choice, for its report; empty if nothing was chosen, or nothing is any more."""
    chosen, narrowed = chosen_step(log), []
    for line in log:
        narrowed += [f"{line['step']:g}"] if line.get("narrowed") else []
    if chosen is None:
        return ""
    sentence = f"The result is step {chosen:g}, which the judges liked best."
    if chosen == 0:
        sentence = (
            "The result is step 0, the base itself: the judges liked nothing better that this training came to. Anchor "
            "it more strongly, lower the learning rate, or choose another reward."
        )
    if narrowed:
        sentence += (
            f" Not to choose from: {'steps' if len(narrowed) > 1 else 'step'} {', '.join(narrowed)}, whose pictures "
            f"vary less than {100 * ALIKE:.0f} % of the base's, beyond chance."
        )
    return sentence
