"""Evaluate a model under a plan, once: finished evaluations are found again, stopped ones go on."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from kedge.evaluation.comparison import Comparison, compare
from kedge.evaluation.encoders import Encoder
from kedge.evaluation.evaluator import Progress, evaluate
from kedge.evaluation.grid import image_grid
from kedge.evaluation.picture_files import save_picture
from kedge.evaluation.records import add_record, file_name, find_record
from kedge.evaluation.result import Evaluation
from kedge.evaluation.run_log import Role
from kedge.files import alone, write_text
from kedge.policies.base import Policy
from kedge.rewards.base import Reward

GRID_ROWS = 8
LOCK = ".lock"


@dataclass(frozen=True)
class Plan:
    """What every model of a comparison goes through alike.

    Attributes:
        rewards: name → reward.
        role: what the prompts are to the training, see :mod:`kedge.evaluation.run_log`.
        seed, samples_per_prompt, batch_size, keep_images, encoder: as in :func:`kedge.evaluation.evaluate`.
        contents: of rewards and encoder by name, a hash of what decides their numbers besides the name.
    """

    rewards: Mapping[str, Reward]
    prompts: Sequence[str]
    seed: int = 0
    samples_per_prompt: int = 1
    batch_size: int = 16
    keep_images: int = 16
    role: Role = "given"
    encoder: Encoder | None = None
    contents: Mapping[str, str] = field(default_factory=dict)

    def key(self, identity: str) -> str:
        """Equal for evaluations that would give equal scores (up to rounding in another batch size)."""
        what = [identity, list(self.rewards), list(self.prompts), self.seed, self.samples_per_prompt, self.keep_images]
        what += [self.encoder.name if self.encoder else None, dict(sorted(self.contents.items()))]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def identity(policy: Policy, model: str, reference: bool = False) -> str:
    """Model and adapter, identified by the adapter's weights."""
    digest = hashlib.sha256(f"{model} {policy.steps}".encode())
    for parameter in () if reference else policy.trainable():
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def measure(
    policy: Policy,
    plan: Plan,
    *,
    name: str,
    model: str,
    reference: bool = False,
    folder: Path | None = None,
    role: str | None = None,
    fresh: bool = False,
    step: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate, and keep the scores and some pictures.

    Args:
        name: of the row in tables.
        model: what the policy was loaded from, with whatever else changes its pictures (guidance, for example).
        reference: measure the frozen base instead.
        folder: where to keep the result (``<role>.json`` and pictures); None keeps nothing and cannot go on.
        role: its name there; ``name`` by default.
        fresh: measure again even if the folder has it.
        step: optimizer steps behind the adapter, if that is known: by it a report notices that a run has gone on.
    """
    who = identity(policy, model, reference)
    key = plan.key(who)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / LOCK, f"evaluating in {folder}") if folder is not None else nullcontext():
        stored = find_record(folder, role or name, key) if folder is not None and not fresh else None
        if stored is not None:
            return replace(stored, name=name, facts={**stored.facts, "prompts": plan.role})
        partial_scores = folder / f".{file_name(role or name)}-{key}.jsonl" if folder is not None else None
        if partial_scores is not None and fresh:
            partial_scores.unlink(missing_ok=True)
        result = evaluate(
            policy,
            plan.rewards,
            plan.prompts,
            seed=plan.seed,
            batch_size=plan.batch_size,
            samples_per_prompt=plan.samples_per_prompt,
            reference=reference,
            name=name,
            encoder=plan.encoder,
            keep_images=plan.keep_images,
            partial_scores=partial_scores,
            identity=key,
            progress=progress,
        )
        about: dict[str, object] = {"key": key, "plan": plan.key(""), "identity": who}
        about |= {"model": model, "prompts": plan.role}
        if step is not None:
            about["step"] = step
        result = replace(result, facts={**result.facts, **about})
        if folder is not None:
            add_record(folder, result, role)
            for partial in folder.glob(f".{glob.escape(file_name(role or name))}-*.jsonl"):
                partial.unlink()
    return result


def conclude(folder: Path, ours: Evaluation, theirs: Evaluation, suffix: str = "") -> Comparison:
    """Compare two evaluations; write ``comparison.json`` and, if there are pictures, ``grid.png`` into ``folder``."""
    comparison = compare(ours, theirs)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False)
    write_text(folder / f"comparison{suffix}.json", text + "\n")
    if ours.images is not None and theirs.images is not None:
        rows = _one_per_prompt(ours.prompts[: min(len(ours.images), len(theirs.images))])[:GRID_ROWS]
        rival = theirs.name if theirs.name != ours.name else f"the other {theirs.name}"
        columns = {rival: theirs.images[rows], ours.name: ours.images[rows]}
        grid = image_grid(columns, [ours.prompts[i] for i in rows], note="Same prompt and same noise along each row.")
        save_picture(grid, folder / f"grid{suffix}.png")
    return comparison


def _one_per_prompt(prompts: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    for i, prompt in enumerate(prompts):
        first.setdefault(prompt, i)
    return list(first.values())
