"""The true Stable Diffusion 1.5 LCM (860 M parameters, random weights): ours against a straightforward loop.

    python -m bench.sd15                                  # 64 px on a CPU, 512 px on a GPU
    python -m bench.sd15 --reward hpsv2 --dtype bfloat16  # with a reward of HPSv2's size
    python -m bench.sd15 --batches 1 2 4                  # memory is what limits the batch: what each way makes of it

Every way and batch runs in a process of its own, one after the other, from the same weights, prompts and noise;
the gradients are compared. The floor is the arithmetic of the calls that cannot be avoided, at the rate of this
machine's large matrix products and convolutions. Writes docs/results/sd15-DEVICE.json and .md with ``--write``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that torchvision, which is not needed, is missing

from bench.hardware import hardware, peak_of
from bench.ways import (
    ON_AVERAGE,
    PROMPT,
    RESULTS,
    STRAIGHTFORWARD,
    OnePrompt,
    PictureReward,
    Row,
    Step,
    differences,
    loop_of,
    start_from_one_adapter,
    timed_row,
)

BETA, OMEGA, STEPS = 1e-4, 7.5, 8
# Way → what it is. Kedge's ways are settings of Backprop, memory and speed.
WAYS = {
    "straightforward": "a loop from diffusers: two UNets, block checkpoints",
    "rlcm": "RLCM's update on as many pictures (policy gradient, no backpropagation through the trajectory)",
    "plain": "Kedge, nothing set",
    "sampled": "Kedge, algorithm.reference_steps: 1 (the same gradient on average, not in each step)",
    "shorter": "Kedge, backprop.random_depth: 0.5 and algorithm.reference_steps: 1 (the same gradient on average)",
    "paired": "Kedge, speed.paired_reference",
    "checkpoint": "Kedge, backprop.checkpoint",
    "checkpoint paired": "Kedge, backprop.checkpoint and speed.paired_reference",
    "blocks": "Kedge, backprop.checkpoint and memory.unet_checkpoint",
    "compiled": "Kedge, speed.compile and speed.channels_last",
}
SLOW_TO_START = ("compiled",)  # only where asked for: on a CPU the compiler takes longer than all the rest


@dataclass(frozen=True)
class Setting:
    """One comparison; ``scale`` is 1 for the true size, and less to try the benchmark itself."""

    device: str
    pixels: int
    batch: int
    dtype: str
    reward: str
    repeats: int
    scale: float = 1.0


def build(setting: Setting) -> tuple[Any, Any]:
    """The pipeline and the reward ``images → [B]``: random weights, the same for every way."""
    import torch
    from transformers import CLIPModel

    from kedge.random_models.scale import Scale
    from kedge.random_models.stable_diffusion import sd15_lcm
    from kedge.rewards.clip import FrozenCLIP
    from kedge.rewards.openclip import VIT_H_14, VIT_L_14, to_clip_config
    from kedge.rewards.preprocess import PadPreprocess

    torch.manual_seed(0)
    dtype = getattr(torch, setting.dtype)
    pipeline = sd15_lcm(Scale(setting.scale, setting.scale))
    pipeline.safety_checker = None
    with torch.no_grad():
        pipeline.unet.conv_out.weight.mul_(0.1)  # random predictions of a real one's size: no chaos over eight steps
    pipeline.to(setting.device, dtype)
    pipeline.vae.eval(), pipeline.unet.eval()
    if setting.reward == "brightness":
        return pipeline, lambda images: images.flatten(1).mean(1) * 100
    config = to_clip_config(VIT_H_14 if setting.reward == "hpsv2" else VIT_L_14)
    network = CLIPModel(config).to(setting.device, dtype).eval().requires_grad_(False)
    clip = FrozenCLIP(network, lambda _: torch.zeros(1, 1), PadPreprocess(config.vision_config.image_size))
    text = torch.nn.functional.normalize(torch.randn(1, config.projection_dim, device=setting.device), dim=-1)
    return pipeline, lambda images: 100 * (clip.image_features(images) * text).sum(-1)


def measure(way: str, setting: Setting, folder: str) -> Row:
    """Time some optimizer steps of one way and keep the first one's gradient."""
    import torch

    pipeline, score = build(setting)
    step, weights = (straightforward if way == STRAIGHTFORWARD else ours)(way, setting, pipeline, score)
    start_from_one_adapter(weights)
    exact = way not in ("rlcm", *ON_AVERAGE)
    return timed_row(
        way,
        step,
        weights,
        device=setting.device,
        steps=STEPS,
        batch=setting.batch,
        repeats=setting.repeats,
        gradient=Path(folder) / f"{way}-{setting.batch}.pt" if exact else None,
        optimizer=torch.optim.AdamW(weights, lr=1e-6),
    )


def straightforward(way: str, setting: Setting, pipeline: Any, score: Any) -> tuple[Step, list[Any]]:
    """The loop of bench/straightforward.py."""
    from bench.straightforward import Straightforward

    loop = Straightforward(pipeline, score, steps=STEPS, pixels=setting.pixels, omega=OMEGA)
    prompts = [PROMPT] * setting.batch
    return lambda generator: loop.loss(prompts, generator, BETA).backward(), loop.trainable()


def ours(way: str, setting: Setting, pipeline: Any, score: Any) -> tuple[Step, list[Any]]:
    """Kedge's own algorithms."""
    from kedge.algorithms.base import Context
    from kedge.algorithms.ppo import RLCM
    from kedge.algorithms.rocm import ROCM
    from kedge.policies.base import Backprop
    from kedge.policies.families.lcm import lcm_policy
    from kedge.policies.memory import apply_memory_settings
    from kedge.policies.settings import LoraConfig, MemorySettings, SpeedSettings

    policy = lcm_policy(pipeline, steps=STEPS, guidance=OMEGA, lora=LoraConfig(), size=setting.pixels)
    compiled = way == "compiled"
    memory = MemorySettings(unet_checkpoint=way == "blocks", vae_checkpoint=way != "rlcm")
    apply_memory_settings(policy, memory, SpeedSettings(compile=compiled, channels_last=compiled))
    usual = Backprop(checkpoint="checkpoint" in way or way == "blocks", paired="paired" in way)

    terms = 1 if way in ON_AVERAGE else None
    algorithm = RLCM(normalise="run") if way == "rlcm" else ROCM(beta=BETA, reference_steps=terms)
    reward = PictureReward(setting.reward, score)
    context = Context(policy, reward, OnePrompt(), backprop=usual, batch_size=setting.batch)

    def step(generator: Any, backprop: Backprop = usual) -> None:
        context.generator, context.backprop = generator, backprop
        for losses in algorithm.updates(context):
            for loss in losses:
                loss.value.backward()

    return step, list(policy.trainable())


def floor(setting: Setting) -> tuple[float, float, float]:
    """Operations of the required calls; seconds they take at this machine's rate; that rate."""
    import torch

    from kedge.config import parse_config
    from kedge.planning.step import count_step
    from kedge.planning.timing import measure_rates

    config = parse_config(
        {
            "model": {"name": "SimianLuo/LCM_Dreamshaper_v7", "kind": "lcm", "size": setting.pixels},
            "algorithm": {"name": "rocm", "beta": BETA},
            "reward": {"hpsv2": "hpsv2", "clip-l": "clipscore"}.get(setting.reward, "compressibility_proxy"),
            "prompts": "animals-45",
            "training": {"batch_size": setting.batch},
        }
    )
    cost = count_step(config)
    assert cost is not None
    speed = measure_rates(torch.device(setting.device), getattr(torch, setting.dtype)).flops
    return cost.step.flops, cost.step.flops / speed, speed


def at_equal_memory(rows: list[Row]) -> list[str]:
    """For each batch of the loop: Kedge's fastest way that needs no more memory, whatever its batch."""
    lines = []
    for loop in (row for row in rows if row.way == STRAIGHTFORWARD):
        fit = [row for row in rows if row.gradient and row.way != loop.way and row.peak <= loop.peak]
        if fit:
            best = min(fit, key=lambda row: row.seconds / row.batch)
            each = best.seconds / best.batch
            lines.append(
                f"- {loop.peak / 1e9:.2f} GB, room for a batch of {loop.batch} in the loop: {WAYS[best.way]}, batch "
                f"{best.batch} ({best.peak / 1e9:.2f} GB), takes {each:.2f} s a picture: "
                f"{loop.seconds / loop.batch / each:.2f}× as fast."
            )
    return ["", "At equal memory:", "", *lines] if lines else []


def report(setting: Setting, rows: list[Row], apart: dict[str, float], least: tuple[float, float, float]) -> str:
    """The table, with what it was measured on, and what fits into equal memory."""
    flops, seconds, rate = least
    peak = peak_of(hardware(setting.device)) if setting.dtype != "float32" else None
    lines = [
        f"Hardware: {hardware(setting.device)}. SD 1.5 LCM, 860 M parameters, random weights, {setting.pixels} px, "
        f"K = {STEPS}, {setting.dtype}, reward {setting.reward}; median of {setting.repeats} steps. The calls that "
        f"one picture needs are {flops / 1e12:.2f} TFLOP: {seconds:.2f} s at the {rate / 1e9:.0f} GFLOP/s that this "
        "machine reaches in large products and convolutions.",
        "",
        "| batch | way | seconds a picture | the loop = 1 | peak GB | of the floor's rate | gradient differs by |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        loop, each = loop_of(rows, row.batch), row.seconds / row.batch
        faster = f"{loop.seconds / row.seconds:.2f}× as fast" if loop else ""
        memory = f"{row.peak / 1e9:.2f} ({row.peak / loop.peak:.0%})" if loop else f"{row.peak / 1e9:.2f}"
        share = f"{flops / each / (peak or rate):.0%}{' MFU' if peak else ''}"
        if row.way in ("rlcm", *ON_AVERAGE):  # they make fewer calls than the floor counts
            share = ""
        key = f"{row.way}, {row.batch}"
        error = f"{apart[key]:.1e}" if key in apart else ""
        lines.append(f"| {row.batch} | {WAYS[row.way]} | {each:.2f} | {faster} | {memory} | {share} | {error} |")
    return "\n".join([*lines, *at_equal_memory(rows)]) + "\n"


def main() -> None:
    """Run every way in its own process, compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=None)
    parser.add_argument("--pixels", type=int, default=None)
    parser.add_argument("--batches", type=int, nargs="*", default=[1])
    parser.add_argument("--dtype", default=None, choices=("float32", "bfloat16"))
    parser.add_argument("--reward", default="brightness", choices=("brightness", "clip-l", "hpsv2"))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--ways", nargs="*", default=[w for w in WAYS if w not in SLOW_TO_START], choices=list(WAYS))
    parser.add_argument("--write", default="", help="name of the result, for docs/results/sd15-NAME.json and .md")
    arguments = parser.parse_args()
    import torch

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.startswith("cuda")
    pixels, dtype = arguments.pixels or (512 if cuda else 64), arguments.dtype or ("bfloat16" if cuda else "float32")
    setting = Setting(device, pixels, 1, dtype, arguments.reward, arguments.repeats)
    rows, spawn = [], multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for batch, way in itertools.product(arguments.batches, arguments.ways):
            with spawn.Pool(1) as pool:
                rows.append(pool.apply(measure, (way, replace(setting, batch=batch), folder)))
            print(rows[-1], file=sys.stderr, flush=True)
        apart = differences(rows)
    with spawn.Pool(1) as pool:
        least = pool.apply(floor, (setting,))
    text = report(setting, rows, apart, least)
    print(text)
    if arguments.write:
        facts = {"hardware": hardware(device), "setting": asdict(setting), "differences": apart}
        facts |= {"rows": [row.to_dict() for row in rows], "floor": least}
        (RESULTS / f"sd15-{arguments.write}.json").write_text(json.dumps(facts, indent=2) + "\n")
        (RESULTS / f"sd15-{arguments.write}.md").write_text(f"# SD 1.5 LCM: {arguments.write}\n\n{text}")


if __name__ == "__main__":
    main()
