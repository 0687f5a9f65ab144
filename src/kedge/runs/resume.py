"""What may change when a run goes on, and what may not: resuming is a contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kedge.config import ConfigError, load_config
from kedge.config.loading import plain
from kedge.files import read_json, typed
from kedge.rewards.expression import Term, parse
from kedge.runs.folder import RunFolder
from kedge.runs.history import History, Stretch

# How long, how fast, how much at once, what is watched and kept: blocks and keys that may change at any resume.
MAY_CHANGE = (
    *("training.steps", "training.patience", "training.device", "training.batch_size", "training.accumulation"),
    *("optimizer.lr", "optimizer.schedule", "optimizer.warmup", "optimizer.clip", "optimizer.ema"),
    *("backprop", "memory", "speed", "model.dtype", "watch", "checkpoint"),
)
# Of these blocks, what may not: held-out evaluations are compared with the one before the first step.
MUST_STAY = ("watch.test", "watch.pictures", "watch.seed", "watch.encoder")
# Where something lies may change while it stays the same: what these point to is known by its contents.
BY_CONTENTS = {
    "model": ("model.name", "model.unet", "model.vae", "model.lcm_lora", "model.few_step_lora", "model.variant"),
    "prompts": (
        *("prompts.source", "prompts.local", "prompts.column", "prompts.split"),
        *("prompts.tuning", "prompts.test"),
    ),
    "held_out": ("watch.held_out",),
    "votes": ("algorithm.votes",),
}


class ResumeRefused(ConfigError):
    """A resume that would change what is being learnt."""


def check_resume(past: Stretch, now: Stretch, run: Path) -> None:
    """Refuse to go on with what would change what is being learnt.

    Args:
        past: how the run was trained up to its checkpoint.
        now: how it is to go on.
        run: its folder, for the message.

    Raises:
        ResumeRefused: naming every key with its old and its new value.
    """
    changed = past.differences(now)
    refused = {}
    for key, values in changed.items():
        if not allowed(key, past, now):
            refused[key] = values
    if not refused:
        return
    lines = [f"  {key} was {old!r}, now it is {new!r}" for key, (old, new) in refused.items()]
    raise ResumeRefused(
        f"{run} cannot go on with another {', '.join(refused)}: that would change what is being learnt\n"
        + "\n".join(lines)
        + f"\nResume it as it was, or start a new run from its adapter: kedge train RECIPE --from {typed(run)}"
    )


def check_length(steps: int, before: int, trained: int, run: Path) -> None:
    """Refuse to go on up to a step that lies behind: config, history and card would tell of a run that never was.

    A batch of experience is used to its end, so that a run may be trained beyond its ``training.steps``: what is
    refused is to lower them.

    Args:
        steps: ``training.steps`` as the run is to go on.
        before: as it was trained.
        trained: the step of its checkpoint.
        run: its folder, for the message.

    Raises:
        ResumeRefused: naming both.
    """
    if steps < min(before, trained):
        raise ResumeRefused(
            f"{run} is at step {trained} already: training.steps={steps} is less. Give more to train on, or train a "
            f"shorter run anew: kedge train {typed(run)} training.steps={steps} --out NEW-FOLDER"
        )


def allowed(key: str, past: Stretch, now: Stretch) -> bool:
    """Whether a key that differs may differ."""
    if key == "contents of model":
        return True  # the base is checked where it is loaded, part by part
    if key in ("reward", "contents of reward"):
        # Code of the user's own is mended in mid-run: the history says from which step on.
        before, after = past.config["reward"], now.config["reward"]
        return (before == after) or only_moved(before, after)
    if key.startswith("contents of "):
        return False
    for name, keys in BY_CONTENTS.items():
        if _below(key, keys):
            return name in past.contents and past.contents[name] == now.contents.get(name)
    return _below(key, MAY_CHANGE) and not _below(key, MUST_STAY)


def only_moved(past: str, now: str) -> bool:
    """Whether a reward is a server's before and after: it may have moved, or be asked more patiently.

    What it answers is its owner's to keep the same; the history says from which step on another one was asked. In a
    sum it stays where it is: the running statistics of a sum's parts go by their names.
    """
    for reward in (past, now):
        (first, *others) = parse(reward)
        if others or replace(first, source=None, settings=()) != Term(1.0, "remote"):
            return False
    return True


def _below(key: str, blocks: tuple[str, ...]) -> bool:
    return any(key == block or key.startswith(f"{block}.") for block in blocks)


def before_histories(folder: RunFolder) -> History:
    """What a run of an older version says of itself: its config, and which base it was trained on."""
    if not folder.config.is_file():
        return History()
    environment = folder.path / "env.json"
    facts = read_json(environment) if environment.is_file() else {}
    base = (facts.get("base") or {}).get("digest")
    return History((Stretch(0, plain(load_config(folder.config)), {"model": base} if base else {}),))
