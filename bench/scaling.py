"""On paper, beyond one machine: what a ROCM step takes on 1 to 64 cards. Computed, not measured.

    python -m bench.scaling                       # all models; a minute or two
    python -m bench.scaling --models sd15 klein

Each card makes its own micro-batches; before each optimizer step the LoRA's gradients are averaged, in float32, by a
ring all-reduce: every card sends and receives 2 (N − 1) / N times their bytes. Compute is the plan's count of every
operation at half of what the maker's data sheet promises (:mod:`kedge.planning.datasheet`). Nothing else is assumed to
take time: no waiting for the slowest card, no pictures to watch. Writes docs/results/scaling.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that torchvision, which is not needed, is missing

from kedge.config import RunConfig, load_config, preset
from kedge.config.workload import workload_of
from kedge.files import write_text
from kedge.planning.datasheet import H100, seconds_on
from kedge.planning.step import StepCost, count_step

PAGE = Path(__file__).parents[1] / "docs" / "results" / "scaling.md"
CARDS = (1, 2, 4, 8, 16, 32, 64)
IN_A_BOX = 8  # cards joined by NVLink; beyond, boxes are joined by the network
NVLINK, NETWORK = 450e9, 50e9  # bytes a second each way of one card: NVLink 4; InfiniBand of 400 Gbit/s
FLOAT32 = 4
# Name → the preset whose model, settings and reward are counted.
MODELS = {
    "sd15": "rocm-24gb",
    "sdxl": "rocm-sdxl-16gb",
    "klein": "rocm-flux2-klein-12gb",
    "z-image": "rocm-z-image-turbo-24gb",
    "schnell": "rocm-flux-schnell-40gb",
}
PICTURES = 64  # of an optimizer step, on all cards together


@dataclass(frozen=True)
class Counted:
    """One picture on one card.

    Attributes:
        passes: of the network, forward and back, policy and reference.
        seconds: computed.
        memory: bytes on each card, weights, gradients and moments included.
        gradients: bytes of the adapter's.
    """

    name: str
    size: str
    passes: float
    tflop: float
    seconds: float
    memory: float
    gradients: int


def recipe(name: str) -> RunConfig:
    """The preset, a picture at a time, with nothing to watch it by."""
    changes = ["training.batch_size=1", "training.accumulation=1", "watch.evaluate_every=0", "watch.metrics=[]"]
    return load_config(preset(MODELS[name]).path, changes)


def counted(name: str, config: RunConfig) -> Counted:
    """What the plan counts."""
    cost, work = count_step(config), workload_of(config)
    assert cost is not None
    assert work.passes is not None
    model = config.model
    height, width = model.sizes[0] or (0, 0)
    return Counted(
        name=f"{model.name.rpartition('/')[2]}, {height} × {width}, K = {model.steps}",
        size=MODELS[name],
        passes=work.passes.total,
        tflop=cost.step.flops / 1e12,
        seconds=seconds_on(H100, cost.step),
        memory=memory_of(cost),
        gradients=cost.networks.trained * FLOAT32,
    )


def memory_of(cost: StepCost) -> float:
    """Weights, the step, Adam's two moments."""
    return cost.networks.bytes + cost.step.peak + 2 * FLOAT32 * cost.networks.trained


def exchange_seconds(gradients: float, cards: int) -> float:
    """A ring all-reduce: its slowest link sends 2 (N − 1) / N of the bytes."""
    rate = NVLINK if cards <= IN_A_BOX else NETWORK
    return exchanged(gradients, cards) / rate


def exchanged(gradients: float, cards: int) -> float:
    """Bytes that each card sends, and receives, for one optimizer step."""
    return 2 * (cards - 1) / cards * gradients


def step_seconds(picture: Counted, cards: int) -> float:
    """Of an optimizer step of :data:`PICTURES` pictures."""
    return PICTURES / cards * picture.seconds + exchange_seconds(picture.gradients, cards)


def page(pictures: Sequence[Counted]) -> str:
    """Two tables: a picture on a card, and steps on many."""
    lines = [
        "<!-- Written by `python -m bench.scaling`: change nothing here. -->",
        "",
        "# On paper: 1 to 64 cards",
        "",
        "**Computed, not measured.** Every operation of the real step is counted, as by `kedge plan`, and takes as "
        f"long as half of what the data sheet of an {H100.name} promises allows; gradients of the LoRA are averaged in "
        f"float32 by a ring all-reduce, at {NVLINK / 1e9:.0f} GB/s a card up to {IN_A_BOX} cards and "
        f"{NETWORK / 1e9:.0f} GB/s beyond. No card waits for another, and nothing is watched. "
        "`python -m bench.scaling`.",
        "",
        "## One picture on one card",
        "",
        "| model | recipe | network passes | TFLOP | s | GB of tensors | MB of gradients |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for each in pictures:
        lines.append(
            f"| {each.name} | `{each.size}` | {each.passes:.4g} | {shown(each.tflop)} | {shown(each.seconds)} | "
            f"{each.memory / 1e9:.1f} | {each.gradients / 1e6:.1f} |"
        )
    lines += [
        "",
        f"## An optimizer step of {PICTURES} pictures",
        "",
        f"Seconds; in brackets the share that the exchange takes. Passes of a step: {PICTURES} times those above, "
        "divided by the cards; memory of a card as above, whatever their number.",
        "",
        f"| model | {' | '.join(f'{cards} cards' if cards > 1 else '1 card' for cards in CARDS)} |",
        "|---|" + "---:|" * len(CARDS),
    ]
    for each in pictures:
        cells = []
        for cards in CARDS:
            seconds = step_seconds(each, cards)
            cells.append(f"{shown(seconds)} ({exchange_seconds(each.gradients, cards) / seconds:.2%})")
        lines.append(f"| {each.name} | {' | '.join(cells)} |")
    most = max(exchanged(each.gradients, CARDS[-1]) for each in pictures)
    lines += [
        "",
        f"Each card sends and receives at most {most / 1e6:.0f} MB for a step: an adapter is all that travels.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Count, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    pictures = []
    for name in arguments.models:
        pictures.append(counted(name, recipe(name)))
        print(pictures[-1], flush=True)
    write_text(arguments.page, page(pictures))
    print(arguments.page)


def shown(number: float) -> str:
    """Three significant digits, never in powers of ten."""
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"


if __name__ == "__main__":
    main()
