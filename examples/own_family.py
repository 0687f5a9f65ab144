"""A family of one's own: Stable Diffusion by ancestral sampling ("DDPM", Ho et al. 2020), as a record and a step.

    python examples/own_family.py --steps 20 --out runs/ddpm
    kedge sample emoji-diffusion --kind examples/own_family.py:DDPM --prompt "a cat in the snow"

Everybody reads the record: recipes, plan, export, model card.
"""

import argparse
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import Tensor

import kedge
from kedge.policies.families import Family
from kedge.policies.families.catalogue import UNETS
from kedge.policies.families.unet import unet_policy
from kedge.policies.steps import ScheduledStep, check_steps, predicted_x0, schedule_of


@dataclass(frozen=True)
class DDPMStep(ScheduledStep):
    """q(x_{k-1} | x_k, x_0) at the x_0 that the network predicts: Eq. (6) and (7)."""

    alpha: Tensor
    sigma: Tensor
    of_x0: Tensor
    of_x: Tensor
    std: Tensor

    def gaussian(self, x, output):
        x0 = predicted_x0(output, x, self.alpha, self.sigma, self.prediction_type)
        return kedge.Gaussian(self.of_x0 * x0 + self.of_x * x, self.std)


def ddpm_policy(pipeline, *, steps, guidance, lora=None, size=None):
    """A policy of an open pipeline."""
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config, **DDPM.scheduler_options)
    check_steps(steps, scheduler.config.num_train_timesteps)
    scheduler.set_timesteps(steps)
    products = [*scheduler.alphas_cumprod[scheduler.timesteps], torch.ones([])]  # ᾱ of each step, then of x_0

    def constants(i, t):
        product, following = products[i], products[i + 1]
        beta = 1 - product / following
        of_x0 = following.sqrt() * beta / (1 - product)
        of_x = (product / following).sqrt() * (1 - following) / (1 - product)
        std = (beta * (1 - following) / (1 - product)).sqrt()  # 0 at the last step, k = 1
        return product.sqrt(), (1 - product).sqrt(), of_x0, of_x, std

    prediction_type = scheduler.config.prediction_type
    schedule = schedule_of(
        DDPMStep, scheduler.timesteps, constants, prediction_type=prediction_type, dtype=torch.float32
    )
    return unet_policy(pipeline, schedule, guidance=guidance, lora=lora, size=size)


DDPM = Family(
    name="ddpm",
    title="Stable Diffusion by ancestral sampling",
    make=ddpm_policy,
    backbone=UNETS,  # which network denoises, what text encoders there are, how a LoRA's layers are called
    steps=50,
    guidance=7.5,
    scheduler="DDPMScheduler",  # what the model card tells users of diffusers to set
    scheduler_options={"clip_sample": False},
    recognises=lambda files: False,  # no file tells it from a model for DDIM: it is asked for by its name
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", help="the run folder")
    options = parser.parse_args()
    run = kedge.train(
        "emoji-rocm",
        model={"name": "emoji-diffusion", "kind": f"{__file__}:DDPM", "steps": 10},
        training={"steps": options.steps, "batch_size": options.batch_size},
        watch={"samples_every": 0, "evaluate_every": 0},
        out=options.out,
    )
    kedge.sample(run, ["a cat in the snow", "a fox riding a bike"]).save(run.path / "drawn.png")
    print("mean reward, at first and at last:", *(run.metrics[i]["reward"] for i in (0, -1)))


if __name__ == "__main__":
    main()
