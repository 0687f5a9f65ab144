"""Plan against measurement: trains a few steps by ``kedge train`` and compares what it took with what was predicted.

    python -m bench.plan                # the emoji world's and the real size's configurations
    python -m bench.plan demo sd15-64
    python -m bench.plan sd15-512-8gb sd15-512-80gb  # on a GPU

The real size is the true Stable Diffusion 1.5 LCM and an HPSv2 of the true size, both with random weights, written in
the published layouts. Their run is a whole one: load, step, export; the exported LoRA is loaded again by diffusers and
has to draw Kedge's picture.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that torchvision, which is not needed, is missing

QUIET = [
    "watch.samples_every=0",
    "watch.evaluate_every=0",
    "watch.metrics=[]",
    "watch.tensorboard=false",
    "watch.held_out=null",
]
REAL = ["reward=hpsv2@{reward}", "model={model}", "model.kind=lcm", "prompts=animals-45", "training.batch_size=1"]
# Name → (recipe, changes, steps).
CONFIGURATIONS = {
    "demo": ("emoji-rocm", [], 4),
    "demo-checkpointed-24": ("emoji-rocm", ["backprop.checkpoint=true", "training.batch_size=24"], 3),
    "sd15-64": ("rocm-paper", [*REAL, "model.dtype=float32", "model.size=64", "backprop.checkpoint=false"], 2),
    "sd15-128-bf16": (
        "rocm-paper",
        [
            *REAL,
            "model.dtype=bfloat16",
            "model.size=128",
            "memory.reward_dtype=bfloat16",
            "speed.paired_reference=true",
        ],
        2,
    ),
    "sd15-64-rlcm": (
        "rlcm-paper-aesthetic",
        [
            *REAL,
            "model.dtype=float32",
            "model.size=64",
            "training.batch_size=2",
            "training.accumulation=1",
            "algorithm.sample_batch_size=2",
        ],
        2,
    ),
    "sd15-64-checkpointed": (
        "rocm-paper",
        [*REAL, "model.dtype=float32", "model.size=64", "training.batch_size=2", "backprop.checkpoint=true"],
        2,
    ),
    "sd15-512-8gb": ("rocm-8gb", [*REAL, "training.device=cuda"], 6),
    "sd15-512-80gb": ("rocm-80gb", [*REAL, "training.batch_size=4", "training.device=cuda"], 6),
}
WITHOUT_A_GPU = [name for name, (_, changes, _) in CONFIGURATIONS.items() if "training.device=cuda" not in changes]


def kedge(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "kedge", *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kedge {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


def write_models(folder: Path) -> dict[str, str]:
    """The real size on disk, unless it is there already."""
    model, reward = folder / "sd15-lcm", folder / "hpsv2"
    if not (reward / "HPS_v2_compressed.pt").is_file():
        import torch

        from bench.rewards import write_hpsv2
        from kedge.random_models import build_layout

        build_layout("sd15-lcm", model, dtype="float16", variant="fp16")
        torch.set_default_dtype(torch.float32)
        reward.mkdir()
        write_hpsv2(reward)
    return {"model": str(model), "reward": str(reward)}


def predicted(recipe: str, changes: list[str]) -> tuple[float, float]:
    """Seconds a step and peak GB, as ``kedge plan`` prints them."""
    text = kedge("plan", recipe, *changes)
    seconds, memory = re.search(r"time: ([\d.e+]+) s a step", text), re.search(r"peak memory: ([\d.]+) GB", text)
    if not seconds or not memory:
        sys.exit(text)
    return float(seconds[1]), float(memory[1])


def measured(recipe: str, changes: list[str], out: Path) -> tuple[float, float]:
    """The fastest step after the first, and the peak, from the log of a run."""
    kedge("train", recipe, *changes, "--out", str(out))
    log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    log = [line for line in log if line.get("seconds")]
    return min(line["seconds"] for line in log[1:]), max(line["peak_memory_mb"] for line in log) / 1000


def check_export(run: Path, model: str, pixels: int) -> float:
    """The largest difference of a pixel between Kedge's picture and diffusers' with the exported LoRA."""
    import torch
    from diffusers import LatentConsistencyModelPipeline

    from kedge.policies.base import draw_noise, rollout
    from kedge.workflows.load_run import load_run

    tuned = load_run(run).policy
    noise = draw_noise(tuned, torch.Generator().manual_seed(0), 1)
    with torch.no_grad():
        ours = tuned.decode(rollout(tuned, tuned.encode(["a fox"]), noise).x0)
    del tuned
    pipeline = LatentConsistencyModelPipeline.from_pretrained(
        model, variant="fp16", safety_checker=None, requires_safety_checker=False, dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(run / "lora")
    theirs = pipeline(
        "a fox",
        height=pixels,
        width=pixels,
        num_inference_steps=8,
        guidance_scale=8.5,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    return (ours - theirs.float()).abs().max().item()


def main() -> None:
    """One row for each configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CONFIGURATIONS)}")
    parser.add_argument("--models", type=Path, default=None, help="where the real size is kept between runs")
    arguments = parser.parse_args()
    print("| configuration | s a step: plan | measured | | peak GB: plan | measured | |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.names or WITHOUT_A_GPU:
            recipe, changes, steps = CONFIGURATIONS[name]
            real = name.startswith("sd15")
            places = write_models(arguments.models or Path(folder)) if real else {}
            changes = [change.format(**places) for change in (*changes, *QUIET, f"training.steps={steps}")]
            planned, out = predicted(recipe, changes), Path(folder) / f"run-{name}"
            actual = measured(recipe, changes, out)
            cells = [f"{p:.3g} | {m:.3g} | {p / m - 1:+.0%}" for p, m in zip(planned, actual, strict=True)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
            if name == "sd15-64":
                apart = check_export(out, places["model"], 64)
                print(f"\nThe exported LoRA in diffusers: pictures differ by at most {apart:.1e}.\n", flush=True)


if __name__ == "__main__":
    main()
