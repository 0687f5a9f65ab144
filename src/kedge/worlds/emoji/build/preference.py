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
        """1.0 where the first of two is preferred, ``[B]``; arguments are the oracle's scores."""
        p = torch.sigmoid((first - second) / self.temperature)
        p = self.slips + (1 - 2 * self.slips) * p
        return torch.bernoulli(p, generator=generator)


def pick_pairs(pictures: Pictures, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Prompt index and two different candidates, each ``[count]``."""
    prompts, candidates = pictures.oracle.shape
    prompt = torch.randint(prompts, (count,), generator=generator)
    first = torch.randint(candidates, (count,), generator=generator)
    second = (first + torch.randint(1, candidates, (count,), generator=generator)) % candidates
    return prompt, first, second


def scorer(model: CLIPModel) -> Callable[[Tensor, Tensor], Tensor]:
    """``exp(logit scale) · cos``: images ``[B, 3, H, W]`` uint8 and tokens ``[B, L]`` to ``[B]``."""

    def score(images: Tensor, tokens: Tensor) -> Tensor:
        seen = model.get_image_features(normalise(images.float() / 255)).pooler_output
        said = model.get_text_features(tokens).pooler_output
        return model.logit_scale.exp() * F.cosine_similarity(seen, said)

    return score


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
    pairs: int,
) -> CLIPModel:
    """Fine-tune a copy of ``clip`` on ``pairs`` votes, each cast once and repeated as the schedule asks."""
    model = copy.deepcopy(clip).train()
    with torch.no_grad():
        model.logit_scale.fill_(3.0)  # CLIP's own temperature would make every vote look certain
    tokens = tokenize(tokenizer, pictures.prompts)
    casting = torch.Generator().manual_seed(seed)
    prompt, first, second = pick_pairs(pictures, pairs, casting)
    votes = raters.votes(pictures.oracle[prompt, first], pictures.oracle[prompt, second], casting)
    score = scorer(model)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        i = torch.randint(pairs, (schedule.batch,), generator=generator)
        images = torch.cat([pictures.images[prompt[i], first[i]], pictures.images[prompt[i], second[i]]])
        a, b = score(images, tokens[prompt[i]].repeat(2, 1)).chunk(2)
        agreed = ((a > b) == (votes[i] > 0.5)).float().mean()
        return F.binary_cross_entropy_with_logits(a - b, votes[i]), {"agreement": agreed}

    average = train(name, {name: model}, loss, schedule, folder, seed=seed, device=torch.device("cpu"))
    model.load_state_dict(average[name])
    return model.eval()


@torch.no_grad()
def pairwise_accuracy(score: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, pictures: Pictures) -> float:
    """How often the model and the oracle prefer the same of two candidates, over all pairs of held-out prompts."""
    candidates = pictures.oracle.shape[1]
    given = score(pictures.images.flatten(0, 1), tokens.repeat_interleave(candidates, 0)).reshape(-1, candidates)
    return agreement(given, pictures.oracle)


def agreement(given: Tensor, truth: Tensor) -> float:
    """The share of pairs of candidates that two judges put in the same order; scores are ``[P, C]``."""
    a, b = torch.triu_indices(truth.shape[1], truth.shape[1], offset=1)
    ours, theirs = given[:, a] - given[:, b], truth[:, a] - truth[:, b]
    clear = theirs.abs() > 1e-6
    return float((ours.sign() == theirs.sign())[clear].float().mean())
