"""A few-step flow transformer (Stable Diffusion 3.5 Medium Turbo): ours against a straightforward loop.

    python -m bench.flow                            # its true widths, a tenth of its layers, 64 px on a CPU
    python -m bench.flow --depth 1 --pixels 512 --device cuda

Random weights; every way runs in a process of its own, one after the other, from the same weights, prompt and noise.
``plain`` must have the loop's gradient; the others have it in expectation, in fewer passes. Writes
docs/results/flow-NAME.json and .md with ``--write NAME``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.hardware import hardware
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
    start_from_one_adapter,
    timed_row,
)

BETA, STEPS = 1e-4, 8
WAYS = {
    "straightforward": "a loop from diffusers: two transformers, block checkpoints",
    "plain": "Kedge, nothing set",
    "sampled": "Kedge, algorithm.reference_steps: 1 (the same gradient on average, not in each step)",
    "shorter": "Kedge, backprop.random_depth: 0.5 and algorithm.reference_steps: 1 (the same gradient on average)",
}


@dataclass(frozen=True)
class Setting:
    """One comparison.

    Attributes:
        pixels: side of the pictures.
        depth: layers, as a share of the true number.
        width: 1, but for trying the benchmark itself.
    """

    device: str = "cpu"
    pixels: int = 64
    depth: float = 0.1
    width: float = 1.0
    repeats: int = 1


def build(setting: Setting) -> tuple[Any, Callable[[Any], Any]]:
    """The pipeline and a reward ``images → [B]``: random weights, the same for every way."""
    import torch

    from kedge.random_models.scale import Scale
    from kedge.random_models.sd3 import sd35_medium_turbo

    torch.manual_seed(0)
    size = None if setting.width == 1 else setting.pixels
    pipeline = sd35_medium_turbo(Scale(setting.width, setting.depth, size))
    with torch.no_grad():
        pipeline.transformer.proj_out.weight.mul_(0.1)  # random predictions of a real one's size
    pipeline.to(setting.device)
    for part in (pipeline.transformer, pipeline.vae):
        part.eval()
    return pipeline, lambda images: images.flatten(1).mean(1) * 100


def straightforward(setting: Setting, pipeline: Any, score: Any) -> tuple[Step, list[Any]]:
    """The loop of bench/flow_loop.py."""
    from bench.flow_loop import FlowLoop

    loop = FlowLoop(pipeline, score, prompts=[PROMPT], steps=STEPS, pixels=setting.pixels)
    return lambda generator: loop.loss(generator, BETA).backward(), loop.trainable()


def ours(way: str, setting: Setting, pipeline: Any, score: Any) -> tuple[Step, list[Any]]:
    """Kedge's ROCM."""
    from kedge.algorithms.base import Context
    from kedge.algorithms.rocm import ROCM
    from kedge.policies import make_policy
    from kedge.policies.base import Backprop
    from kedge.policies.memory import apply_memory_settings
    from kedge.policies.settings import LoraConfig, MemorySettings, SpeedSettings

    policy = make_policy("sd35-turbo", pipeline, steps=STEPS, guidance=0.0, lora=LoraConfig(), size=setting.pixels)
    apply_memory_settings(policy, MemorySettings(vae_checkpoint=True), SpeedSettings())
    algorithm = ROCM(beta=BETA, reference_steps=1 if way in ON_AVERAGE else None)
    usual = Backprop()

    context = Context(policy, PictureReward("brightness", score), OnePrompt(), backprop=usual, batch_size=1)
    context.encode([PROMPT])  # once in a run

    def step(generator: Any, backprop: Backprop = usual) -> None:
        context.generator, context.backprop = generator, backprop
        for losses in algorithm.updates(context):
            for loss in losses:
                loss.value.backward()

    return step, list(policy.trainable())


def measure(way: str, setting: Setting, folder: str) -> Row:
    """Time some optimizer steps of one way and keep the first one's gradient."""
    pipeline, score = build(setting)
    if way == STRAIGHTFORWARD:
        step, weights = straightforward(setting, pipeline, score)
    else:
        step, weights = ours(way, setting, pipeline, score)
    start_from_one_adapter(weights)
    return timed_row(
        way,
        step,
        weights,
        device=setting.device,
        steps=STEPS,
        repeats=setting.repeats,
        gradient=None if way in ON_AVERAGE else Path(folder) / f"{way}.pt",
    )


def report(setting: Setting, rows: list[Row], apart: dict[str, float], layers: tuple[int, int], machine: str) -> str:
    """The table with what it was measured on."""
    loop = rows[0]
    lines = [
        f"Hardware: {machine}. Stable Diffusion 3.5 Medium Turbo at its true widths with {layers[0]} of its "
        f"{layers[1]} layers, random weights, {setting.pixels} px, K = {STEPS}, float32, batch 1, reward brightness.",
        "",
        "| way | seconds a step | the loop = 1 | peak GB | gradient differs by |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        faster = f"{loop.seconds / row.seconds:.2f}× as fast" if loop.way == STRAIGHTFORWARD else ""
        error = f"{apart[key]:.1e}" if (key := f"{row.way}, 1") in apart else ""
        lines.append(f"| {WAYS[row.way]} | {row.seconds:.2f} | {faster} | {row.peak / 1e9:.2f} | {error} |")
    return "\n".join(lines) + "\n"


def page_of(name: str, facts: Mapping[str, Any]) -> str:
    """The page of what was recorded."""
    setting, rows = Setting(**facts["setting"]), [Row(**row) for row in facts["rows"]]
    layers = max(2, round(24 * setting.depth)), 24
    text = report(setting, rows, facts["differences"], layers=layers, machine=facts["hardware"])
    command = "python -m bench.flow" + (f" --write {name}" if name else "")
    return f"<!-- Written from its record by `{command}`: change nothing here. -->\n\n# Stable Diffusion 3.5\n\n{text}"


def main() -> None:
    """Run every way in its own process, compare, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--depth", type=float, default=0.1, help="share of the true number of layers")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--write", default="", help="name of the result, for docs/results/flow-NAME.json and .md")
    arguments = parser.parse_args()
    setting = Setting(arguments.device, arguments.pixels, depth=arguments.depth, repeats=arguments.repeats)
    rows, spawn = [], multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for way in arguments.ways:
            with spawn.Pool(1) as pool:
                rows.append(pool.apply(measure, (way, setting, folder)))
            print(rows[-1], file=sys.stderr, flush=True)
        apart = differences(rows)
    facts = {"hardware": hardware(setting.device), "setting": asdict(setting), "differences": apart}
    facts["rows"] = [row.to_dict() for row in rows]
    text = page_of(arguments.write, facts)
    print(text)
    if arguments.write:
        (RESULTS / f"flow-{arguments.write}.json").write_text(json.dumps(facts, indent=2) + "\n")
        (RESULTS / f"flow-{arguments.write}.md").write_text(text)


if __name__ == "__main__":
    main()
