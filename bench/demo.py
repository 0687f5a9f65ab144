"""The demo over seeds: ``python -m bench.demo`` trains a preset with several seeds and measures each run alike.

Measured on the held-out activity prompts that the preset does not watch, many noises each, beside the base model: the
trained reward, the other rewards, the oracle, both diversities, how often each background is drawn, and the verdict;
and from the run's own log, what the alarm said first. Runs are kept and gone on with, so that a stopped bench loses
nothing. The record goes to docs/records/NAME.json, from which ``make docs`` writes the tables.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import torch

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from bench.damage import judges
from kedge.evaluation.comparison import Comparison, compare
from kedge.evaluation.encoders import load_encoder
from kedge.evaluation.evaluator import evaluate
from kedge.evaluation.guard import judge_comparison
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import mean_interval
from kedge.pixels import from_uint8
from kedge.policies.fingerprint import fingerprint
from kedge.prompts import load_prompts
from kedge.prompts.sets import PromptSets
from kedge.rewards import load_reward
from kedge.runs.folder import environment, is_run
from kedge.workflows.load_run import TrainedRun
from kedge.workflows.train import train
from kedge.worlds.emoji.captions import BACKGROUNDS
from kedge.worlds.emoji.detect import guess_background
from kedge.worlds.emoji.oracle import Oracle
from kedge.worlds.emoji.scenes import VARIANTS

RECORDS = Path(__file__).parents[1] / "docs" / "records"
PROMPTS, SEED, BATCH = "emoji-activities-held-out", 41_000, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="emoji-rocm")
    parser.add_argument("overrides", nargs="*", help="key=value, of every run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=12, help="for each prompt")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "bench-demo")
    parser.add_argument("--out", type=Path, help="docs/records/PRESET.json by default")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

    rows: list[dict[str, Any]] = []
    base: Evaluation | None = None
    for seed in range(arguments.seeds):
        folder = arguments.runs / f"{arguments.preset}-{seed}"
        run = trained(arguments.preset, [*arguments.overrides, f"training.seed={seed}"], folder)
        base = base or measured(run, arguments.pictures, reference=True)
        tuned = measured(run, arguments.pictures)
        rows.append(row(run, tuned, base) | {"seed": seed})
        print(json.dumps(rows[-1]), flush=True)
    assert base is not None
    record = {
        "preset": arguments.preset,
        "overrides": arguments.overrides,
        "model": str(fingerprint(run.config.model.name)),
        "environment": environment(1, "cpu"),
        "steps": run.config.training.steps,
        "prompts": len(set(base.prompts)),
        "pictures": arguments.pictures,
        "backgrounds": {"base": background_shares(base)},
        "base": {name: [float(values.mean()), float(values.std(ddof=1))] for name, values in base.scores.items()},
        "seeds": rows,
    }
    out = arguments.out or RECORDS / f"{arguments.preset}.json"
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(out)


def trained(preset: str, overrides: list[str], folder: Path) -> TrainedRun:
    """The run in ``folder``, trained to its end."""
    going_on = is_run(folder)
    return train(folder if going_on else preset, *([] if going_on else overrides), out=folder, resume=going_on)


def measured(run: TrainedRun, pictures: int, *, reference: bool = False) -> Evaluation:
    """The run's model, or its base, on the held-out activity prompts that the run does not watch."""
    watched = set(PromptSets(run.config).tuning.prompts)
    prompts = [prompt for prompt in load_prompts(PROMPTS) if prompt not in watched]
    rewards = {name: load_reward(name) for name in judges()}
    return evaluate(
        run.policy,
        rewards,
        prompts,
        seed=SEED,
        batch_size=BATCH,
        samples_per_prompt=pictures,
        reference=reference,
        encoder=load_encoder("emoji"),
        keep_images=len(prompts),
    )


def row(run: TrainedRun, tuned: Evaluation, base: Evaluation) -> dict[str, Any]:
    """What one seed came to."""
    comparison = compare(tuned, base)
    verdict = judge_comparison(comparison, [run.config.reward])
    return {
        "verdict": verdict.level,
        "sentence": verdict.sentence,
        "changes": changes(comparison),
        "backgrounds": background_shares(tuned),
        "activity": activity_change(tuned, base),
        "distances": {name: float(values.mean()) for name, values in tuned.distances.items()},
        "first_signs": first_signs(run),
        "seconds": round(sum(line.get("seconds") or 0 for line in run.metrics), 1),
    }


def changes(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Each reward's change, also in σ of the base's scores; each diversity's share that remains."""
    table: dict[str, dict[str, Any]] = {}
    for change in (*comparison.rewards, *comparison.statistics):
        table[change.metric] = {"difference": change.difference.to_dict(), "effect": change.effect}
        if change.remaining is not None:
            table[change.metric]["remaining"] = change.remaining.to_dict()
    return table


def activity_change(tuned: Evaluation, base: Evaluation) -> dict[str, Any]:
    """How well the activity is drawn, by the part of the oracle's verdict that says so: the base's mean, the change."""
    values = []
    for evaluation in (tuned, base):
        assert evaluation.images is not None
        images = from_uint8(torch.from_numpy(evaluation.images))
        values.append(Oracle().parts(images, evaluation.prompts).activity.numpy())
    difference = mean_interval(values[0] - values[1], base.prompts)
    return {"base": float(values[1].mean()), "difference": difference.to_dict()}


def background_shares(evaluation: Evaluation) -> dict[str, float]:
    """How often each background is drawn, by the variant that explains a picture best."""
    assert evaluation.images is not None
    images = from_uint8(torch.from_numpy(evaluation.images))
    names = Counter((guess_background(images) // VARIANTS).tolist())
    return {name: names[i] / len(images) for i, name in enumerate(BACKGROUNDS)}


def first_signs(run: TrainedRun) -> dict[str, int | None]:
    """The step at which the alarm first sounded, and at which each of its inputs first fell, by the run's own log."""
    steps: dict[str, int | None] = {}
    for line in run.metrics:
        for key, value in line.items():
            if key == "alarm" or key.startswith("alarm/"):
                steps.setdefault(key, None)
                if value and steps[key] is None:
                    steps[key] = int(line["step"])
    return steps


if __name__ == "__main__":
    main()
