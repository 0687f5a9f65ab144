"""The demo's ROCM step: steps a second, peak memory, and how much of the time is spent inside the networks.

    python -m bench.rocm [--steps 8] [--batch 8] [--sampling-steps 4] [--modes full checkpointed]

Each way to backpropagate runs in a process of its own. "In the networks" compares the step with its floor: the same
calls of the same networks on tensors of the same shapes, forward and backward, with nothing around them. "Of products"
compares what a step computes in a second (all its matrix products and convolutions) with what the same core reaches in
large products. Time is the processor's, on one thread: what else runs on the machine does not count.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that torchvision, which is not needed, is missing


@dataclass(frozen=True)
class Mode:
    """Settings of Backprop, of ROCM and of memory, and the precision of the networks."""

    backprop: dict[str, Any] = field(default_factory=dict)
    algorithm: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"


MODES = {
    "full": Mode(),
    "checkpointed": Mode({"checkpoint": True}),
    "last step only": Mode({"last_steps": 1}),
    "detached reference": Mode(algorithm={"reference_gradient": "detached"}),
    "no divergence": Mode(algorithm={"divergence": "none", "beta": 0.0}),
    "one random term of the divergence": Mode(algorithm={"reference_steps": 1}),
    "policy and reference in pairs": Mode({"paired": True}),
    "checkpointed pairs": Mode({"checkpoint": True, "paired": True}),
    "UNet blocks": Mode(memory={"unet_checkpoint": True}),
    "VAE blocks": Mode(memory={"vae_checkpoint": True}),
    "VAE slices": Mode(memory={"vae_slicing": True}),
    "VAE tiles": Mode(memory={"vae_tile": 32}),
    "checkpointed, VAE blocks": Mode({"checkpoint": True}, memory={"vae_checkpoint": True}),
    "checkpointed, VAE and UNet blocks": Mode(
        {"checkpoint": True}, memory={"vae_checkpoint": True, "unet_checkpoint": True}
    ),
    "checkpointed, VAE slices": Mode({"checkpoint": True}, memory={"vae_slicing": True}),
    "bfloat16": Mode(dtype="bfloat16"),
}


LARGE = 1024  # rows and columns of a large product


@dataclass(frozen=True)
class Measured:
    """One way to backpropagate.

    Attributes:
        seconds: of a step, median.
        peak: MB.
        floor: seconds of the networks' bare calls; not a number but for full backpropagation.
        flops: of a step's matrix products and convolutions, as it was computed.
        products: floating-point operations a second in large products, on the same core.
    """

    seconds: float
    peak: float
    floor: float
    flops: float
    products: float

    @property
    def share(self) -> float:
        """Of the rate of large products."""
        return self.flops / self.seconds / self.products


def seconds(call: Callable[[], object]) -> float:
    """How long a call keeps the processor busy."""
    began = time.process_time()
    call()
    return time.process_time() - began


def measure(mode: str, steps: int, batch: int, sampling_steps: int) -> Measured:
    """Time some steps of one way."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from kedge.algorithms.base import Context
    from kedge.algorithms.rocm import ROCM
    from kedge.models import BUNDLED
    from kedge.policies import load_policy
    from kedge.policies.base import Backprop
    from kedge.policies.memory import apply_memory_settings
    from kedge.policies.settings import LoraConfig, MemorySettings
    from kedge.prompts import PromptStream
    from kedge.rewards import load_reward
    from kedge.training.meter import peak_memory
    from kedge.worlds.emoji.captions import train_prompts

    torch.manual_seed(0)
    torch.set_num_threads(1)
    way, omega = MODES[mode], BUNDLED["emoji-lcm"]
    policy = load_policy("lcm", "emoji-lcm", steps=sampling_steps, guidance=omega, lora=LoraConfig(), dtype=way.dtype)
    apply_memory_settings(policy, MemorySettings(**way.memory))
    reward = load_reward("pickscore@emoji", dtype=getattr(torch, way.dtype))
    stream = PromptStream(train_prompts(), 0, True)
    generator = torch.Generator().manual_seed(0)
    context = Context(policy, reward, stream, generator, Backprop(**way.backprop), batch_size=batch, accumulation=1)
    rocm = ROCM(**{"divergence": "kl", "beta": 1e-3, **way.algorithm})
    optimizer = torch.optim.AdamW(policy.trainable(), lr=1e-4)

    def step() -> None:
        for losses in rocm.updates(context):
            for loss in losses:
                loss.value.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    cond = context.encode(stream.take(batch))
    x = torch.randn(batch, *policy.latent_shape)
    prompts = stream.take(batch)

    def floor() -> None:
        for k in range(policy.steps, 0, -1):
            policy.transition(x.clone().requires_grad_(), k, cond).mean.sum().backward()
            if k > 1:
                with policy.reference():
                    policy.transition(x.clone().requires_grad_(), k, cond).mean.sum().backward()
        images = policy.decode(x.clone().requires_grad_())
        reward(images, prompts).sum().backward()

    large = torch.randn(LARGE, LARGE)
    with FlopCounterMode(display=False) as counted:  # the first step does not count otherwise
        step()
    # Taken in turns, so that all see the same weather on the machine.
    turns = []
    for _ in range(steps):
        whole = seconds(step)
        peak = peak_memory(torch.device("cpu")) / 2**20
        turns.append((whole, seconds(floor) if mode == "full" else float("nan"), seconds(lambda: large @ large)))
    whole, least, product = (statistics.median(column) for column in zip(*turns, strict=True))
    return Measured(whole, peak, least, counted.get_total_flops(), 2 * LARGE**3 / product)


def main() -> None:
    """Print one row for each way to backpropagate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sampling-steps", type=int, default=4, help="K; the demo's by default")
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    arguments = parser.parse_args()
    setting = f"K = {arguments.sampling_steps}, batch {arguments.batch}"
    print(f"ROCM on emoji-lcm, {setting}, pickscore@emoji, KL; median of {arguments.steps} steps, one thread")
    columns = f"{'of full':>8} {'peak MB':>8} {'of products':>12} {'in the networks':>16}"
    print(f"{'backpropagation':<34} {'steps/s':>8} {columns}")
    full = float("nan")
    spawn = multiprocessing.get_context("spawn")
    for mode in arguments.modes:
        with spawn.Pool(1) as pool:
            one = pool.apply(measure, (mode, arguments.steps, arguments.batch, arguments.sampling_steps))
        full = one.seconds if mode == "full" else full
        inside = f"{one.floor / one.seconds:.0%}" if one.floor == one.floor else ""
        numbers = f"{1 / one.seconds:>8.2f} {full / one.seconds:>7.2f}x {one.peak:>8.0f} {one.share:>12.0%}"
        print(f"{mode:<34} {numbers} {inside:>16}", flush=True)


if __name__ == "__main__":
    main()
