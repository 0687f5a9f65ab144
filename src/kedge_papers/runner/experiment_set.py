"""Experiment sets: what the papers' experiments are made with in the emoji world, with their own models, or by a file.

An experiment set is a YAML file; ``emoji.yaml`` and ``papers.yaml`` ship beside this module and hold all that a target
needs: models, rewards, prompts, budgets, the methods' recipes. ``again.yaml``, ``again-bases.yaml`` and
``again-raters.yaml`` are the second study: what the first one left open, asked again of fresh seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from kedge.config import ConfigError
from kedge.config.text import read_yaml, validated

SHIPPED = ("emoji", "papers", "again", "again-bases", "again-raters")
SEE_DAMAGE = ("clipscore", "blipscore", "imagereward")  # random adapters far from the base lower these, and the truth
SEEDS_APART = 1000  # what repetitions of different purposes lie apart; within each they count from a multiple of it
Overrides = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One row of ROCM's Table 1.

    Attributes:
        title: the row's name, as the paper prints it.
        recipe: a preset or a YAML file.
        overrides: dotted keys and values on top.
    """

    title: str
    recipe: str
    overrides: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One of RLCM's four tasks.

    Attributes:
        title: as the paper names it.
        reward: what is trained on.
        prompts: what is drawn, in training and when measured.
        recipe: RLCM's preset for it.
        ddpo: DDPO's overrides for it, on the recipe of the row of that name.
    """

    title: str
    reward: str
    prompts: str
    recipe: str
    ddpo: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Every method on one reward.

    Attributes:
        reward: what all train on, by the papers' name.
        methods: of :attr:`ExperimentSet.methods`, in the order of the page.
        queries: reward queries of each run.
        evaluations: of the test prompts along a run, equally far apart.
        fewer: methods that half of the seeds are enough for.
        watched: the test prompts that are looked at along a run and that levels are measured on, one of
            :func:`kedge.prompts.load_prompts`' sources; None for 66 of :attr:`ExperimentSet.test`.
    """

    reward: str
    methods: tuple[str, ...]
    queries: float
    evaluations: int
    fewer: tuple[str, ...] = ()
    watched: str | None = None


@dataclass(frozen=True)
class Sweep:
    """ROCM with KL at several β on several rewards, watched along each run.

    Attributes:
        rewards: by the papers' names.
        betas: in standard deviations of the trained reward, from strong to none.
        steps: of a run.
        evaluations: of the test prompts along a run.
        longer: the reward whose runs are twice as long and twice as many; None for none.
    """

    rewards: tuple[str, ...]
    betas: tuple[float, ...]
    steps: int
    evaluations: int
    longer: str | None = None


@dataclass(frozen=True)
class BlackBox:
    """Rewards without a gradient, each with a differentiable one that explains it.

    Attributes:
        rewards: reward → surrogate.
        methods: what is compared on them.
        queries: reward queries of each run.
        evaluations: of the test prompts along a run, equally far apart.
    """

    rewards: dict[str, str]
    methods: dict[str, Method]
    queries: float
    evaluations: int


@dataclass(frozen=True)
class Grid:
    """What tuning chooses from, by successive halving: the same for every method and reward.

    Attributes:
        rates: learning rates.
        samples: trajectories of an optimizer step.
        queries: reward queries of a run at each rung; the last is the horizon, whose schedule all rungs follow.
        keep: how many configurations go on to the next rung.
        first_rung: methods for which the first rung decides, because a query of theirs takes too many passes.
    """

    rates: tuple[float, ...]
    samples: tuple[int, ...]
    queries: tuple[int, ...]
    keep: tuple[int, ...]
    first_rung: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExperimentSet:
    """What all targets share.

    Attributes:
        about: one line.
        passes: the budget of one run of ROCM's table, in network passes, the same for every method.
        queries: the budget of one run of RLCM's figures, in reward queries, the same for both methods.
        protocol: how the hyper-parameters were chosen, for the pages.
        bases: ``diffusion`` and ``consistency``: the models that training starts from.
        rewards: the papers' name of a reward → ours; the six metrics of Table 1 in its order.
        truth: the true preference, if there is one: never trained on, never tuned by.
        train, tuning, test: prompts, no two of which share any; ``test_count`` of the last (null: all). Nothing is
            chosen by the test prompts. ``tuning`` is null where every hyper-parameter is published.
        samples, noise_seed: pictures of each test prompt, and what their noise is drawn from.
        first_seed: of the repetitions; a multiple of 1,000, so that they count from 0 within a study.
        claims: the folder of :mod:`kedge_papers.claims` whose claims its records answer; "" for the first study's.
        animals: the 45.
        unseen: prompts for RLCM's Figure 8, a set or a list.
        study: prompts of the human study.
        shared: overrides of every row of Table 1, below the row's own.
        spreads: reward → standard deviation of the base model's scores: what a method's β counts in. Empty where every
            β is published, in the reward's own numbers.
        methods: the rows of Table 1, in its order.
        rows: reward → which of them are trained on it; all where it is not listed.
        tuned: reward → method → what tuning chose, on top of everything else.
        tasks: RLCM's four.
        comparison, sweep, grid, black_box: see there.
    """

    about: str
    passes: float
    queries: float
    protocol: str
    bases: dict[str, Method]
    rewards: dict[str, str]
    train: str
    test: str
    animals: str
    unseen: str | tuple[str, ...]
    study: str
    methods: dict[str, Method]
    tasks: dict[str, Task]
    comparison: Comparison
    sweep: Sweep
    grid: Grid
    black_box: BlackBox | None = None
    tuning: str | None = None
    truth: str | None = None
    test_count: int | None = None
    samples: int = 1
    noise_seed: int = 0
    first_seed: int = 0
    claims: str = ""
    shared: Overrides = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tuned: dict[str, dict[str, Overrides]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.first_seed % SEEDS_APART:
            raise ValueError(
                f"first_seed must be a multiple of {SEEDS_APART}, not {self.first_seed}: claims count seeds from there"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The six, and the truth."""
        return (*self.rewards.values(), *([self.truth] if self.truth else []))

    def rows_of(self, reward: str) -> tuple[str, ...]:
        """The methods that are trained on a reward, in Table 1's order."""
        return tuple(self.rows.get(reward, tuple(self.methods)))

    @property
    def black_boxes(self) -> Mapping[str, str]:
        """Reward without a gradient → its surrogate."""
        return self.black_box.rewards if self.black_box else {}

    def method_of(self, method: str, reward: str) -> Method:
        """A method as it is trained on a reward."""
        if self.black_box and reward in self.black_box.rewards:
            return self.black_box.methods[method]
        return self.methods[method]

    def registered(self, reward: str) -> str:
        """The name under which Kedge knows a reward of the papers; one without a gradient has one name."""
        return reward if reward in self.black_boxes else self.rewards[reward]

    def judges(self, reward: str) -> tuple[str, ...]:
        """The two held-out rewards that see damage and have a say in tuning; BLIPScore for one that is trained on.
        None of a reward without a gradient: a file size is no matter of taste.

        Random adapters far from the base lose the truth, CLIPScore and ImageReward, while PickScore, HPSv2 and the
        aesthetic score hardly fall.
        """
        if reward in self.black_boxes:
            return ()
        first = "blipscore" if reward == "clipscore" else "clipscore"
        second = "blipscore" if reward == "imagereward" else "imagereward"
        return self.rewards[first], self.rewards[second]

    def that_see_damage(self, reward: str) -> tuple[str, ...]:
        """All held-out rewards that see damage, but for one that is trained on."""
        return tuple(self.rewards[name] for name in SEE_DAMAGE if name != reward)


def load_experiment_set(name: str) -> ExperimentSet:
    """One that ships, or a YAML file of the same form.

    Raises:
        ConfigError: naming the file and the key.
    """
    path = _file(name)
    if not path.is_file():
        choices = ", ".join(SHIPPED)
        raise ConfigError(f"no experiment set {name!r}: choose from {choices}, or give a YAML file of the same form")
    return validated(ExperimentSet, _read(name), path)


def _file(name: str) -> Path:
    return Path(str(resources.files("kedge_papers") / "runner" / f"{name}.yaml")) if name in SHIPPED else Path(name)


def _read(name: str, above: tuple[str, ...] = ()) -> Any:
    """A file's content, on top of the file that it is ``from``."""
    path = _file(name)
    if name in above or not path.is_file():
        raise ConfigError(f"{above[-1]}: from: {name} " + ("is itself from there" if path.is_file() else "is no file"))
    data = read_yaml(path.read_text(encoding="utf-8"), str(path))
    if not (isinstance(data, Mapping) and "from" in data):
        return data
    changes = {key: value for key, value in data.items() if key != "from"}
    return _on_top(_read(str(data["from"]), (*above, name)), changes)


def _on_top(base: Any, changes: Any) -> Any:
    """Blocks are merged, everything else replaced."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return {**base, **{key: _on_top(base.get(key), value) for key, value in changes.items()}}
