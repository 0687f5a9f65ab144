"""The last step and policy gradients: ``python -m bench.last_step`` measures what they miss of it, and what it adds.

The last of K steps is deterministic, so it has no log-probability. A policy gradient therefore lacks the part of the
gradient that runs through θ in that step; and where it is scored all the same, as RLCM's published code does, by a
noise that no picture shows, the term is zero on average and only adds variance. Both are measured on emoji-lcm before
any training, towards PickScore, batch by batch from the same prompts and noise. The record goes to
docs/records/last-step.json, from which ``make docs`` writes the table in docs/algorithms/ppo.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kedge.algorithms.base import Algorithm, Context
from kedge.algorithms.ppo import PPO
from kedge.algorithms.rocm import ROCM
from kedge.evaluation.statistics import jackknifed
from kedge.models import BUNDLED
from kedge.policies import load_policy
from kedge.policies.base import Backprop
from kedge.policies.fingerprint import fingerprint
from kedge.policies.settings import LoraConfig
from kedge.prompts import PromptStream, load_prompts
from kedge.rewards import load_reward
from kedge_papers.records.gradient_noise import gradient_noise, variance_ratio

RECORD = Path(__file__).parents[1] / "docs" / "records" / "last-step.json"
MODEL, REWARD, PROMPTS = "emoji-lcm", "pickscore@emoji", "emoji-activities-train"
HORIZONS, SAMPLES, SEED = (8, 4, 2), 8, 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = []
    for steps in HORIZONS:
        rows.append({"steps": steps, **measured(steps, arguments.batches)})
        print(json.dumps(rows[-1]), flush=True)
    record = {
        "model": str(fingerprint(MODEL)),
        "reward": REWARD,
        "batches": arguments.batches,
        "samples": SAMPLES,
        "pairs": True,
        "horizons": rows,
    }
    arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(arguments.out)


def measured(steps: int, batches: int) -> dict[str, list[float] | None]:
    """Of one number of steps: value, low and high (95 % over batches) of each quantity."""
    torch.manual_seed(0)
    policy = load_policy("lcm", MODEL, steps=steps, guidance=BUNDLED[MODEL], lora=LoraConfig())
    reward, prompts = load_reward(REWARD), load_prompts(PROMPTS)
    unscored = PPO(normalise="batch", advantage_clip=None)
    pathwise = ROCM(divergence="none", beta=0.0)
    ways: dict[str, tuple[Algorithm, Backprop]] = {
        "unscored": (unscored, Backprop()),
        "scored": (replace(unscored, score_last_step=True), Backprop()),
        "whole": (pathwise, Backprop()),
        "last": (pathwise, Backprop(last_steps=1)),  # x_1 held fixed: through θ in the last step alone
    }
    gradients: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for batch in range(batches):
        for name, (algorithm, backprop) in ways.items():
            source = PromptStream(prompts, seed=SEED + batch)
            generator = torch.Generator().manual_seed(SEED + batch)
            context = Context(policy, reward, source, generator, backprop, batch_size=SAMPLES)
            gradients[name].append(gradient(algorithm, context))
    # Each loss is a mean over the steps that it scores, K − 1 or K: compared as sums.
    scale = steps / (steps - 1)
    ratio = variance_ratio(gradient_noise(gradients["unscored"]), gradient_noise(gradients["scored"]), scale)
    whole, last = np.array(gradients["whole"]), np.array(gradients["last"])
    return {
        "variance_ratio": [math.exp(x) for x in (ratio.value, ratio.low, ratio.high)],
        "unseen": share_of(whole, last),
        "cosine": cosine_of_rest(whole, last),
    }


def gradient(algorithm: Algorithm, context: Context) -> np.ndarray:
    """Of the first optimizer step, ``[D]`` float64."""
    parameters = list(context.policy.trainable())
    for parameter in parameters:
        parameter.grad = None
    for loss in next(iter(algorithm.updates(context))):
        loss.value.backward()
    flat = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    return torch.cat(flat).double().numpy()


def share_of(whole: np.ndarray, part: np.ndarray) -> list[float] | None:
    """‖E g_part‖ / ‖E g‖ with its interval; None where the noise hides one of them.

    Lengths come from pairs of different batches: that of a mean of N batches is too long by its noise, so that its
    interval, which knows nothing of it, would hold the truth in 10 to 78 % of studies instead of 94 to 97 %.

    Args:
        whole, part: ``[N, D]``, each row a batch of its own, of the same noise.
    """
    of_whole, of_part = products(whole, whole), products(part, part)
    if min(of_whole.min(), of_part.min()) <= 0:
        return None
    logs = np.log(of_part / of_whole) / 2
    interval = jackknifed(float(logs[-1]), logs[:-1])
    return [math.exp(each) for each in (interval.value, interval.low, interval.high)]


def cosine_of_rest(whole: np.ndarray, part: np.ndarray) -> list[float] | None:
    """Between E g and E g − E g_part, which is what a policy gradient has on average; arguments as before."""
    of_whole, both = products(whole, whole), products(whole, part)
    of_rest = of_whole - 2 * both + products(part, part)
    if min(of_whole.min(), of_rest.min()) <= 0:
        return None
    cosines = (of_whole - both) / np.sqrt(of_whole * of_rest)
    interval = jackknifed(float(cosines[-1]), cosines[:-1])
    return [interval.value, interval.low, interval.high]


def products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """E g · E h without bias, from pairs of different batches: ``[N + 1]``, of all batches but one, and of all."""
    gram, count = first @ second.T, len(first)
    np.fill_diagonal(gram, 0)
    own = gram.sum(0) + gram.sum(1)
    without = (gram.sum() - own) / ((count - 1) * (count - 2))
    return np.append(without, gram.sum() / (count * (count - 1)))


if __name__ == "__main__":
    main()
