"""Which emoji world an experiment set's numbers are of: one hash of everything bundled that it can compute with.

A part of the world that none of its models and rewards is loaded from does not count, so that a new one may be added
while runs are being made, and what is recorded stays comparable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from kedge.config import RunConfig
from kedge.evaluation.encoders import ENCODERS, choose_encoder
from kedge.hashing import file_hash, text_hash
from kedge.models import BUNDLED
from kedge.rewards import REWARDS, parse
from kedge.rewards.sources import world_assets
from kedge.workflows.runner.runs import Run
from kedge_papers.runner.experiment_set import ExperimentSet

EMOJI = "emoji"
SPRITES, SCALES = "atlas.png", "scales.json"  # every scene and the oracle; what z(NAME) divides by


def world_digest(experiments: ExperimentSet) -> str | None:
    """Of all bundled models, rewards and sprites that the experiments name; None for models from elsewhere.

    A run's record names the weights that it started from. This names what it was scored by, too.
    """
    if not all(reward.endswith("@emoji") for reward in experiments.rewards.values()):
        return None
    assets, parts = world_assets(), parts_of(experiments)
    hashes = {Path(SCALES): text_hash([_scales(assets / SCALES, parts)])}
    for file in _files(assets, parts):
        hashes[file.relative_to(assets)] = file_hash(file)
    return text_hash(f"{file.as_posix()} {content}" for file, content in sorted(hashes.items()))


def parts_of(experiments: ExperimentSet) -> set[str]:
    """Names of the files and folders, directly among the world's assets, that the experiments compute with."""
    parts = {SPRITES}
    for reward in (*experiments.metrics, *(task.reward for task in experiments.tasks.values())):
        parts |= _parts_of_reward(reward)
    for config in _recipes(experiments):
        if config.model.name in BUNDLED:
            parts.add(config.model.name)
        for reward in (config.reward, *config.watch.metrics):
            parts |= _parts_of_reward(reward)
        if choose_encoder(config.watch.encoder, config.model.name) == EMOJI:
            parts.add(_top(ENCODERS[EMOJI].part.bundled or ""))
    return parts


def _recipes(experiments: ExperimentSet) -> Iterator[RunConfig]:
    """Every model and method, as its recipe and its own overrides have it."""
    methods = [*experiments.bases.values(), *experiments.methods.values()]
    if experiments.black_box:
        methods += experiments.black_box.methods.values()
    for method in methods:
        yield Run("", method.recipe, method.overrides).config()
    for task in experiments.tasks.values():
        yield Run("", task.recipe, {"reward": task.reward}).config()


def _parts_of_reward(reward: str) -> set[str]:
    parts = set()
    for term in parse(reward):
        if term.source == EMOJI and term.name in REWARDS:
            parts |= set(map(_top, REWARDS[term.name].bundled))
    return parts


def _top(place: str) -> str:
    """The folder or file directly among the assets that a part lies in."""
    return Path(place).parts[0]


def _files(assets: Path, parts: Iterable[str]) -> Iterator[Path]:
    """Those of the parts, and of parts that they link to."""
    named = set(parts)
    for part in parts:
        for file in (assets / part).rglob("*"):
            if file.is_symlink():
                named.add(file.resolve().relative_to(assets.resolve()).parts[0])
    for part in named:
        for file in (assets / part, *(assets / part).rglob("*")):
            if file.is_file():
                yield file


def _scales(file: Path, parts: set[str]) -> str:
    """The file's text, as it is written, without the rewards that are loaded from anything else."""
    scales = json.loads(file.read_text(encoding="utf-8"))
    for name in list(scales):
        if name not in REWARDS or not parts.issuperset(map(_top, REWARDS[name].bundled)):
            del scales[name]
    return json.dumps(scales, indent=1) + "\n"
