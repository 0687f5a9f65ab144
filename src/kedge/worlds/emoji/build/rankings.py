"""Stage: ImageReward (Xu et al. 2023): the BLIP, fine-tuned on people's rankings of some pictures of one prompt.

These raters compare a picture with the prompt; cleanness itself counts for nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertTokenizer, BlipConfig

from kedge.rewards.aesthetic import LinearHead
from kedge.rewards.blip import BlipNetwork, projections
from kedge.rewards.image_reward import MEAN, STD, to_published
from kedge.worlds.emoji.build.bert import read
from kedge.worlds.emoji.build.blip import half
from kedge.worlds.emoji.build.clip import normalise, worn
from kedge.worlds.emoji.build.loop import Schedule, train
from kedge.worlds.emoji.build.pictures import Pictures
from kedge.worlds.emoji.captions import parse
from kedge.worlds.emoji.networks import TOKENS
from kedge.worlds.emoji.oracle import ACTIVITY_ASKED, ACTIVITY_FREE, FLOOR, WEIGHTS


@dataclass(frozen=True)
class Rankers:
    """How simulated people rank.

    Attributes:
        temperature: of their sight, as for pairs: two pictures fall into order with the probability σ(difference / T).
        pictures: how many they see at once.
        rankings: how many they give for each prompt.
    """

    temperature: float = 0.06
    pictures: int = 5
    rankings: int = 12

    def rank(self, marks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Prompts ``[R]`` and their candidates ``[R, pictures]``, best first (Plackett–Luce); marks are ``[P, C]``."""
        prompt = torch.arange(len(marks)).repeat_interleave(self.rankings)
        shown = torch.rand(len(prompt), marks.shape[1], generator=generator).argsort(1)[:, : self.pictures]
        chance = torch.empty(shown.shape).exponential_(generator=generator).log()  # minus a Gumbel draw
        seen = marks[prompt].gather(1, shown) / self.temperature - chance
        return prompt, shown.gather(1, seen.argsort(1, descending=True))


def faithfulness(pictures: Pictures) -> Tensor:
    """The oracle's verdicts ``[P, C]`` with cleanness taken out of its weighted geometric mean."""
    acting = torch.tensor([parse(prompt).activity is not None for prompt in pictures.prompts])
    weights = sum(WEIGHTS.values()) + torch.where(acting, ACTIVITY_ASKED, ACTIVITY_FREE)[:, None]
    clean = (FLOOR + (1 - FLOOR) * pictures.clean).log()
    return ((weights * pictures.oracle.log() - WEIGHTS["clean"] * clean) / (weights - WEIGHTS["clean"])).exp()


def ranking_loss(scores: Tensor) -> Tensor:
    """The mean of −log σ(better − worse) over all pairs of rankings ``[R, n]``, best first."""
    better, worse = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1)
    return -F.logsigmoid(scores[:, better] - scores[:, worse]).mean()


def train_image_reward(
    blip: BlipNetwork,
    config: BlipConfig,
    tokenizer: BertTokenizer,
    pictures: Pictures,
    rankers: Rankers,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
) -> BlipNetwork:
    """Fine-tune a copy of ``blip`` under a fresh head; ``schedule.batch`` counts rankings."""
    torch.manual_seed(seed)
    head = LinearHead(config.text_config.hidden_size)
    network = BlipNetwork(config, {**projections(config), "mlp": head})
    network.load_state_dict(copy.deepcopy(blip.state_dict()), strict=False)
    for part in (network.vision_proj, network.text_proj):
        part.requires_grad_(False)  # they belong to the format, not to the score
    prompt, order = rankers.rank(faithfulness(pictures), torch.Generator().manual_seed(seed))
    ids = read(tokenizer, pictures.prompts, TOKENS)

    def score(images: Tensor, ids: Tensor) -> Tensor:
        words = {"input_ids": ids, "attention_mask": (ids != tokenizer.pad_token_id).long()}
        states = network.vision_model(pixel_values=normalise(images)).last_hidden_state
        return network.head("mlp", network.read(words, states))

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        i = torch.randint(len(prompt), (schedule.batch,), generator=generator)
        images = pictures.images[prompt[i, None], order[i]].flatten(0, 1).float() / 255
        keep = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        images = torch.where(keep, images, worn(images, generator))  # which these raters hardly mind
        scores = score(images, ids[prompt[i]].repeat_interleave(rankers.pictures, 0)).reshape(order[i].shape)
        return ranking_loss(scores), {"agreement": (scores[:, :-1] > scores[:, 1:]).float().mean()}

    name = "imagereward"
    average = train(name, {name: network}, loss, schedule, folder, seed=seed, device=torch.device("cpu"))
    network.load_state_dict(average[name])
    with torch.no_grad():
        scores = [score(images.float() / 255, ids) for images in pictures.images.unbind(1)]
    standardise(head, torch.cat(scores))
    return network.eval()


def standardise(head: LinearHead, scores: Tensor) -> None:
    """Give the head's scores ImageReward's published mean and deviation, so that the reward has 0 and 1."""
    factor, last = STD / scores.std(), len(head.layers) - 1
    with torch.no_grad():
        weight, bias = head.get_parameter(f"layers.{last}.weight"), head.get_parameter(f"layers.{last}.bias")
        weight.mul_(factor)
        bias.copy_((bias - scores.mean()) * factor + MEAN)


def save_image_reward(network: BlipNetwork, config: BlipConfig, tokenizer: BertTokenizer, folder: Path) -> None:
    """As ImageReward was published, a flat state dict, with its config and words beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(half(to_published(network)), folder / "ImageReward.pt")
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
