"""How a run goes on: from which step, after what, and whether it may."""

from __future__ import annotations

from dataclasses import replace

from kedge.algorithms.votes import read_votes
from kedge.config import RunConfig, load_config
from kedge.config.loading import plain
from kedge.hashing import text_hash
from kedge.prompts import UnreachableError
from kedge.prompts.sets import PromptSets
from kedge.rewards.contents import reward_contents
from kedge.runs.checkpoint import CheckpointStore, Saved
from kedge.runs.folder import RunFolder
from kedge.runs.history import History, Stretch, in_words
from kedge.runs.resume import before_histories, check_length, check_resume
from kedge.training.assemble import base_of
from kedge.training.parent import Parent


def stretch(step: int, config: RunConfig, sets: PromptSets, parent: Parent | None = None) -> Stretch:
    """What is trained from ``step`` on."""
    return Stretch(step, plain(config), contents(config, sets), parent=parent.to_dict() if parent else None)


def contents(config: RunConfig, sets: PromptSets) -> dict[str, str]:
    """A hash each of what the config only points to: prompts, reward, votes, and the model, if it has files."""
    hashes = {
        "prompts": text_hash(sets.train),
        "held_out": text_hash(sets.tuning.prompts),
        "reward": reward_contents(config.reward),
    }
    if (votes := getattr(config.algorithm.instance, "votes", None)) is not None:
        hashes["votes"] = text_hash(map(repr, read_votes(votes)))
    base = base_of(config.model)
    return hashes | ({"model": base.digest} if base else {})


def as_before(config: RunConfig, folder: RunFolder) -> RunConfig:
    """A resumed run's config that keeps as many prompts from training as when it started, unless it says how many."""
    started = load_config(folder.config).prompts if folder.config.is_file() else None
    if started is None or config.prompts.tuning is not None or config.prompts.test is not None:
        return config
    return replace(config, prompts=replace(config.prompts, tuning=started.tuning, test=started.test))


def checked_past(saved: Saved, config: RunConfig, now: Stretch, folder: RunFolder) -> History:
    """How a run was trained up to its checkpoint.

    Raises:
        ResumeRefused: if it would learn something else from now on, or is trained further than it is to be.
    """
    past = saved.history if saved.history.stretches else before_histories(folder)
    if past.stretches:
        before = past.stretches[-1]
        check_length(config.training.steps, before.config["training"]["steps"], saved.step, folder.path)
        check_resume(before, now, folder.path)
    return past


def outlook(config: RunConfig, folder: RunFolder) -> str:
    """What a resume would go on from, for a dry run.

    Raises:
        ResumeRefused: as :func:`checked_past`.
    """
    saved = CheckpointStore(folder.checkpoints).newest()
    if saved is None:
        return "has no whole checkpoint: it starts at step 0 again"
    where = f"goes on from step {saved.step}"
    if saved.step >= config.training.steps:
        where = f"is trained to its end already, step {saved.step}: training.steps=N trains on to N"
    try:
        sets = PromptSets(as_before(config, folder))
        now = stretch(saved.step, sets.config, sets)
    except UnreachableError:  # like a model that is not here: no reason not to plan
        return f"{where}; whether it may is not checked, for its prompts are not here"
    past = checked_past(saved, config, now, folder)
    changed = past.stretches[-1].differences(now) if past.stretches else {}
    return f"{where}, with {in_words(changed)}" if changed else where
