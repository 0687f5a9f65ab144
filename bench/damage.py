"""Which judges notice damage: ``python -m bench.damage`` scores random adapters, which nobody trained towards anything.

An adapter of random weights harms a model without pleasing any reward. It is scaled until the path's KL divergence to
the base is about 20 or 70 nats, and everything is scored from the same noise as the base. A judge that does not fall
then would not fall either when a model that was trained towards something else is ruined: it clears nobody. The record
goes to docs/records/damage.json, from which ``make docs`` writes the table in docs/rewards.md.

``--only vqa@emoji`` measures one more judge on the same pictures and adds its row: distances, diversity and the oracle
are measured again, and unless all of them come out as recorded, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kedge.divergences import KL
from kedge.evaluation.encoders import load_encoder
from kedge.evaluation.evaluator import evaluate
from kedge.evaluation.result import Evaluation
from kedge.evaluation.statistics import mean_interval
from kedge.models import BUNDLED
from kedge.policies import load_policy
from kedge.policies.base import draw_noise, rollout
from kedge.policies.fingerprint import fingerprint
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.prompts import load_prompts
from kedge.rewards import REWARDS, load_reward

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

RECORD = Path(__file__).parents[1] / "docs" / "records" / "damage.json"
MODEL, STEPS = "emoji-lcm", 4
TARGETS = (20.0, 70.0)  # nats
SEED, BATCH = 20_260, 16
TRUTH = "oracle"
CLOSE = 0.05  # of the target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=6, help="random adapters at each distance")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--pictures", type=int, default=2, help="for each prompt")
    parser.add_argument("--only", nargs="+", metavar="JUDGE", help="add these to the record that is there")
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    names = [*arguments.only, TRUTH] if arguments.only else judges()
    record = measured(names, arguments.adapters, prompts=arguments.prompts, pictures=arguments.pictures)
    if arguments.only:
        record = joined(json.loads(arguments.out.read_text(encoding="utf-8")), record, arguments.only)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(arguments.out)


def measured(names: Sequence[str], adapters: int, *, prompts: int, pictures: int) -> dict[str, Any]:
    """The record: each judge's change at each distance."""
    policy = load_policy("lcm", MODEL, steps=STEPS, guidance=BUNDLED[MODEL], lora=LoraConfig(rank=16, alpha=32))
    assert isinstance(policy, LatentPolicy)
    texts = load_prompts("emoji-held-out", count=prompts)
    rewards = {name: load_reward(name) for name in names}
    encoder = load_encoder("emoji")

    def scored(reference: bool = False) -> Evaluation:
        options = {"seed": SEED, "batch_size": BATCH, "samples_per_prompt": pictures, "encoder": encoder}
        return evaluate(policy, rewards, texts, reference=reference, **options)

    base, rows = scored(reference=True), []
    for target in TARGETS:
        runs, distances = [], []
        for number in range(adapters):
            distances.append(randomise(policy, number, target, texts[:8]))
            runs.append(scored())
            print(f"KL {distances[-1]:.1f}", flush=True)
        rows.append({"kl": round(float(np.mean(distances)), 1), "changes": changes(runs, base)})
    model = str(fingerprint(MODEL))
    return {"model": model, "adapters": adapters, "prompts": len(texts), "pictures": pictures, "distances": rows}


def joined(record: dict[str, Any], more: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """``record`` with the rows ``names`` of ``more``, if all else in ``more`` is as recorded; in the judges' order.

    Raises:
        SystemExit: it is not: these were other pictures.
    """
    rows = []
    for old, new in zip(record["distances"], more["distances"], strict=True):
        again = {metric: value for metric, value in new["changes"].items() if metric not in names}
        recorded = {metric: old["changes"].get(metric) for metric in again}
        if again != recorded or new["kl"] != old["kl"]:
            raise SystemExit(
                f"other pictures than the record's: {new['kl']}, {again}, recorded {old['kl']}, {recorded}"
            )
        both = old["changes"] | new["changes"]
        order = [name for name in judges() if name in both]
        rows.append({**old, "changes": {name: both[name] for name in [*order, *both]}})
    settings = {**record, "distances": None}
    if settings != {**more, "distances": None}:
        raise SystemExit(f"measured otherwise than the record: {more}, recorded {record}")
    return {**record, "distances": rows}


def judges() -> list[str]:
    """Every reward of the emoji world, and the truth."""
    return [f"{name}@emoji" for name, spec in REWARDS.items() if spec.in_world] + [TRUTH]


def randomise(policy: LatentPolicy, seed: int, target: float, prompts: Sequence[str]) -> float:
    """Give the adapter random weights at a distance of about ``target`` nats; returns the distance."""
    assert policy.adapter is not None
    generator = torch.Generator().manual_seed(seed)
    directions = {name: torch.randn(w.shape, generator=generator) for name, w in policy.adapter.weights.items()}
    scale = 0.02
    for _ in range(12):
        for name, weight in policy.adapter.weights.items():
            weight.data.copy_(scale * directions[name])
        distance = path_kl(policy, prompts)
        if abs(distance / target - 1) < CLOSE:
            return distance
        scale *= min(2.0, max(0.5, (target / distance) ** 0.25))  # the update is a product of two: KL ~ scale⁴
    return distance


@torch.no_grad()
def path_kl(policy: LatentPolicy, prompts: Sequence[str]) -> float:
    """Mean over prompts of Σ_{k=K..2} KL(p_θ ‖ p_ref) along the policy's own path, in nats."""
    cond = policy.encode(prompts)
    noise = draw_noise(policy, torch.Generator().manual_seed(SEED), len(prompts))
    path, divergence, total = rollout(policy, cond, noise), KL(), 0.0
    for k in range(policy.steps, 1, -1):
        x, _, p = path.step(k)
        with policy.reference():
            total += float(divergence(p, policy.transition(x, k, cond)).mean())
    return total


def changes(runs: Sequence[Evaluation], base: Evaluation) -> dict[str, Any]:
    """Each reward's change in standard deviations of the base's scores; the share of each diversity that is kept."""
    changes: dict[str, Any] = {}
    for metric, theirs in base.scores.items():
        table = np.stack([run.scores[metric] - theirs for run in runs]) / theirs.std(ddof=1)
        changes[metric] = interval(table, base.prompts)
    for metric, theirs in base.statistics.items():
        if metric.startswith("diversity"):
            table = np.stack([run.statistics[metric] for run in runs]) / theirs.mean()
            changes[metric] = interval(table, base.prompts)
    return changes


def interval(table: np.ndarray, prompts: Sequence[str]) -> list[float]:
    """Value, low and high."""
    mean = mean_interval(table, prompts)
    return [round(x, 3) for x in (mean.value, mean.low, mean.high)]


if __name__ == "__main__":
    main()
