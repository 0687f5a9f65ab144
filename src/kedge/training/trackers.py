"""Experiment trackers, for those who have one: Weights & Biases, trackio, or a class of your own. None is required.

Both start offline: what they record stays on this machine until its user sends it (``wandb sync``) or says otherwise
(``WANDB_MODE=online``, ``TRACKIO_SPACE_ID``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.config import ConfigError, RunConfig
from kedge.config.loading import plain
from kedge.registry import UnknownNameError, load_object, suggest

if TYPE_CHECKING:
    from torch import Tensor

    from kedge.training.loggers import Logger

PROJECT = "kedge"
Settings = Mapping[str, Any]


class WandbTracker:
    """Weights & Biases: numbers, pictures and the whole config; files in the run folder, below ``wandb/``.

    Args:
        folder: of the run; its name is the run's.
        settings: the config's keys, dotted, and their values.
    """

    def __init__(self, folder: Path, settings: Settings):
        self._folder, self._settings = folder, settings
        self._run: Any = None

    def start(self, step: int) -> None:
        """Begin, or go on with, the run of this folder."""
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self._folder.name,
            dir=str(self._folder),
            id=os.environ.get("WANDB_RUN_ID", self._folder.resolve().name),
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=dict(self._settings),
            settings=wandb.Settings(silent=True),
        )

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """The numbers of one step."""
        self._run.log(numbers, step=step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        """``[3, H, W]`` in [0, 1]."""
        import wandb

        from kedge.pixels import to_uint8

        self._run.log({name: wandb.Image(to_uint8(image[None])[0].numpy())}, step=step)

    def close(self) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()


class TrackioTracker:
    """trackio: numbers, pictures and the whole config in its local database; ``trackio show`` draws them.

    Args:
        folder: of the run; its name is the run's.
        settings: the config's keys, dotted, and their values.
    """

    def __init__(self, folder: Path, settings: Settings):
        self._folder, self._settings = folder, settings
        self._started = False

    def start(self, step: int) -> None:
        """Begin, or go on with, the run of this name."""
        import trackio

        resume = "allow" if step else "never"
        trackio.init(project=PROJECT, name=self._folder.name, config=dict(self._settings), resume=resume, embed=False)
        self._started = True

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """The numbers of one step."""
        import trackio

        trackio.log(numbers, step=step)

    def image(self, step: int, name: str, image: Tensor) -> None:
        """``[3, H, W]`` in [0, 1]."""
        import trackio

        from kedge.pixels import to_uint8

        trackio.log({name: trackio.Image(to_uint8(image[None])[0].numpy())}, step=step)

    def close(self) -> None:
        """Finish the run."""
        if self._started:
            import trackio

            trackio.finish()


TENSORBOARD = "tensorboard"
TRACKERS: dict[str, Callable[[Path, Settings], Logger]] = {"wandb": WandbTracker, "trackio": TrackioTracker}


def wants_tensorboard(config: RunConfig) -> bool:
    """By either of its keys."""
    return config.watch.tensorboard or TENSORBOARD in config.watch.trackers


def check_trackers(config: RunConfig) -> None:
    """Refuse, before anything loads, a tracker that is unknown or not installed here.

    Raises:
        ConfigError: saying what to write or to install.
    """
    check_tracker_names(config)
    for name in config.watch.trackers:
        if name in TRACKERS and find_spec(name) is None:
            raise ConfigError(f"watch.trackers: {name} is not installed here: pip install {name}")


def check_tracker_names(config: RunConfig) -> None:
    """Refuse a tracker that there is nowhere; on the machine that trains it may be installed.

    Raises:
        ConfigError: saying what to write.
    """
    for name in config.watch.trackers:
        if name == TENSORBOARD:
            continue
        if ":" in name:
            _own(name)
        elif name not in TRACKERS:
            choices = (TENSORBOARD, *TRACKERS)
            listing = f"{', '.join(choices)}, or module:Class"
            raise ConfigError(
                f"watch.trackers: unknown tracker {name!r}.{suggest(name, choices)} Choose from: {listing}"
            )


def make_trackers(config: RunConfig, folder: Path) -> list[Logger]:
    """Those that the config names, but TensorBoard; nothing is opened before they start."""
    settings = flat_settings(config)
    makers = []
    for name in config.watch.trackers:
        if name != TENSORBOARD:
            makers.append(TRACKERS.get(name) or _own(name))
    return [make(folder, settings) for make in makers]


def flat_settings(config: RunConfig) -> dict[str, Any]:
    """``optimizer.lr`` → 6e-5: every key of the config, as trackers show hyper-parameters; lists are text."""
    settings: dict[str, Any] = {}

    def add(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                add(item, f"{path}.{name}" if path else name)
        else:
            settings[path] = value if isinstance(value, int | float | str | bool) else str(value)

    for name in ("algorithm", "reward", "model", "prompts", "optimizer", "training", "watch", "checkpoint"):
        add(plain(getattr(config, name)), name)
    return settings


def _own(path: str) -> Callable[[Path, Settings], Logger]:
    """A class of your own: ``Class(folder, settings)`` with the methods of a Logger."""
    try:
        own: Callable[[Path, Settings], Logger] = load_object(path)
    except UnknownNameError as error:
        raise ConfigError(f"watch.trackers: {error}") from error
    missing = []
    for name in ("start", "log", "image", "close"):
        if not hasattr(own, name):
            missing.append(name)
    if missing:
        raise ConfigError(f"watch.trackers: {path} has no {missing[0]!r}: a tracker has start, log, image and close")
    return own
