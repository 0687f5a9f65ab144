"""What ``kedge study fit`` does: a reward from the votes of one or more studies, measured on held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.files import check_new, typed

if TYPE_CHECKING:
    from kedge.study.comparisons import Comparison
    from kedge.study.fit import Fit
    from kedge.study.fit_rating import RatingFit
    from kedge.study.ratings import Rating
    from kedge.study.store import Store

BACKBONE = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"  # what PickScore was made from
RATE, EMOJI_RATE = 5e-6, 2e-5  # the tiny CLIP needs a larger one; much more, and it learns the votes by heart
GUESSING = 0.5  # of two pictures


def fit_votes(
    sources: Sequence[str | Path],
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
) -> Fit | RatingFit:
    """Learn a reward from votes or ratings: train on it with ``reward=pickscore@OUT``, of ratings ``aesthetic@OUT``.

    Args:
        sources: studies, and folders that ``kedge study import`` made; ratings and votes are not mixed.
        out: a new folder.
        backbone: ``emoji``, a CLIP folder or a hub id; None takes that of the models' world.
        question: which votes; None takes the first question's.
        held_out: share of prompts kept to measure accuracy.
        epochs: at most; the best on validation votes is kept.
        lr: None takes 5e-6, or 2e-5 for the emoji CLIP.
        layers: train only so many last layers; None trains all.
        progress: is called with a line of text after each epoch.

    Raises:
        ValueError: ``out`` exists or cannot be written, or there are too few votes.
        MissingWeightsError: the backbone is not on this machine; the message says how to fetch it.
    """
    from kedge.devices import find_device
    from kedge.study import fit_preference
    from kedge.study.comparisons import split
    from kedge.study.fit import FitSettings
    from kedge.study.fit_rating import fit_ratings

    check_new(out)
    stores, votes, ratings = _judgements(list(map(Path, sources)), question)
    place = str(find_device(device))
    if ratings and votes:
        raise ValueError("ratings and choices make different rewards: fit them one by one")
    if ratings:
        clip, copied = rating_backbone(backbone)
        return fit_ratings(
            clip,
            ratings,
            out,
            keep_backbone=copied,
            held_out=held_out,
            seed=seed,
            device=place,
            progress=progress,
        )
    folder, rate = find_backbone(backbone, stores)
    settings = FitSettings(epochs, batch_size, lr or rate, layers, seed=seed)
    return fit_preference(folder, split(votes, held_out, seed), out, settings, device=place, progress=progress)


def _judgements(sources: Sequence[Path], question: str | None) -> tuple[list[Store], list[Comparison], list[Rating]]:
    """The studies, all votes (theirs and imported ones), and all ratings."""
    from kedge.study import open_study
    from kedge.study.comparisons import Comparison, read_comparisons
    from kedge.study.ratings import is_import, read_import

    stores: list[Store] = []
    votes: list[Comparison] = []
    ratings: list[Rating] = []
    for source in sources:
        if source.is_file():
            raise ValueError(
                f"{source} is a file: first kedge study import {typed(source)} --out FOLDER, then fit FOLDER"
            )
        if not is_import(source):
            stores.append(open_study(source))
            continue
        for row in read_import(source):
            if isinstance(row, Comparison):
                votes.append(row)
            else:
                ratings.append(row)
    return stores, [*read_comparisons(stores, question), *votes], ratings


def rating_backbone(text: str | None) -> tuple[Path, bool]:
    """The CLIP folder whose features are mapped to ratings, and whether the reward has to keep a copy of it.

    Raises:
        MissingWeightsError: it is not on this machine; the message says how to fetch it.
    """
    from kedge.rewards import find
    from kedge.rewards.sources import locate

    if text in (None, "emoji"):
        return _located("aesthetic", text), text is not None
    return locate(find("clipscore"), text)["clip"], True


def _located(reward: str, source: str | None) -> Path:
    from kedge.rewards import MissingWeightsError, find
    from kedge.rewards.sources import locate

    try:
        return locate(find(reward), source)["clip"]
    except MissingWeightsError as error:
        raise MissingWeightsError(f"{error}\nor take another with --backbone: a CLIP folder, or emoji") from error


def find_backbone(text: str | None, stores: Sequence[Store]) -> tuple[Path, float]:
    """The CLIP folder to start from, and the learning rate for it.

    Raises:
        MissingWeightsError: it is not on this machine; the message says how to fetch it.
    """
    from kedge.rewards import find
    from kedge.rewards.sources import locate
    from kedge.study.records import model_facts

    if text is None:
        models = []
        for store in stores:
            for facts in model_facts(store).values():
                models.append(str(facts.get("model", "")))
        text = "emoji" if models and all(model.startswith("emoji-") for model in models) else BACKBONE
    if text == "emoji":
        return locate(find("clipscore"), "emoji")["clip"], EMOJI_RATE
    return _located("pickscore", text), RATE


def fit_summary(fit: Fit | RatingFit, epochs: int) -> list[str]:
    """Accuracy before and after, the raters' agreement, and how to train on it, as lines."""
    from kedge.study.fit_rating import RatingFit

    if isinstance(fit, RatingFit):
        return _rating_summary(fit)
    lines = []
    for name, accuracy in (("before", fit.before), ("after", fit.after)):
        if accuracy is not None:
            low, high = 100 * accuracy.low, 100 * accuracy.high
            lines.append(f"held-out accuracy {name}: {100 * accuracy.value:.0f} % ({low:.0f}–{high:.0f})")
    if fit.raters is not None:
        lines.append(f"two raters agree on {100 * fit.raters:.0f} % of the pairs that both decided")
    lines.append(f"kept epoch {fit.epoch} of {epochs}, from {fit.votes} votes")
    if fit.epoch == 0:
        lines.append("no epoch did better on held-out pairs than what it began with, which is what was kept")
    if fit.after is not None and fit.after.low <= GUESSING:
        lines.append("it cannot be distinguished from guessing: more votes, or raters who agree more, are needed")
    return [*lines, f"Train on it with: reward=pickscore@{fit.folder}"]


def _rating_summary(fit: RatingFit) -> list[str]:
    lines = [f"from {fit.ratings} ratings, {fit.held_out} of them held out"]
    if fit.rank is not None:
        low, high = fit.rank.low, fit.rank.high
        lines.append(
            f"held-out rank correlation: {fit.rank.value:.2f} ({low:.2f} to {high:.2f}), R² {fit.explained:.2f}"
        )
        if low <= 0:
            lines.append("it cannot be distinguished from chance: more ratings, or raters who agree more, are needed")
    else:
        lines.append(f"how well it does on others is not known: {fit.unknown}")
    return [*lines, f"Train on it with: reward=aesthetic@{fit.folder}"]
