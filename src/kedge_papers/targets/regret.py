"""What the β that finds itself loses against what one could have chosen instead, in the truth that none of it saw.

A regret is the truth of the other choice minus that of ours, seed by seed, of finished models on the test prompts.
What is best in hindsight is chosen on one noise and scored on another, both ways round: on the noise that it was chosen
by, the best of several is too good by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kedge.evaluation.tables import Cell, Table, display
from kedge_papers.records.peaks import others_peak
from kedge_papers.records.rows import Row, difference, rows
from kedge_papers.records.run_record import RunRecord
from kedge_papers.records.tables import point
from kedge_papers.targets.hacking_tables import AUTO, FEWEST, FINAL, by_strength, signed, strength

AT = "at-"  # role of a measurement at a checkpoint: at-30
ON_PATH, LAST, HINDSIGHT, SHIPPED, WEAKEST = (
    "best checkpoint on its path", "last checkpoint", "best β in hindsight", "shipped β", "weakest β"
)  # fmt: skip
CHOICES = (ON_PATH, LAST, HINDSIGHT, SHIPPED, WEAKEST)
NOTE = (
    "Regret: the truth of finished models on test prompts, the other's minus that of the β that found itself; ± is "
    "half of the 95 % interval over seeds. Best checkpoint: of every one on the path and the base, chosen by the truth "
    "on one noise and scored on the other. Last: where the run stood when it ended, whatever its judges kept. Best β "
    "in hindsight: chosen by the truth of the other seeds on one noise, scored on the other. Shipped: the one that "
    "the recipe would have had. Bold: not 0 beyond chance."
)
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Chances:
    """What one reward's runs have to choose from.

    Attributes:
        own: the β that found itself.
        fixed: title → runs with a β that was chosen, from the strongest to the weakest.
        path: step → the same runs as ``own`` as they stood there, whatever their judges chose.
        shipped: which of ``fixed`` has the recipe's own β; None if none has.
        base: the model before.
    """

    own: Row
    fixed: Mapping[str, Row]
    path: Mapping[int, Row]
    shipped: str | None
    base: Row

    @property
    def seeds(self) -> list[int]:
        """Those that all have."""
        shared = list(self.own.repetitions)
        for row in self.fixed.values():
            shared = [seed for seed in shared if seed in row.repetitions]
        return shared

    def regrets(self, truth: str) -> dict[str, BySeed]:
        """Choice → seed → regret, of the choices whose regret is known."""
        regrets: dict[str, BySeed] = {}
        if self.path:
            regrets[ON_PATH] = self._on_path(truth)
            regrets[LAST] = self._against(self.path[max(self.path)], truth)
        regrets[HINDSIGHT] = self._in_hindsight(truth)
        if self.shipped is not None:
            regrets[SHIPPED] = self._against(self.fixed[self.shipped], truth)
        regrets[WEAKEST] = self._against(next(reversed(list(self.fixed.values()))), truth)
        return {name: each for name, each in regrets.items() if each}

    def gains(self, truth: str) -> BySeed:
        """Seed → the truth above the base."""
        ours, before = self.own.scores(truth, self.seeds), self.base.scores(truth)[0]
        return dict(zip(self.seeds, (ours - before).mean(1).tolist(), strict=True))

    def _against(self, other: Row, truth: str) -> BySeed:
        apart = other.scores(truth, self.seeds) - self.own.scores(truth, self.seeds)
        return dict(zip(self.seeds, apart.mean(1).tolist(), strict=True))

    def _on_path(self, truth: str) -> BySeed:
        """Nothing where a prompt has one picture: then no second noise is there to score on."""
        ways = noises(self.own.prompts)
        if len(ways) < 2:
            return {}
        regrets = {}
        for seed in self.seeds:
            own = self.own.scores(truth, [seed])[0]
            known = [row.scores(truth, [seed])[0] for row in self.path.values()]
            steps = np.stack([self.base.scores(truth)[0], *known])  # [steps, N]
            losses = []
            for choose, score in ways:
                best = int(np.argmax(steps[:, choose].mean(1)))
                losses.append(steps[best, score].mean() - own[score].mean())
            regrets[seed] = float(np.mean(losses))
        return regrets

    def _in_hindsight(self, truth: str) -> BySeed:
        own = self.own.scores(truth, self.seeds)
        fixed = np.stack([row.scores(truth, self.seeds) for row in self.fixed.values()], axis=1)  # [S, β, N]
        regrets = {}
        for i, seed in enumerate(self.seeds):
            losses = []
            for choose, score in noises(self.own.prompts):
                best = others_peak(fixed[:, :, choose].mean(2), i)
                losses.append(fixed[i, best, score].mean() - own[i, score].mean())
            regrets[seed] = float(np.mean(losses))
        return regrets


def noises(prompts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures to choose by and pictures to score on, ``[N]`` of bool each: of two noises, both ways round.

    Of one picture for each prompt there is no second noise: all of them are both.
    """
    seen: dict[str, int] = {}
    first = np.zeros(len(prompts), dtype=bool)
    for i, prompt in enumerate(prompts):
        seen[prompt] = seen.get(prompt, 0) + 1
        first[i] = seen[prompt] % 2 == 1
    return [(first, ~first), (~first, first)] if not first.all() else [(first, first)]


def chances(runs: Sequence[RunRecord], base: Row | None, truth: str) -> Chances | None:
    """Of one reward's runs; None if there are fewer than two seeds that have everything."""
    measured, groups = rows(runs, FINAL), by_strength(runs)
    own = measured.get(AUTO)
    if own is None or base is None or not own.has(truth):
        return None
    fixed = {}
    for title in groups:
        if title != AUTO and title in measured:
            fixed[title] = measured[title]
    recipes = strength(groups[AUTO][0])
    shipped = None
    for title in fixed:
        if np.isclose(strength(groups[title][0]), recipes, rtol=1e-6):
            shipped = title
    known = Chances(own, fixed, path=path_of(groups[AUTO], own), shipped=shipped, base=base)
    return known if fixed and len(known.seeds) >= FEWEST else None


def path_of(runs: Sequence[RunRecord], own: Row) -> dict[int, Row]:
    """Step → the runs as they stood there; the steps at which every one of ``own`` was measured."""
    roles = dict.fromkeys(role for run in runs for role in run.evaluations if role.startswith(AT))
    path = {}
    for role in roles:
        row = rows(runs, role)[AUTO]
        if set(row.repetitions) >= set(own.repetitions) and row.prompts == own.prompts:
            path[int(role.removeprefix(AT))] = row
    return dict(sorted(path.items()))


def regret_table(rewards: Mapping[str, Sequence[RunRecord]], base: Row | None, truth: str) -> Table | None:
    """A row for each reward, and their mean over the seeds that all have."""
    lines, gains, regrets = [], list[BySeed](), list[Mapping[str, BySeed]]()
    for reward, runs in rewards.items():
        known = chances(runs, base, truth)
        if known is None or base is None:
            continue
        gains.append(known.gains(truth))
        regrets.append(known.regrets(truth))
        gain = difference(known.own, base, truth)
        above = Cell(gain, style="signed", bold=gain.excludes(0))
        lines.append((display(reward).title, _cells(len(known.seeds), above, regrets[-1])))
    if len(lines) > 1:
        mean = _mean(gains)
        both = {}
        for choice in CHOICES:
            both[choice] = _mean([each.get(choice, {}) for each in regrets])
        if mean:
            lines.append(("mean", _cells(len(mean), signed(list(mean.values())), both)))
    heads = ("Seeds", "Truth above the base", *(f"Regret: {choice}" for choice in CHOICES))
    if not lines:
        return None
    return Table("Trained on", heads, heads, rows=tuple(lines), title="The β that finds itself", note=NOTE)


def _cells(seeds: int, above: Cell, regrets: Mapping[str, BySeed]) -> tuple[Cell | None, ...]:
    cells: list[Cell | None] = [point(seeds, digits=0), above]
    for choice in CHOICES:
        cells.append(signed(list(regrets[choice].values())) if regrets.get(choice) else None)
    return tuple(cells)


def _mean(each: Sequence[BySeed]) -> BySeed:
    """Seed → the mean over rewards, of the seeds that all of them have."""
    means = {}
    for seed in each[0] if each else ():
        if all(seed in values for values in each):
            means[seed] = float(np.mean([values[seed] for values in each]))
    return means
