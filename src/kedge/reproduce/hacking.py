"""Reward hacking, shown: the trained reward against the true preference, with and without regularisation.

The oracle is the emoji world's true preference and is never trained on. Each run goes along its curve from the
base model's point; where a curve turns down while it still goes right, the model has begun to cheat.
"""

from __future__ import annotations

from pathlib import Path

from kedge.reproduce.matrix import Run, Target, records

STEPS = 400
RUNS = (
    Run("none", "emoji-hacking", {"training.steps": STEPS}),
    Run("kl", "emoji-hacking", {"training.steps": STEPS, "algorithm.beta": 0.02}),
)
LABELS = {"none": "no regularisation", "kl": "KL, β = 0.02"}
TRAINED, TRUE = "held_out/pickscore@emoji", "held_out/oracle"


def curve(folder: Path) -> list[tuple[int, float, float]]:
    """(step, trained reward, oracle) on held-out prompts, wherever a run was evaluated."""
    return [(record["step"], record[TRAINED], record[TRUE]) for record in records(folder) if TRAINED in record]


def draw(folder: Path, runs: tuple[Run, ...]) -> list[Path]:
    """``hacking.png`` and ``hacking.svg``: oracle against trained reward, and both against steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for run, colour in zip(runs, ("#c2410c", "#0f766e", "#1d4ed8", "#7c3aed"), strict=False):
        steps, trained, true = zip(*curve(folder / run.name), strict=True)
        left.plot(trained, true, "-o", color=colour, markersize=4, label=LABELS.get(run.name, run.name))
        right.plot(steps, true, "-", color=colour, label=f"oracle, {LABELS.get(run.name, run.name)}")
    base = curve(folder / runs[0].name)[0]
    left.plot(base[1], base[2], "k*", markersize=12, label="base model")
    left.set(xlabel="trained reward (pickscore@emoji), held-out prompts", ylabel="oracle: the true preference")
    right.axhline(base[2], color="black", linewidth=0.8, linestyle=":", label="oracle, base model")
    right.set(xlabel="optimizer steps", ylabel="oracle")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    written = [folder / f"hacking.{ending}" for ending in ("png", "svg")]
    for file in written:
        figure.savefig(file, dpi=150)
    plt.close(figure)
    return written


HACKING = Target("Reward hacking: trained reward and true preference", RUNS, draw)
