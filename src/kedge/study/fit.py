"""A reward from votes: a CLIP fine-tuned so that the softmax over a pair's scores predicts the vote, as PickScore was.

P(first preferred) = σ(s(first) − s(second)), s = exp(logit scale) · cos(image, text): Bradley–Terry on a CLIP (Kirstain
et al. 2023, section 4). The result is a folder in PickScore's format: ``reward=pickscore@FOLDER`` trains on it.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import CLIPModel

from kedge.evaluation.statistics import Interval, rate_interval
from kedge.files import check_new, replacing
from kedge.pixels import as_rgb, from_uint8
from kedge.quiet import quiet_loading
from kedge.rewards.clip import folder_tokenizer, read_config
from kedge.rewards.preprocess import read_preprocess
from kedge.rewards.weights import build_frozen, read_folder, without
from kedge.study.comparisons import Comparison, Split, rater_agreement

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "config.json")
SCALES = torch.linspace(0.0, 5.0, 41)  # log of the scales that are tried before training


@dataclass(frozen=True)
class FitSettings:
    """How to learn.

    Attributes:
        layers: train only the last so many layers of both towers, and the projections; None trains all.
        epochs: at most; the epoch with the lowest loss on the validation votes is kept.
    """

    epochs: int = 12
    batch_size: int = 32
    lr: float = 5e-6
    layers: int | None = None
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class Fit:
    """What came out.

    Attributes:
        before, after: accuracy on decided held-out votes, of the backbone and of the reward; None without such votes.
        raters: how often two raters agree, on all votes.
        epoch: the one that was kept; 0 is the backbone itself.
    """

    folder: Path
    votes: int
    held_out: int
    before: Interval | None
    after: Interval | None
    raters: float | None
    epoch: int


class Scorer:
    """A CLIP that can learn, with the pictures and prompts of the votes made ready for it once."""

    def __init__(self, folder: Path, comparisons: Sequence[Comparison], device: str):
        config = read_config(folder)
        state, file = read_folder(folder)
        self.model = build_frozen(lambda: CLIPModel(config), without(state, "position_ids"), file, device)
        self.device = device
        preprocess = read_preprocess(folder, config.vision_config.image_size)
        tokenize = folder_tokenizer(folder, config.text_config)
        self.pixels: dict[Path, Tensor] = {}
        self.tokens: dict[str, Tensor] = {}
        for comparison in comparisons:
            if comparison.prompt not in self.tokens:
                self.tokens[comparison.prompt] = tokenize(comparison.prompt)[0]
            for path in (comparison.first, comparison.second):
                if path not in self.pixels:
                    self.pixels[path] = preprocess(_read(path))[0]

    def margins(self, batch: Sequence[Comparison]) -> Tensor:
        """``cos(first) − cos(second)`` of each, ``[B]``, without the scale."""
        files = [*map(attrgetter("first"), batch), *map(attrgetter("second"), batch)]
        pixels = torch.stack([self.pixels[path] for path in files])
        seen = self.model.visual_projection(self.model.vision_model(pixels.to(self.device)).pooler_output)
        # Attention is causal and pools at the first end token: what is repeated behind it changes nothing.
        rows = [self.tokens[comparison.prompt] for comparison in batch]
        longest = max(map(len, rows))
        ids = torch.stack([_padded(row, longest) for row in rows])
        said = self.model.text_projection(self.model.text_model(input_ids=ids.to(self.device)).pooler_output)
        first, second = F.cosine_similarity(seen, said.repeat(2, 1)).chunk(2)
        return first - second

    @torch.no_grad()
    def all_margins(self, comparisons: Sequence[Comparison], batch_size: int) -> Tensor:
        """:meth:`margins` of any number, on the CPU."""
        margins = [torch.zeros(0)]
        for start in range(0, len(comparisons), batch_size):
            margins.append(self.margins(comparisons[start : start + batch_size]).cpu())
        return torch.cat(margins)

    def loss(self, margins: Tensor, batch: Sequence[Comparison]) -> Tensor:
        """Cross-entropy of the votes; a tie is half a vote each way."""
        labels = torch.tensor(_labels(batch), device=margins.device)
        return F.binary_cross_entropy_with_logits(self.model.logit_scale.exp().to(margins.device) * margins, labels)

    def calibrate(self, margins: Tensor, batch: Sequence[Comparison]) -> None:
        """Set the scale under which these margins predict these votes best; CLIP's own makes them all look certain."""
        labels = torch.tensor(_labels(batch))
        losses = torch.zeros(len(SCALES))
        for i, scale in enumerate(SCALES):
            losses[i] = F.binary_cross_entropy_with_logits(scale.exp() * margins, labels)
        self.model.logit_scale.data.fill_(float(SCALES[losses.argmin()]))

    def trainable(self, layers: int | None) -> list[torch.nn.Parameter]:
        """Open the parameters that may change, and return them."""
        model: Any = self.model
        if layers is None:
            opened = list(model.parameters())
        else:
            opened = []
            for tower in (model.vision_model.encoder.layers, model.text_model.encoder.layers):
                opened += tower[max(0, len(tower) - layers) :].parameters()  # of more than there are: all
            opened += [*model.visual_projection.parameters(), *model.text_projection.parameters(), model.logit_scale]
        for parameter in opened:
            parameter.requires_grad_(True)
        return opened


def fit_preference(
    backbone: Path,
    votes: Split,
    out: Path,
    settings: FitSettings | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> Fit:
    """Fine-tune ``backbone`` (a transformers CLIP folder) on votes and write a reward folder.

    Raises:
        ValueError: ``out`` exists, or cannot be written.
    """
    settings = settings or FitSettings()
    check_new(out)
    everything = [*votes.train, *votes.validation, *votes.held_out]
    scorer = Scorer(backbone, everything, device)
    margins = scorer.all_margins(votes.train, settings.batch_size)
    before = _accuracy(scorer, votes.held_out, settings.batch_size)
    scorer.calibrate(margins, votes.train)
    epoch = _train(scorer, votes, settings, progress or (lambda text: None))
    after = _accuracy(scorer, votes.held_out, settings.batch_size)
    fit = Fit(
        out,
        len(everything),
        held_out=len(votes.held_out),
        before=before,
        after=after,
        raters=rater_agreement(everything),
        epoch=epoch,
    )
    _save(scorer, backbone, out=out, fit=fit, settings=settings)
    return fit


def _train(scorer: Scorer, votes: Split, settings: FitSettings, say: Callable[[str], None]) -> int:
    """Leave the model at its best epoch, and say which that was."""
    parameters = scorer.trainable(settings.layers)
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    generator = torch.Generator().manual_seed(settings.seed)
    size = settings.batch_size

    def validation_loss() -> float:
        with torch.no_grad():
            return float(scorer.loss(scorer.all_margins(votes.validation, size), votes.validation))

    best, best_epoch, weights = validation_loss(), 0, copy.deepcopy(scorer.model.state_dict())
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(len(votes.train), generator=generator).tolist()
        for start in range(0, len(order), size):
            batch = [votes.train[i] for i in order[start : start + size]]
            loss = scorer.loss(scorer.margins(batch), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        now = validation_loss()
        say(f"epoch {epoch}: loss on validation votes {now:.4f}")
        if now < best:
            best, best_epoch, weights = now, epoch, copy.deepcopy(scorer.model.state_dict())
    scorer.model.load_state_dict(weights)
    return best_epoch


def _accuracy(scorer: Scorer, votes: Sequence[Comparison], batch_size: int) -> Interval | None:
    decided = []
    for vote in votes:
        if vote.label != 0.5:
            decided.append(vote)
    if not decided:
        return None
    right = (scorer.all_margins(decided, batch_size) > 0) == (torch.tensor(_labels(decided)) > 0.5)
    return rate_interval(right.double().numpy(), [vote.prompt for vote in decided])


def _save(scorer: Scorer, backbone: Path, out: Path, fit: Fit, settings: FitSettings) -> None:
    """The model with the backbone's tokenizer and image processor, and what is to be known about it."""
    accuracy = {"before": fit.before and fit.before.to_dict(), "after": fit.after and fit.after.to_dict()}
    facts = {
        "votes": fit.votes, "held_out_votes": fit.held_out, "held_out_accuracy": accuracy, "raters_agree": fit.raters,
        "epoch": fit.epoch, "backbone": backbone.name, "settings": asdict(settings),
    }  # fmt: skip
    with replacing(out) as draft:
        draft.mkdir()
        with quiet_loading():
            scorer.model.save_pretrained(draft)
        for file in backbone.iterdir():
            if file.is_file() and file.name not in WEIGHTS and file.suffix in (".json", ".txt", ".model"):
                shutil.copy(file, draft / file.name)
        (draft / "fit.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _labels(votes: Sequence[Comparison]) -> list[float]:
    return [vote.label for vote in votes]


def _padded(tokens: Tensor, length: int) -> Tensor:
    """The last token again and again behind the others, ``[length]``."""
    return torch.cat([tokens, tokens[-1:].expand(length - len(tokens))])


def _read(path: Path) -> Tensor:
    return from_uint8(np.array(as_rgb(Image.open(path)))[None])
