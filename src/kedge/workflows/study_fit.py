"""What ``kedge study fit`` does: a reward from the votes of one or more studies, measured on held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedge.study.fit import Fit
    from kedge.study.store import Store

BACKBONE = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"  # what PickScore was made from
RATE, EMOJI_RATE = 5e-6, 2e-5  # the tiny CLIP needs a larger one; much more, and it learns the votes by heart


def fit_votes(
    studies: Sequence[str | Path],
    out: Path,
    *,
    backbone: str | None = None,
    question: str | None = None,
    held_out: float = 0.2,
    epochs: int = 12,
    lr: float | None = None,
    batch_size: int = 32,
    layers: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> Fit:
    """Learn a reward in PickScore's format: train on it with ``reward=pickscore@OUT``.

    Args:
        out: a new folder.
        backbone: ``emoji``, a CLIP folder or a hub id; None takes that of the models' world.
        question: which votes; None takes the first question's.
        held_out: share of prompts kept to measure accuracy.
        epochs: at most; the best on validation votes is kept.
        lr: None takes 5e-6, or 2e-5 for the emoji CLIP.
        layers: train only so many last layers; None trains all.
        progress: is called with a line of text after each epoch.

    Raises:
        ValueError: ``out`` exists, or there are too few votes.
        MissingWeightsError: the backbone is not on this machine; the message says how to fetch it.
    """
    from kedge.devices import find_device
    from kedge.study import fit_preference, open_study
    from kedge.study.comparisons import read_comparisons, split
    from kedge.study.fit import FitSettings

    stores = [open_study(Path(study)) for study in studies]
    folder, rate = find_backbone(backbone, stores)
    settings = FitSettings(epochs, batch_size, lr or rate, layers, seed=seed)
    votes = split(read_comparisons(stores, question), held_out, seed)
    return fit_preference(folder, votes, out, settings, device=str(find_device(device)), progress=progress)


def find_backbone(text: str | None, stores: Sequence[Store]) -> tuple[Path, float]:
    """The CLIP folder to start from, and the learning rate for it.

    Raises:
        MissingWeightsError: it is not on this machine; the message says how to fetch it.
    """
    from kedge.rewards import find
    from kedge.rewards.sources import locate
    from kedge.study.records import model_facts

    if text is None:
        models = [str(facts.get("model", "")) for store in stores for facts in model_facts(store).values()]
        text = "emoji" if models and all(model.startswith("emoji-") for model in models) else BACKBONE
    if text == "emoji":
        return locate(find("clipscore"), "emoji")["clip"], EMOJI_RATE
    return locate(find("pickscore"), text)["clip"], RATE


def fit_summary(fit: Fit, epochs: int) -> list[str]:
    """Accuracy before and after, the raters' agreement, and how to train on it, as lines."""
    lines = []
    for name, accuracy in (("before", fit.before), ("after", fit.after)):
        if accuracy is not None:
            low, high = 100 * accuracy.low, 100 * accuracy.high
            lines.append(f"held-out accuracy {name}: {100 * accuracy.value:.0f} % ({low:.0f}–{high:.0f})")
    if fit.raters is not None:
        lines.append(f"two raters agree on {100 * fit.raters:.0f} % of the pairs that both decided")
    lines.append(f"kept epoch {fit.epoch} of {epochs}, from {fit.votes} votes")
    return [*lines, f"Train on it with: reward=pickscore@{fit.folder}"]
