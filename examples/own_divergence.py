"""A divergence of one's own: any f of the density ratio, or any function of two Gaussians.

python examples/own_divergence.py --steps 20 --out runs/jeffreys
"""

import argparse
from dataclasses import dataclass

import torch

import kedge


def jeffreys(reduction="mean"):
    """KL both ways: f = (r − 1) log r."""
    return kedge.FDivergence(lambda log_r: (log_r.exp() - 1) * log_r, reduction)


@dataclass(frozen=True)
class PseudoHuber:
    """√(1 + δ²) − 1: KL for small drifts; far away its gradient stays bounded. No f is needed."""

    reduction: str = "mean"

    def __call__(self, p, q):
        return (1 + p.squared_distance(q, self.reduction)).sqrt() - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", help="the run folder")
    options = parser.parse_args()

    # A function f is integrated exactly, with its gradient: between Gaussians of one std, KL both ways is twice KL.
    p, q = (kedge.Gaussian(mean * torch.ones(1, 4, 8, 8), torch.tensor(0.5)) for mean in (0.2, 0.0))
    print("KL both ways", jeffreys()(p, q).item(), "and twice KL", 2 * kedge.KL("mean")(p, q).item())

    run = kedge.train(
        "emoji-rocm",
        algorithm={"name": "rocm", "divergence": jeffreys, "beta": 10.0},  # per latent dimension, so a larger β
        training={"steps": options.steps, "batch_size": options.batch_size},
        watch={"samples_every": 0, "evaluate_every": 0},
        out=options.out,
    )
    print("divergence at the last step:", run.metrics[-1]["divergence"])


if __name__ == "__main__":
    main()
