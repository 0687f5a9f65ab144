"""Stage 6: preference models, fine-tuned from the CLIP on pairs that simulated people judged.

People see what the oracle sees, but blurred: they prefer a over b with probability σ((oracle_a − oracle_b) / T), and
now and then press the wrong key. A model learns from them as PickScore did: by the softmax over a pair's scores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from kedge.worlds.emoji.build.clip import normalise
from kedge.worlds.emoji.build.loop import Schedule, train
from kedge.worlds.emoji.build.pictures import Pictures
from kedge.worlds.emoji.build.pool import tokenize


@dataclass(frozen=True)
class Raters:
    """How simulated people judge a pair.

    Attributes:
        temperature: of their sight; the oracle's scores lie in [0, 1].
        slips: the share of votes with the wrong key.
    """

    temperature: float = 0.08
    slips: float = 0.05

    def votes(self, first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
        """1.0 where the first of two is preferred; arguments are the oracle's scores, all of one shape."""
        p = torch.sigmoid((first - second) / self.temperature)
        p = self.slips + (1 - 2 * self.slips) * p
        return torch.bernoulli(p, generator=generator)


def pick_pairs(pictures: Pictures, each: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``each`` pairs of different candidates for every prompt, two of ``[P, each]``."""
    prompts, candidates = pictures.oracle.shape
    first = torch.randint(candidates, (prompts, each), generator=generator)
    second = (first + torch.randint(1, candidates, first.shape, generator=generator)) % candidates
    return first, second


def scorer(model: CLIPModel) -> Callable[[Tensor, Tensor], Tensor]:
    """``exp(logit scale) · cos``: images ``[P, C, 3, H, W]`` uint8 and tokens ``[P, L]`` to ``[P, C]``."""

    def score(images: Tensor, tokens: Tensor) -> Tensor:
        seen = model.get_image_features(normalise(images.flatten(0, 1).float() / 255)).pooler_output
        said = model.get_text_features(tokens).pooler_output
        scale: Tensor = model.logit_scale.exp()
        return scale * F.cosine_similarity(seen.unflatten(0, images.shape[:2]), said[:, None], dim=2)

    return score


def nudged(images: Tensor, generator: torch.Generator) -> Tensor:
    """All images ``[..., H, W]`` moved by the same pixel, or by none: the same to a person, new to a network."""
    down, across = torch.randint(3, (2,), generator=generator).tolist()
    height, width = images.shape[-2:]
    wide = F.pad(images.flatten(0, -4).float(), (1, 1, 1, 1), mode="replicate").to(images.dtype)
    return wide[..., down : down + height, across : across + width].reshape(images.shape)


def train_preference(
    name: str,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    pictures: Pictures,
    raters: Raters,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
    votes: int,
) -> CLIPModel:
    """Fine-tune a copy of ``clip`` on ``votes`` for each prompt, each cast once and repeated as the schedule asks.

    A step looks at some prompts' candidates, ``2 · schedule.batch`` pictures, and learns from all votes on them.
    """
    model = copy.deepcopy(clip).train()
    with torch.no_grad():
        model.logit_scale.fill_(3.0)  # CLIP's own temperature would make every vote look certain
    tokens = tokenize(tokenizer, pictures.prompts)
    casting = torch.Generator().manual_seed(seed)
    first, second = pick_pairs(pictures, votes, casting)
    cast = raters.votes(pictures.oracle.gather(1, first), pictures.oracle.gather(1, second), casting)
    score = scorer(model)
    prompts, candidates = pictures.oracle.shape
    batch = max(1, 2 * schedule.batch // candidates)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        i = torch.randint(prompts, (batch,), generator=generator)
        scores = score(nudged(pictures.images[i], generator), tokens[i])
        a, b = scores.gather(1, first[i]), scores.gather(1, second[i])
        agreed = ((a > b) == (cast[i] > 0.5)).float().mean()
        return F.binary_cross_entropy_with_logits(a - b, cast[i]), {"agreement": agreed}

    average = train(name, {name: model}, loss, schedule, folder, seed=seed, device=torch.device("cpu"))
    model.load_state_dict(average[name])
    return model.eval()


@torch.no_grad()
def pairwise_accuracy(score: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, pictures: Pictures) -> float:
    """How often the model and the oracle prefer the same of two candidates, over all pairs of held-out prompts."""
    return agreement(score(pictures.images, tokens), pictures.oracle)


def agreement(scores: Tensor, truth: Tensor) -> float:
    """The share of pairs of candidates that two judges put in the same order; scores are ``[P, C]``.

    Where the first judge sees no difference, half a pair counts.
    """
    a, b = torch.triu_indices(truth.shape[1], truth.shape[1], offset=1)
    ours, theirs = scores[:, a] - scores[:, b], truth[:, a] - truth[:, b]
    clear = theirs.abs() > 1e-6
    alike = torch.where(ours == 0, 0.5, (ours.sign() == theirs.sign()).float())
    return float(alike[clear].mean())
