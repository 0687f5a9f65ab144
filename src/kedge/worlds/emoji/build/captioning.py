"""Stage: the captioner: a BLIP that says in words what a picture shows, scenes and generators' pictures alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

from kedge.rewards.blip import BlipNetwork
from kedge.worlds.emoji.build.bert import read
from kedge.worlds.emoji.build.blip import Lessons
from kedge.worlds.emoji.build.clip import normalise
from kedge.worlds.emoji.build.loop import Schedule, train
from kedge.worlds.emoji.build.pictures import Pictures
from kedge.worlds.emoji.build.pool import Pool
from kedge.worlds.emoji.captions import BACKGROUNDS, parse
from kedge.worlds.emoji.networks import TOKENS
from kedge.worlds.emoji.scenes import VARIANTS

DRAWN = 0.25  # share of generators' pictures in a batch
GOOD = 0.6  # the oracle's verdict from which such a picture shows what its prompt says


def descriptions(pool: Pool) -> list[str]:
    """What each scene shows: its caption with the background that was drawn."""
    drawn = (pool.scenes[:, 0].long() // VARIANTS).tolist()
    texts = []
    for spec, ground in zip(pool.specs, drawn, strict=True):
        texts.append(str(replace(spec, background=BACKGROUNDS[ground], bare=False)))
    return texts


def good_pictures(pictures: Pictures) -> tuple[Tensor, list[str]]:
    """Generators' pictures of prompts that name a background, where the oracle found what the prompt says."""
    named = torch.tensor([parse(prompt).background is not None for prompt in pictures.prompts])
    prompt, candidate = ((pictures.oracle > GOOD) & named[:, None]).nonzero().unbind(1)
    return pictures.images[prompt, candidate], [pictures.prompts[i] for i in prompt.tolist()]


def make_captioner(blip: BlipNetwork, config: BlipConfig) -> BlipForConditionalGeneration:
    """The BLIP's eyes, and its reading as a start for writing."""
    model = BlipForConditionalGeneration(config)
    model.vision_model.load_state_dict(blip.vision_model.state_dict())
    model.text_decoder.bert.load_state_dict(blip.text_encoder.state_dict())
    return model


def train_captioner(
    blip: BlipNetwork,
    config: BlipConfig,
    tokenizer: BertTokenizer,
    pool: Pool,
    pictures: Pictures,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
) -> BlipForConditionalGeneration:
    """Each next word of the description, given the picture and the words so far."""
    torch.manual_seed(seed)
    model = make_captioner(blip, config)
    lessons = Lessons.of(pool, tokenizer)
    start, pad = config.text_config.bos_token_id, tokenizer.pad_token_id

    def words(texts: list[str]) -> Tensor:
        ids = read(tokenizer, texts, TOKENS)
        ids[:, 0] = start  # [DEC] in place of [CLS], as in BLIP
        return ids

    described = words(descriptions(pool))
    drawn, prompts = good_pictures(pictures)
    prompted = words(prompts)
    longest = int((torch.cat([described, prompted]) != pad).sum(1).max())
    count = int(DRAWN * schedule.batch) if len(drawn) else 0

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = lessons.pick(schedule.batch - count, generator)
        other = torch.randint(max(1, len(drawn)), (count,), generator=generator)
        images = torch.cat([lessons.images(index, generator), normalise(drawn[other].float() / 255)])
        ids = torch.cat([described[index], prompted[other]])[:, :longest]
        there = (ids != pad).long()
        out = model(
            pixel_values=images,
            input_ids=ids,
            attention_mask=there,
            labels=ids.masked_fill(ids == pad, -100),
        )
        guessed = (out.logits[:, :-1].argmax(-1) == ids[:, 1:])[there[:, 1:] > 0].float().mean()
        return out.loss, {"guessed": guessed}

    average = train("captioner", {"captioner": model}, loss, schedule, folder, seed=seed, device=pool.scenes.device)
    model.load_state_dict(average["captioner"])
    return model.eval()
