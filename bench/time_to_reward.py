"""Which settings reach a better model soonest: time to +0.5 σ of the trained reward on prompts not trained on.

    python -m bench.time_to_reward                       # two hours of one core
    python -m bench.time_to_reward --minutes 20          # fewer candidates, shorter trainings, four seeds all the same
    python -m bench.time_to_reward --reward hpsv2@emoji  # towards another reward

Successive halving (Jamieson and Talwalkar 2016) over how far gradients go back, the terms of the divergence, K, batch,
learning rate and clip (bench/reward_race_space.py): all candidates train for a short time, the best third for twice as
long, and so on. Best is who reaches +0.5 σ (of the base model's scores) soonest on the tuning prompts of the kind that
is trained on, or has risen most where nobody has; one under which a judge that sees damage fell beyond chance, on
prompts of either kind, comes last. The truth is looked at and not chosen by. The winner, the preset as it is and
emoji-rocm of version 0.1.0 are then trained from fresh seeds and looked at on test prompts. All train on the papers'
training prompts (kedge_papers.runner.prompt_sets), none of which is among either.

Time is the processor's, on one thread: what else runs on the machine does not count. Looking is not counted either.
Every finished stretch is written down, so that the same command goes on where it was stopped. Writes RECORD
(docs/records/time-to-reward.json.gz), docs/results/time-to-reward.md and its figure.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from bench.reward_race_page import NAMES, TRUTH, fell, write_page
from bench.reward_race_space import TODAY, Candidate, before, candidates, today
from bench.reward_race_trial import UNWATCHED, Judge, Trial, train_until
from kedge.config import ConfigError, RunConfig, load_config, preset
from kedge.config.document import document
from kedge.evaluation.judges import standing
from kedge.files import replacing
from kedge.hashing import text_hash
from kedge.policies.fingerprint import fingerprint
from kedge.rewards import REWARDS, load_reward
from kedge.runs.folder import environment
from kedge_papers.runner import prompt_sets
from kedge_papers.runner.options import WHOLE

RECORD = Path(__file__).parents[1] / "docs" / "records" / "time-to-reward.json.gz"
LEVEL = 0.5  # σ of the base model's scores
KEEP = 3  # one in so many goes on to the next rung
LOOKS_A_RUNG = 2
TRAIN = {"prompts.source": "kedge_papers.runner.prompt_sets:train", **WHOLE}
SEARCH_SEED, CONFIRMATION_SEED, NOISE_SEED = 700, 800, 61_000


@dataclass(frozen=True)
class Plan:
    """How a budget is spent.

    Attributes:
        budget: seconds of the processor, looking and loading included.
        longest: seconds that the last rung and the confirmation train for.
        tuning, test: how many pictures each look draws, half of them of the kind that is trained on.
        seeds: of the confirmation.
        rungs: each trains twice as long as the one before.
        fewest: candidates at least, the preset as it is among them.
    """

    budget: float
    longest: float
    tuning: int
    test: int
    seeds: int
    rungs: int = 4
    fewest: int = 6

    @classmethod
    def of(cls, minutes: float, seeds: int) -> Plan:
        """Longer trainings and more prompts where there is time for them."""
        long = minutes >= 60
        return cls(
            60 * minutes, min(90.0, 60 * minutes / 25), tuning=64 if long else 48, test=132 if long else 48, seeds=seeds
        )

    def times(self) -> list[list[float]]:
        """When to look: for each rung, moments of training time, the last of which ends it."""
        rungs, before = [], 0.0
        for rung in range(self.rungs):
            end = self.longest / 2 ** (self.rungs - 1 - rung)
            stretch = (end - before) / LOOKS_A_RUNG
            rungs.append([before + stretch * (i + 1) for i in range(LOOKS_A_RUNG)])
            before = end
        return rungs


@dataclass
class Race:
    """The search and the confirmation, with everything that is already known."""

    plan: Plan
    preset: str
    overrides: Sequence[str]
    runs: Path
    out: Path
    record: dict[str, Any] = field(default_factory=dict)
    _clock: float = field(default_factory=time.process_time)

    def config(self, candidate: Candidate, seed: int) -> RunConfig:
        """The recipe of one training."""
        prompts = [f"{key}={value}" for key, value in TRAIN.items()]
        changes = [*prompts, *self.overrides, *candidate.overrides, *UNWATCHED, f"training.seed={seed}"]
        return load_config(preset(self.preset).path, changes)

    def judge(self, prompts: Sequence[str], level: Sequence[str], noise: int) -> Judge:
        """Who looks at trainings: the trained reward, those who see damage, and the truth."""
        config = self.config(today(), SEARCH_SEED)
        names = [config.reward, *judges(config.reward), TRUTH]
        return Judge.of(config, {name: load_reward(name) for name in names}, prompts, level, noise)

    def train(self, trial: Trial, times: Sequence[float], judge: Judge) -> Trial:
        """What is written down of it, or trained now and written down."""
        known = self.record["trials"].get(trial.key)
        trial = Trial.from_dict(known) if known else trial
        folder = self.runs / trial.key
        train_until(trial, self.config(trial.candidate, trial.seed), times, judge, folder)
        self.record["trials"][trial.key] = trial.to_dict()
        self.save()
        return trial

    def save(self) -> None:
        """Write down what is known, and the time it took."""
        now = time.process_time()
        self.record["spent"] = self.record["spent"] + now - self._clock
        self._clock = now
        line = json.dumps(self.record, ensure_ascii=False) + "\n"
        with replacing(self.out) as draft:
            draft.write_bytes(gzip.compress(line.encode(), mtime=0))

    def left(self) -> float:
        """Of the budget."""
        return self.plan.budget - self.record["spent"] - (time.process_time() - self._clock)


def judges(trained: str) -> list[str]:
    """The emoji world's rewards that see damage and share nothing with the trained one."""
    names = [f"{name}@emoji" for name, spec in REWARDS.items() if spec.in_world]
    return [name for name in names if name != trained and standing(name, [trained]).clears]


def order(trial: Trial, budget: float) -> tuple[bool, bool, float]:
    """Larger is better: nothing that vouches for it fell; reached the level; soonest, or highest where not."""
    trial = trial.seen_by(budget)
    if trial.ended == "diverged" or not trial.looks:
        return False, False, float("-inf")
    reached = trial.reaching(LEVEL, budget)
    return not fell(trial), not reached.censored, -reached.x if not reached.censored else trial.curve(trial.trained)[-1]


def search(race: Race, judge: Judge) -> list[Trial]:
    """The rungs; the finalists, best first."""
    rungs = race.plan.times()
    share = race.plan.budget - confirmation_cost(race)
    trials = first_rung(race, judge, rungs[0], share)
    for earlier, times in itertools.pairwise(rungs):
        trials.sort(key=lambda trial, end=earlier[-1]: order(trial, end), reverse=True)
        going_on = [trial for trial in trials[: max(2, round(len(trials) / KEEP))] if trial.looks]
        print(f"{len(going_on)} go on to {times[-1]:.0f} s of training, {race.left():.0f} s are left", flush=True)
        trials = [race.train(trial, times, judge) for trial in going_on]
    return sorted(trials, key=lambda trial: order(trial, rungs[-1][-1]), reverse=True)


def first_rung(race: Race, judge: Judge, times: Sequence[float], share: float) -> list[Trial]:
    """As many candidates as there is time for, once the first few have shown what one takes."""
    trials: list[Trial] = []
    # Of the search's time, each later rung takes about two thirds of what the one before took.
    part = share * (1 - 2 / 3) / (1 - (2 / 3) ** race.plan.rungs)
    until = race.record.setdefault("search_until", race.record["spent"] + part)
    for number, candidate in enumerate(drawn()):
        known = race.record.get("candidates")
        if number >= (known or race.plan.fewest) and (known or race.record["spent"] >= until):
            break
        try:
            trials.append(race.train(Trial(candidate, SEARCH_SEED), times, judge))
        except ConfigError as error:  # a combination that the preset's algorithm refuses
            print(f"left out: {candidate.name}: {error}", flush=True)
            continue
        print(f"{len(trials)}: {line(trials[-1], times[-1])}", flush=True)
    race.record.setdefault("candidates", number)
    race.save()
    return trials


def drawn() -> Iterator[Candidate]:
    """The preset as it is, then the space's."""
    yield today()
    yield from candidates(SEARCH_SEED)


def confirmation_cost(race: Race) -> float:
    """Seconds that the confirmation is likely to take: training, and looks at half a pass of training a picture."""
    looks = race.plan.rungs * LOOKS_A_RUNG
    return len(NAMES) * race.plan.seeds * (race.plan.longest + looks * 0.07 * race.plan.test + 5)


def line(trial: Trial, budget: float) -> str:
    """A trial in one line."""
    if trial.ended == "diverged" or not trial.looks:
        return f"{trial.candidate.name}: {trial.ended}"
    reached = trial.reaching(LEVEL, budget)
    when = "not reached" if reached.censored else f"reached at {reached.x:.0f} s"
    rise = trial.curve(trial.trained)[-1]
    return f"{trial.candidate.name}: {rise:+.2f} σ after {trial.looks[-1]['seconds']:.0f} s, {LEVEL} σ {when}"


def confirm(race: Race, winner: Candidate, judge: Judge) -> None:
    """The winner, today's and the old one from fresh seeds, in turns, on prompts that nothing was chosen by."""
    times = [moment for rung in race.plan.times() for moment in rung]
    race.record["confirmation"] = {"winner": winner.name, "changes": winner.changes, "trials": []}
    for seed in range(CONFIRMATION_SEED, CONFIRMATION_SEED + race.plan.seeds):
        for candidate in (winner, today(), before()):
            trial = race.train(Trial(candidate, seed), times, judge)
            race.record["confirmation"]["trials"].append(trial.key)
            print(f"seed {seed}: {line(trial, times[-1])}", flush=True)
            race.save()


def main() -> None:
    """Search, confirm, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="of one core, for everything")
    parser.add_argument("--seeds", type=int, default=4, help="of the confirmation")
    parser.add_argument("--preset", default="emoji-rocm")
    parser.add_argument("--reward", help="another than the preset's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of every training")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "time-to-reward")
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, default=RECORD.parents[1] / "results" / "time-to-reward.md")
    arguments = parser.parse_args()
    overrides = [*arguments.set, *([f"reward={arguments.reward}"] if arguments.reward else [])]
    plan = Plan.of(arguments.minutes, arguments.seeds)
    run(Race(plan, arguments.preset, overrides, arguments.runs, arguments.out), arguments.page)


def run(race: Race, page: Path) -> None:
    """Search, confirm, write; from where it was stopped."""
    torch.set_num_threads(1)
    start(race)
    tuning = race.judge(*looked_at(prompt_sets.tuning(), prompt_sets.tuning_activities(), race.plan.tuning), NOISE_SEED)
    best = [trial for trial in search(race, tuning) if trial.candidate.name != TODAY]
    test = race.judge(*looked_at(prompt_sets.test(), prompt_sets.test_activities(), race.plan.test), NOISE_SEED + 1)
    confirm(race, best[0].candidate, test)
    write_page(race.record, page)
    print(f"{race.out} {page}")


def start(race: Race) -> None:
    """The record as it stands, or a new one where it is of another race, or of a preset that has changed since."""
    recipe = race.config(today(), 0)
    facts = {
        "preset": race.preset,
        "overrides": list(race.overrides),
        "minutes": race.plan.budget / 60,
        "level": LEVEL,
        "longest": race.plan.longest,
        "model": str(fingerprint(recipe.model.name)),
        "recipe": text_hash([document(recipe)])[:16],
        "sampled": recipe.model.steps,
    }
    known = json.loads(gzip.decompress(race.out.read_bytes())) if race.out.is_file() else {}
    if known and {key: known.get(key) for key in facts} == facts and race.runs.is_dir():
        race.record = known
    else:
        race.record = {**facts, "environment": environment(1, "cpu"), "spent": 0.0, "trials": {}}


def looked_at(prompts: Sequence[str], kind: Sequence[str], count: int) -> tuple[list[str], list[str]]:
    """``count`` pictures' prompts, half of them of the kind that is trained on, over again where there are too few; and
    those, which levels are measured on."""
    others = []
    for prompt in prompts:
        if prompt not in kind:
            others.append(prompt)
    level = evenly(kind, count // 2)
    repeated = list(itertools.islice(itertools.cycle(level), count // 2))
    return repeated + evenly(others, count - count // 2), level


def evenly(prompts: Sequence[str], count: int) -> list[str]:
    """``count`` of them, from beginning to end."""
    if count >= len(prompts):
        return list(prompts)
    return [prompts[i * len(prompts) // count] for i in range(count)]


if __name__ == "__main__":
    main()
