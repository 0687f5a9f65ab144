"""What a drawn depth of backpropagation costs in noise: ``python -m bench.random_depth``.

``backprop.random_depth: p`` goes back through a drawn number of steps and weighs what it reaches, so that the expected
gradient is the full one; ``backprop.last_steps: n`` cuts it, and what is expected is another gradient. Here is how much
noisier and how much shorter each is, batch by batch from the same prompts and noise: on a chain whose gradient a pencil
gives (:mod:`kedge_papers.targets.dimension`), and on emoji-lcm before any training, towards PickScore. The record goes
to docs/records/random-depth.json, from which ``make docs`` writes the table in docs/memory.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.last_step import MODEL, PROMPTS, REWARD, SEED, products
from kedge.algorithms.base import Context
from kedge.algorithms.rocm import ROCM
from kedge.evaluation.statistics import jackknifed
from kedge.models import BUNDLED
from kedge.policies import load_policy
from kedge.policies.base import Backprop
from kedge.policies.fingerprint import fingerprint
from kedge.policies.latent import LoraConfig
from kedge.prompts import PromptStream, load_prompts
from kedge.rewards import load_reward
from kedge_papers.records.gradient_noise import gradient_noise, variance_ratio
from kedge_papers.targets.dimension import DIRECTION, REWARDS, Chain, Toy
from kedge_papers.targets.estimators import Fixed, batch_gradient

RECORD = Path(__file__).parents[1] / "docs" / "records" / "random-depth.json"
SAMPLES, DIMENSIONS = 8, 64
CHAIN_STEPS, MODEL_STEPS = 8, 4  # the papers' K, and the emoji recipes'
FULL = "full"
WAYS = {
    FULL: Backprop(),
    "last_steps: 1": Backprop(last_steps=1),
    "last_steps: 2": Backprop(last_steps=2),
    "random_depth: 0.5": Backprop(random_depth=0.5),
    "random_depth: 0.75": Backprop(random_depth=0.75),
}
Lend = Callable[[int, Backprop], Context]  # a batch's prompts and noise, the same whichever way back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=24, help="of emoji-lcm; the chain takes forty times as many")
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    record: dict[str, Any] = {"samples": SAMPLES, "dimensions": DIMENSIONS, "reward": REWARD}
    batches = 40 * arguments.batches
    record["chain"] = {"steps": CHAIN_STEPS, "batches": batches, "ways": measured(chain, CHAIN_STEPS, batches)}
    print(json.dumps(record["chain"]), flush=True)
    record["model"] = {"name": str(fingerprint(MODEL)), "steps": MODEL_STEPS, "batches": arguments.batches}
    record["model"]["ways"] = measured(model(), MODEL_STEPS, arguments.batches)
    print(json.dumps(record["model"]), flush=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(arguments.out)


def chain(batch: int, backprop: Backprop) -> Context:
    """The chain, towards one direction of its latents."""
    generator = torch.Generator().manual_seed(SEED + batch)
    prompts, reward = Fixed(("a",) * SAMPLES), Toy(DIRECTION, REWARDS[DIRECTION])
    return Context(Chain(DIMENSIONS, CHAIN_STEPS), reward, prompts, generator, backprop=backprop, batch_size=SAMPLES)


def model() -> Lend:
    """emoji-lcm, towards PickScore."""
    torch.manual_seed(0)
    policy = load_policy("lcm", MODEL, steps=MODEL_STEPS, guidance=BUNDLED[MODEL], lora=LoraConfig())
    reward, prompts = load_reward(REWARD), load_prompts(PROMPTS)

    def lend(batch: int, backprop: Backprop) -> Context:
        generator, source = torch.Generator().manual_seed(SEED + batch), PromptStream(prompts, seed=SEED + batch)
        return Context(policy, reward, source, generator, backprop=backprop, batch_size=SAMPLES)

    return lend


def measured(lend: Lend, steps: int, batches: int) -> dict[str, dict[str, Any]]:
    """Way → steps gone back through on average, variance beside the full one's, length along it, cosine of batches."""
    algorithm, gradients = ROCM(divergence="none", beta=0.0), dict[str, np.ndarray]()
    for name, backprop in WAYS.items():
        rows = [batch_gradient(algorithm, lend(batch, backprop))[0] for batch in range(batches)]
        gradients[name] = np.stack(rows).astype(np.float64)
    ways = {}
    for name, backprop in WAYS.items():
        noise = gradient_noise(gradients[name])
        ratio = variance_ratio(gradient_noise(gradients[FULL]), noise)
        agreement = noise.agreement()
        ways[name] = {
            "depth": sum(chance * (fixed.last_steps or steps) for chance, fixed in backprop.depths(steps)),
            "variance": [math.exp(each) for each in (ratio.value, ratio.low, ratio.high)],
            "along": along(gradients[name], gradients[FULL]),
            "cosine": [agreement.value, agreement.low, agreement.high],
        }
    return ways


def along(ours: np.ndarray, full: np.ndarray) -> list[float]:
    """E g · E g_full / ‖E g_full‖², without bias from pairs of different batches; 95 % by the jackknife.

    Args:
        ours, full: ``[N, D]``, each row a batch of its own, of the same noise.
    """
    ratios = products(ours, full) / products(full, full)
    interval = jackknifed(float(ratios[-1]), ratios[:-1])
    return [interval.value, interval.low, interval.high]


if __name__ == "__main__":
    main()
