"""An algorithm of one's own: a frozen dataclass that yields losses; the trainer does everything else.

python examples/own_algorithm.py --steps 20 --out runs/reinforce
"""

import argparse
from dataclasses import dataclass
from typing import ClassVar

import torch

import kedge
from kedge.algorithms.experience import explore
from kedge.algorithms.schedule import MicroBatch
from kedge.algorithms.workload import Passes, Workload


@dataclass(frozen=True)
class Reinforce:
    """Policy gradient at its plainest: no ratio, no clip, the batch's mean as the baseline.

    Attributes:
        scale: what the advantage is multiplied by.
    """

    needs: ClassVar[kedge.Needs] = kedge.Needs()

    scale: float = 1.0

    def updates(self, context):
        experience = explore(context, context.batch_size * context.accumulation, None)
        advantage = self.scale * (experience.rewards - experience.rewards.mean())
        steps = experience.stochastic_steps()  # k = K, …, 2: the last step draws nothing

        def loss(k):
            everyone = MicroBatch(torch.arange(len(experience)), k, share=1 / len(steps))
            log_prob = experience.log_prob(context.policy, everyone, "mean")
            return kedge.Loss(-(advantage * log_prob).mean() * everyone.share, {"reward": experience.rewards})

        yield map(loss, steps)

    def workload(self, batch_size, accumulation, steps, backprop):
        samples = batch_size * accumulation
        passes = Passes(forward=samples * (steps + steps - 1), backward=samples * (steps - 1))
        return Workload(samples, queries=samples, updates=1, passes=passes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", help="the run folder")
    options = parser.parse_args()
    run = kedge.train(
        "emoji-rocm",
        algorithm=Reinforce(scale=2.0),
        reward="compressibility",  # how small the picture is as a JPEG: a black box, which no gradient enters
        training={"steps": options.steps, "batch_size": options.batch_size},
        watch={"samples_every": 0, "evaluate_every": 0, "metrics": []},
        out=options.out,
    )
    print("minus kilobytes as a JPEG, at first and at last:", *(run.metrics[i]["reward"] for i in (0, -1)))


if __name__ == "__main__":
    main()
