"""How many pictures the oracle scores a second: ``python bench/oracle.py [--device cuda]``."""

from __future__ import annotations

import argparse
import os
import random
import time

import torch

from kedge.worlds.emoji.captions import held_out_prompts, parse
from kedge.worlds.emoji.oracle import Oracle
from kedge.worlds.emoji.scenes import compose, render

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that torchvision, which is not needed, is missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--chunk", type=int, default=None, help="samples at a time; the oracle's own choice by default")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    prompts = held_out_prompts(arguments.images)
    scenes = [compose(parse(prompt), random.Random(i)) for i, prompt in enumerate(prompts)]
    pictures = render(scenes).to(arguments.device)
    oracle = Oracle() if arguments.chunk is None else Oracle(arguments.chunk)
    oracle(pictures[:64], prompts[:64]).sum().item()
    wall, cpu = time.perf_counter(), time.process_time()
    oracle(pictures, prompts).sum().item()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{len(prompts) / wall:.0f} images/s ({arguments.device}, {arguments.threads} threads)")
    print(f"{1000 * cpu / len(prompts):.2f} ms of processor time an image")


if __name__ == "__main__":
    main()
