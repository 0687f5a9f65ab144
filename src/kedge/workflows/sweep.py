"""What ``kedge sweep`` does: a recipe with several values for some keys, run by run, then one table over the seeds."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.config import ConfigError, load_config
from kedge.config.recipe_path import recipe_path
from kedge.evaluation.records import file_name
from kedge.rewards.expression import split_rewards
from kedge.training.before_loading import check_before_loading
from kedge.workflows.runner.matrix import Matrix
from kedge.workflows.runner.runs import Measure, Run

if TYPE_CHECKING:
    from kedge.config import RunConfig

SEED, ROLE, BASE, MODEL = "training.seed", "test", "base", "model."
LONGEST = 100  # signs of a run's name, which is a folder's
LARGEST = 1000  # runs: more are a slip of the fingers
_RANGE = re.compile(r"^(-?\d+)\.\.(-?\d+)$")


@dataclass(frozen=True)
class Axis:
    """A key of the recipe and the values that it takes, as text."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """One call of ``kedge sweep``.

    Attributes:
        recipe: a preset's name or a YAML file.
        axes: what varies; ``training.seed`` is what means and intervals go over.
        fixed: other changes, ``key=value``.
        out: ``runs/`` below it holds the runs; table and figure lie in it.
        count, samples: of the prompts that each model is judged on, and pictures for each; None takes all prompts.
        metrics: by which; None takes those of the recipe.
    """

    recipe: str
    axes: tuple[Axis, ...]
    fixed: tuple[str, ...]
    out: Path
    count: int | None = None
    samples: int = 1
    metrics: tuple[str, ...] | None = None

    @property
    def groups(self) -> tuple[Axis, ...]:
        """The axes but the seed: each combination of their values is a row of the table."""
        others = []
        for axis in self.axes:
            if axis.key != SEED:
                others.append(axis)
        return tuple(others)

    @cached_property
    def matrix(self) -> Matrix:
        """All runs, and the base model as it is: under each sampler that they have.

        Raises:
            ConfigError: a value makes a recipe that is wrong.
        """
        if (count := math.prod(len(axis.values) for axis in self.axes)) > LARGEST:
            raise ConfigError(f"{count} runs are too many for one sweep (at most {LARGEST})")
        of_model = [axis for axis in self.axes if axis.key.startswith(MODEL)]
        cells = [(values, False) for values in combinations(of_model)]
        cells += [(values, True) for values in combinations(self.axes)]
        names = [_name(values, train) for values, train in cells]
        configs = [self._config(values) for values, _ in cells]
        prompts = self._common(configs)
        runs = []
        for (values, train), config, name in zip(cells, configs, names, strict=True):
            distinct = name if names.count(name) == 1 and len(name) <= LONGEST else _short(name, values)
            run = Run(distinct, self._recipe, self._changes(values), train=train)
            runs.append(self._judged(run, config, prompts))
        return Matrix(tuple(runs), self.out / "runs")

    def label(self, run: Run) -> str:
        """The row of a run: ``kl``, or ``divergence=kl, beta=0.01`` where several keys vary."""
        parts = []
        for axis in self.groups:
            if run.train or axis.key.startswith(MODEL):
                parts.append((axis.key.rpartition(".")[2], run.overrides[axis.key]))
        words = ", ".join(f"{key}={value}" for key, value in parts)
        if not run.train:
            return f"{BASE}, {words}" if words else BASE
        return str(parts[0][1]) if len(parts) == 1 else words or "tuned"

    def arguments(self) -> list[str]:
        """The command's, but its name: what makes the same sweep again."""
        axes = [f"{axis.key}={','.join(axis.values)}" for axis in self.axes]
        options = ["--out", str(self.out), "--samples", str(self.samples)]
        if self.count is not None:
            options += ["--count", str(self.count)]
        if self.metrics is not None:
            options += ["--metrics", ",".join(self.metrics)]
        return [self.recipe, *axes, *self.fixed, *options]

    def command(self, *more: str) -> list[str]:
        """Arguments of ``kedge`` that make this sweep, or one run of it."""
        return ["sweep", *self.arguments(), *more]

    def commands(self) -> list[str]:
        """Each run as a command, for a scheduler."""
        return [f"kedge {shlex.join(self.command('--run', run.name))}" for run in self.matrix.runs]

    def _judged(self, run: Run, config: RunConfig, prompts: Sequence[str]) -> Run:
        """The run with its seed, and with what is measured of it."""
        if run.train:
            check_before_loading(config)
        metrics = self.metrics or tuple(dict.fromkeys([config.reward, *config.watch.metrics]))
        wanted = Measure(tuple(prompts), metrics, samples=self.samples, seed=config.watch.seed)
        # Another call may ask for other metrics of the same runs: each has its own record.
        role = f"{ROLE}-{_digest(json.dumps(wanted.to_dict()))}"
        return replace(run, measures={role: wanted}, seed=config.training.seed if run.train else 0)

    def _common(self, configs: Sequence[RunConfig]) -> Sequence[str]:
        """The prompts that every model is judged on.

        Raises:
            ConfigError: the recipes of the sweep leave none in common.
        """
        from kedge.prompts.sets import PromptSets

        sets = [PromptSets(config, new=True) for config in configs]
        drawn = [each.drawn(self.count).prompts for each in sets]
        if all(prompts == drawn[0] for prompts in drawn):
            return drawn[0]
        shared = set[str].intersection(*(set(each.test.prompts) for each in sets))
        common = [prompt for prompt in sets[0].test.prompts if prompt in shared]
        if len(common) < (self.count or 2):
            raise ConfigError(
                f"the runs of this sweep would be judged on different prompts ({len(common)} are in all of their test "
                "sets): set watch.test to prompts of their own, which none of them trains on"
            )
        return common if self.count is None else random.Random(0).sample(common, self.count)

    @property
    def _recipe(self) -> str:
        return str(recipe_path(self.recipe))

    def _changes(self, values: dict[str, str]) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for text in self.fixed:
            key, _, value = text.partition("=")
            changes[key] = value
        return changes | {key: value for key, value in values.items() if key != SEED}

    def _config(self, values: dict[str, str]) -> RunConfig:
        return load_config(self._recipe, [*self.fixed, *(f"{key}={value}" for key, value in values.items())])


def combinations(axes: Sequence[Axis]) -> Iterator[dict[str, str]]:
    """Key → value, for each combination of the axes' values."""
    keys = [axis.key for axis in axes]
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip(keys, values, strict=True))


def _name(values: dict[str, str], train: bool) -> str:
    """A run's folder, as far as its values can be read in it."""
    parts = [] if train else [BASE]
    for key, value in values.items():
        parts.append(f"{key.rpartition('.')[2]}-{value}")
    return file_name("_".join(parts))


def _short(name: str, values: dict[str, str]) -> str:
    """The name cut, and told from others that look like it."""
    return f"{name[:LONGEST]}-{_digest(json.dumps(values))}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_sweep(
    recipe: str,
    arguments: Sequence[str],
    out: Path | None = None,
    count: int | None = None,
    samples: int = 1,
    metrics: str | None = None,
) -> Sweep:
    """``algorithm.divergence=kl,hellinger training.seed=0..2`` as axes; keys with one value are plain changes.

    Raises:
        ConfigError: naming the argument that is wrong.
    """
    axes, fixed = [], []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{argument!r} is not key=value or key=value,value (for example training.seed=0..2)")
        values = tuple(itertools.islice(_values(text), LARGEST + 1))
        _check_values(argument, values)
        if len(values) > 1:
            axes.append(Axis(key, values))
        else:
            fixed.append(argument)
    if not axes:
        raise ConfigError(
            "nothing varies: give a key several values, as algorithm.divergence=kl,hellinger or training.seed=0..2 "
            "(kedge train runs a single one)"
        )
    place = out or Path("runs") / f"sweep-{Path(recipe).stem}"
    chosen = tuple(split_rewards(metrics)) if metrics else None
    return Sweep(recipe, tuple(axes), fixed=tuple(fixed), out=place, count=count, samples=samples, metrics=chosen)


def _check_values(argument: str, values: Sequence[str]) -> None:
    if len(values) > LARGEST:
        raise ConfigError(f"{argument}: more than {LARGEST} runs are too many for one sweep")
    for value in values:
        if values.count(value) > 1:
            raise ConfigError(f"{argument}: {value} stands there twice: each value is one run")


def _values(text: str) -> Iterator[str]:
    """``a,b`` and ``0..2``; commas inside brackets and quotes separate nothing."""
    for part in _parts(text):
        between = _RANGE.match(part.strip())
        if between is None:
            yield part.strip()
            continue
        first, last = int(between[1]), int(between[2])
        step = 1 if last >= first else -1
        yield from map(str, range(first, last + step, step))


def _parts(text: str) -> list[str]:
    """The text cut at its commas, but for those in quotes and in brackets of any kind, which may nest."""
    parts, quote, depth = [""], "", 0
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character == '"' or (character == "'" and depth):  # alone it may be an apostrophe
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return list(filter(None, parts)) or [text]


def slurm_script(sweep: Sweep) -> str:
    """A job array that does one run a task; what the cluster wants said differently is said at its top."""
    names = " ".join(shlex.quote(run.name) for run in sweep.matrix.runs)
    command = shlex.join(["kedge", *sweep.command("--run")])
    return f"""#!/bin/bash
#SBATCH --job-name={file_name(sweep.out.name)}
#SBATCH --array=0-{len(sweep.matrix.runs) - 1}
#SBATCH --output=%x-%A_%a.log
#SBATCH --gpus=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
# A task that the cluster stops goes on where it was: submit the array again. When all are done:
#   {shlex.join(["kedge", *sweep.command("--draw")])}
set -euo pipefail
cd {shlex.quote(str(Path.cwd()))}
runs=({names})
exec {command} "${{runs[$SLURM_ARRAY_TASK_ID]}}"
"""


def save_facts(sweep: Sweep) -> None:
    """What varies, beside the runs."""
    from kedge.files import write_text

    facts = {"recipe": sweep.recipe, "axes": {axis.key: axis.values for axis in sweep.axes}, "fixed": sweep.fixed}
    write_text(sweep.out / "sweep.json", json.dumps(facts, indent=2) + "\n")
