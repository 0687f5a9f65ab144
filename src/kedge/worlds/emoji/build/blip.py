"""Stage: a BLIP (Li et al. 2022) by contrast and by matching, on clean, blurred and noisy scenes alike.

Its own network from its own start: other patches and other words than the CLIP's, so that it errs in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertTokenizer, BlipConfig

from kedge.rewards.blip import BlipNetwork, projections, to_published
from kedge.worlds.emoji.atlas import ANIMAL_NAMES
from kedge.worlds.emoji.build.bert import read
from kedge.worlds.emoji.build.clip import normalise, worn
from kedge.worlds.emoji.build.loop import Schedule, autocast, train
from kedge.worlds.emoji.build.pool import Pool
from kedge.worlds.emoji.captions import ACTIVITIES, BACKGROUNDS, POSITIONS
from kedge.worlds.emoji.networks import TOKENS
from kedge.worlds.emoji.scenes import SIDE, VARIANTS

PATCH, WIDTH, SHARED = 8, 112, 64
ACTIVE = 0.15  # share of scenes with an activity in a batch; among the scenes they are rare
HOTTEST = 4.6052  # log of the largest scale of the contrast, as in CLIP


def blip_config(tokenizer: BertTokenizer) -> BlipConfig:
    """Four layers that see, two that read and look."""
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
        "layer_norm_eps": 1e-6,
        "initializer_range": 0.02,  # transformers' own, 1e-10, is for weights that are loaded
    }
    first, last = tokenizer.convert_tokens_to_ids(["[DEC]", "[SEP]"])
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TOKENS,
        "bos_token_id": first,
        "sep_token_id": last,
        "eos_token_id": last,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return BlipConfig(vision_config=vision, text_config=text, image_text_hidden_size=SHARED)


@dataclass
class Lessons:
    """Scenes of a pool in BERT's words, activities more often than there.

    Attributes:
        words: token ids ``[N, L]``, as long as the longest.
        meant: what each caption asks, ``[N, 5]``: animals, position, activity, background; −1 where it is silent.
        active: indices of the scenes with an activity.
    """

    pool: Pool
    words: Tensor
    meant: Tensor
    active: Tensor

    @classmethod
    def of(cls, pool: Pool, tokenizer: BertTokenizer) -> Lessons:
        """The whole pool."""
        device = pool.scenes.device
        rows: dict[str, int] = {}  # of each different caption
        index = [rows.setdefault(str(spec), len(rows)) for spec in pool.specs]
        ids = read(tokenizer, list(rows), TOKENS)
        ids = ids[:, : int((ids != tokenizer.pad_token_id).sum(1).max())]
        words = ids[torch.tensor(index)].to(device)

        def place(names: tuple[str, ...], name: str | None) -> int:
            return -1 if name is None else names.index(name)

        meanings = []
        for spec in pool.specs:
            animals = sorted(map(ANIMAL_NAMES.index, spec.animals))
            first, second = animals if len(animals) == 2 else (animals[0], -1)
            free = (place(POSITIONS, spec.position), place(ACTIVITIES, spec.activity))
            meanings.append((first, second, *free, place(BACKGROUNDS, spec.background)))
        meant = torch.tensor(meanings, device=device)
        return cls(pool, words, meant, (meant[:, 3] >= 0).nonzero()[:, 0])

    def pick(self, batch: int, generator: torch.Generator) -> Tensor:
        """Indices of a random batch."""
        index = self.pool.pick(batch, generator)
        count = int(ACTIVE * batch) if len(self.active) else 0
        chosen = torch.randint(max(1, len(self.active)), (count,), generator=generator, device=index.device)
        return torch.cat([self.active[chosen], index[count:]])

    def images(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """``[B, 3, 32, 32]``, worn and normalised."""
        return normalise(worn(self.pool.images(index), generator))

    def true(self, index: Tensor) -> Tensor:
        """Whether the caption of the column is true of the picture of the row, ``[B, B]`` bool."""
        said = self.meant[index]
        seen = said.clone()
        seen[:, 4] = self.pool.scenes[index, 0].long() // VARIANTS
        captions = said[None].expand(len(index), -1, -1)
        same = captions == seen[:, None]
        same[..., 2:] |= captions[..., 2:] < 0
        return same.all(2)


def contrast(seen: Tensor, said: Tensor, scale: Tensor, true: Tensor) -> Tensor:
    """Logits ``[B, B]`` of unit features; a caption that happens to be true of another picture is no negative."""
    logits = scale.clamp(max=HOTTEST).exp() * seen @ said.T
    return logits.masked_fill(true & ~torch.eye(len(true), dtype=torch.bool, device=true.device), -torch.inf)


def hard_negatives(logits: Tensor, generator: torch.Generator) -> Tensor:
    """For each row a wrong column, the more often the more alike (Li et al. 2021, section 3.3)."""
    wrong = logits.detach().masked_fill(torch.eye(len(logits), dtype=torch.bool, device=logits.device), -torch.inf)
    return torch.multinomial(wrong.softmax(1), 1, generator=generator)[:, 0]


def train_blip(
    pool: Pool, tokenizer: BertTokenizer, schedule: Schedule, folder: Path, *, seed: int, device: torch.device
) -> BlipNetwork:
    """Contrast and matching, weighted alike."""
    torch.manual_seed(seed)
    config = blip_config(tokenizer)
    network = BlipNetwork(config, {**projections(config), "itm_head": nn.Linear(WIDTH, 2)}).to(device)
    scale = nn.ParameterDict({"log": nn.Parameter(torch.tensor(2.66, device=device))})
    lessons = Lessons.of(pool, tokenizer)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = lessons.pick(schedule.batch, generator)
        ids = lessons.words[index]
        words = {"input_ids": ids, "attention_mask": (ids != tokenizer.pad_token_id).long()}
        with autocast(device):
            states = network.vision_model(pixel_values=lessons.images(index, generator)).last_hidden_state
            seen, said = network.head("vision_proj", states[:, 0]), network.head("text_proj", network.read(words))
            logits = contrast(F.normalize(seen, dim=1), F.normalize(said, dim=1), scale["log"], lessons.true(index))
            other_text, other_image = hard_negatives(logits, generator), hard_negatives(logits.T, generator)
            # Each picture with its caption, with a wrong caption; each caption with a wrong picture.
            text = {key: torch.cat([value, value[other_text], value]) for key, value in words.items()}
            match = network.head("itm_head", network.read(text, torch.cat([states, states, states[other_image]])))
        target = torch.arange(len(index), device=device)
        itc = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        matched = (torch.arange(3 * len(index), device=device) < len(index)).long()
        itm = F.cross_entropy(match, matched)
        numbers = {
            "itc": itc,
            "itm": itm,
            "found": (logits.argmax(1) == target).float().mean(),
            "matched": (match.argmax(1) == matched).float().mean(),
        }
        return itc + itm, numbers

    modules = {"blip": network, "scale": scale}
    average = train("blip", modules, loss, schedule, folder, seed=seed, device=device)
    network.load_state_dict(average["blip"])
    return network.eval()


def save_blip(network: BlipNetwork, config: BlipConfig, tokenizer: BertTokenizer, folder: Path) -> None:
    """As BLIP was published, ``{'model': …}``, with its config and words beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": half(to_published(network.state_dict()))}, folder / "model_large.pth")
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies in half precision, on the CPU."""
    return {key: value.detach().to("cpu", torch.float16).clone() for key, value in state.items()}
