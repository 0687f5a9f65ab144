"""What a matrix is made of: runs, each a training (or a base model as it is) and what is measured of the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from kedge.config import ConfigError, RunConfig, load_config, preset
from kedge.runs.history import leaves


@dataclass(frozen=True)
class Measure:
    """What is measured of a finished model.

    Attributes:
        prompts: a named set, a file or a hub data set, or the prompts themselves.
        metrics: rewards; one whose weights are not on this machine is left out, and the result says so.
        count: use this many of the prompts, or all if there are fewer; None uses all.
        samples: pictures for each prompt.
        seed: of the noise; the same for every model, so that scores can be compared in pairs.
        keep: keep the pictures of this many prompts.
        steps: sampling steps, where they are not those of training.
        timed: also measure how long a picture takes.
        at: the model as it stood at this step, or at its last checkpoint before; None takes the run's result.
    """

    prompts: str | tuple[str, ...]
    metrics: tuple[str, ...]
    count: int | None = None
    samples: int = 1
    seed: int = 0
    keep: int = 0
    steps: int | None = None
    timed: bool = False
    at: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; without ``at`` where it says nothing, as folders of earlier versions have it."""
        fields = dict(json.loads(json.dumps(asdict(self))))
        if self.at is None:
            del fields["at"]
        return fields


@dataclass(frozen=True)
class Run:
    """One cell of a matrix.

    Attributes:
        name: its folder: letters, digits, ``.``, ``-`` and ``_``. Equal names in two targets are one run.
        recipe: what it starts from: a preset's name or a YAML file.
        overrides: dotted keys and values on top.
        label: what tables and figures call it; its name by default.
        train: False measures the base model as it is.
        measures: role → what is measured afterwards.
        seed: which repetition it is, for statistics over seeds; it is also training.seed.
        until: train only up to this step for now: a run of the same name may go on from there. None trains to the end.
    """

    name: str
    recipe: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    train: bool = True
    measures: Mapping[str, Measure] = field(default_factory=dict)
    seed: int = 0
    until: int | None = None

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name

    def arguments(self) -> list[str]:
        """The overrides as they are typed: ``key=value``."""
        changes = {**({"training.seed": self.seed} if self.train else {}), **self.overrides}
        words = []
        for key, value in changes.items():
            words.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
        return words

    def config(self) -> RunConfig:
        """Its whole configuration."""
        path = Path(self.recipe)
        recipe = path if path.suffix in (".yaml", ".yml") else Path(preset(self.recipe).path)
        changed = recipe.stat().st_mtime_ns if recipe.is_file() else 0
        return _loaded(recipe, changed, tuple(self.arguments()))


SETTLED = ("prompts.tuning", "prompts.test")  # null in a recipe; a run that starts writes down what it chose


@lru_cache(maxsize=4096)
def _loaded(recipe: Path, changed: int, arguments: tuple[str, ...]) -> RunConfig:
    """A matrix asks for its runs' configurations again and again; ``changed`` is when the recipe was written."""
    return load_config(recipe, arguments)


def check_same(run: Run, folder: Path) -> None:
    """Refuse to go on with a folder that holds another run under this name. How often it was saved is no difference.

    Raises:
        ConfigError: naming the first key that differs, there and here.
    """
    from kedge.config.loading import plain

    stored = folder / "config.yaml"
    if not (run.train and stored.is_file()):
        return
    stored_keys = dict(leaves(plain(load_config(stored))))
    for key, ours in leaves(plain(run.config())):
        theirs = stored_keys.get(key)
        left_open = ours is None and key in SETTLED
        if theirs != ours and not left_open and not key.startswith("checkpoint."):
            raise ConfigError(
                f"{folder} holds a run with {key} = {theirs!r}, but now {ours!r} is asked for: remove it, or keep both "
                "by choosing another --out"
            )
