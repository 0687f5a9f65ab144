"""Experiment sets: what the papers' experiments are made with in the emoji world, with their own models, or by a file.

An experiment set is a YAML file; ``emoji.yaml`` and ``papers.yaml`` ship beside this module and hold all that a target
needs: models, rewards, prompts, budgets, the methods' recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from kedge.config import ConfigError
from kedge.config.text import read_yaml

SHIPPED = ("emoji", "papers")
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
        ddpo: what DDPO is told for it, on the recipe of the row of that name.
    """

    title: str
    reward: str
    prompts: str
    recipe: str
    ddpo: Overrides = field(default_factory=dict)


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
        truth: the true preference, if there is one: never trained on.
        train, test: prompts; ``test_count`` of the latter (null: all).
        animals: the 45.
        unseen: prompts for RLCM's Figure 8, a set or a list.
        study: prompts of the human study.
        betas: ROCM's Figure 4, from strong to none.
        shared: overrides of every row of Table 1, below the row's own.
        spreads: reward → what a row's β is multiplied with when that is trained on; 1 where it is not listed.
        methods: the rows of Table 1, in its order.
        tasks: RLCM's four.
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
    betas: tuple[float, ...]
    methods: dict[str, Method]
    tasks: dict[str, Task]
    truth: str | None = None
    test_count: int | None = None
    shared: Overrides = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The six, and the truth."""
        return (*self.rewards.values(), *([self.truth] if self.truth else []))


def load_experiment_set(name: str) -> ExperimentSet:
    """One that ships, or a YAML file of the same form.

    Raises:
        ConfigError: naming the file and the key.
    """
    from pydantic import TypeAdapter, ValidationError

    path = Path(str(resources.files("kedge_papers") / "runner" / f"{name}.yaml")) if name in SHIPPED else Path(name)
    if not path.is_file():
        choices = ", ".join(SHIPPED)
        raise ConfigError(f"no experiment set {name!r}: choose from {choices}, or give a YAML file of the same form")
    data = read_yaml(path.read_text(encoding="utf-8"), str(path))
    if isinstance(data, Mapping) and "from" in data:  # a file may change another one
        base = read_yaml(Path(_file(str(data["from"]))).read_text(encoding="utf-8"), str(data["from"]))
        data = _on_top(base, {key: value for key, value in data.items() if key != "from"})
    try:
        return TypeAdapter(ExperimentSet).validate_python(data, extra="forbid")
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False))
        raise ConfigError(f"{path}: {'; '.join(problems)}") from error


def _file(name: str) -> Path:
    return Path(str(resources.files("kedge_papers") / "runner" / f"{name}.yaml")) if name in SHIPPED else Path(name)


def _on_top(base: Any, changes: Any) -> Any:
    """Blocks are merged, everything else replaced."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return {**base, **{key: _on_top(base.get(key), value) for key, value in changes.items()}}
