"""Stage: a vision-language model that answers Yes or No: the network behind ``vqa`` at the emoji world's size.

It is a Qwen2-VL, only smaller, in the layout of the published ones: whatever reads those reads it. Each scene is asked
about twice: with its own caption (Yes), and with one that differs in one thing or is another scene's (No). One bit for
a picture teaches little about what is drawn there, so it also learns each next word of the scene's own caption.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from kedge.rewards.patches import PatchPreprocess
from kedge.rewards.vqa import PLACE, QUESTION
from kedge.worlds.emoji.atlas import ANIMAL_NAMES
from kedge.worlds.emoji.build.clip import worn
from kedge.worlds.emoji.build.loop import Schedule, train
from kedge.worlds.emoji.build.pool import Pool
from kedge.worlds.emoji.captions import ACTIVITIES, BACKGROUNDS, POSITIONS, Spec

PATCH, SIDE, WIDTH, LAYERS = 4, 32, 128, 4
PICTURE, START, END, UNKNOWN, PAD = "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "[UNK]", "[PAD]"
ANSWERS = ("Yes", "No")
LISTENED = 20_000  # scenes whose captions give the words
ANOTHER = 0.25  # share of wrong captions that are another scene's; the rest differ in one thing
ACTIVE = 0.12  # share of scenes with an activity: more than the generators' reward models see, it is asked about most
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|> {% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endfor %}"
)


def make_vocabulary(texts: list[str]) -> PreTrainedTokenizerFast:
    """A token for each word of the texts, of the question, and for the answers."""
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words = {PAD: 0, UNKNOWN: 1, START: 2, PICTURE: 3, END: 4}
    for text in (QUESTION, *ANSWERS, *texts):
        for word, _ in split.pre_tokenize_str(text):
            words.setdefault(word, len(words))
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = split
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN)
    fast.add_tokens([START, PICTURE, END], special_tokens=True)
    fast.chat_template = TEMPLATE
    return fast


def make_answerer(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLForConditionalGeneration:
    """The network: 64 patches of a picture as 16 tokens, and four layers that read them with the question."""
    start, picture, end = tokenizer.convert_tokens_to_ids([START, PICTURE, END])
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    vision = {"depth": LAYERS, "embed_dim": WIDTH, "hidden_size": WIDTH, "num_heads": 4, "patch_size": PATCH}
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=picture,
        video_token_id=end,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
    return Qwen2VLForConditionalGeneration(config)


def pixels() -> PatchPreprocess:
    """Pictures of the world's one size, in patches."""
    return PatchPreprocess(patch=PATCH, smallest=SIDE**2, largest=SIDE**2)


def save_answerer(model: Qwen2VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """A folder that ``vqa@FOLDER`` loads."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocess = pixels()
    settings: dict[str, Any] = {
        "min_pixels": preprocess.smallest,
        "max_pixels": preprocess.largest,
        "patch_size": PATCH,
    }
    settings |= {"merge_size": preprocess.merge, "temporal_patch_size": preprocess.frames}
    settings |= {"image_processor_type": "Qwen2VLImageProcessor"}
    settings |= {"image_mean": list(preprocess.mean), "image_std": list(preprocess.std)}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


def all_texts(pool: Pool) -> list[str]:
    """The pool's captions, and changed ones: together they have every word that is asked about."""
    rng, texts = random.Random(0), set()
    for spec in pool.specs[:LISTENED]:
        texts |= {str(spec), str(falsified(spec, rng))}
    return sorted(texts)


def wrong_caption(pool: Pool, index: int, rng: random.Random) -> str:
    """What is not true of this scene: another scene's caption, or its own with a word changed."""
    own = pool.specs[index]
    if rng.random() < ANOTHER:
        other = pool.specs[rng.randrange(len(pool.specs))]
        if set(other.animals) != set(own.animals):
            return str(other)
    return str(falsified(own, rng))


def falsified(spec: Spec, rng: random.Random) -> Spec:
    """The caption with one thing changed that it says, or with an activity that is not there.

    Never a combination that is held out: it would be asked about, and always denied.
    """
    while True:
        changed = rng.choice(changes(spec, rng))
        if not changed.held_out:
            return changed


def changes(spec: Spec, rng: random.Random) -> list[Spec]:
    """An untrue caption for each thing that this one says: an animal, and background, position, activity."""
    animals = list(spec.animals)
    animals[rng.randrange(len(animals))] = _another(ANIMAL_NAMES, spec.animals, rng)
    specs = [replace(spec, animals=tuple(animals))]
    if spec.background:
        specs.append(replace(spec, background=_another(BACKGROUNDS, (spec.background,), rng)))
    if spec.position:
        specs.append(replace(spec, position=_another(POSITIONS, (spec.position,), rng)))
    elif len(animals) == 1:
        specs.append(replace(spec, activity=_another(ACTIVITIES, (spec.activity,), rng), bare=False))
    return specs


def _another(words: Sequence[str], taken: Sequence[str | None], rng: random.Random) -> str:
    while True:
        word = rng.choice(words)
        if word not in taken:
            return word


def read_questions(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids ``[B, L]``, padded on the right, and the place of each row's last token ``[B]``."""
    texts = [frame() + QUESTION.replace(PLACE, caption) for caption in captions]
    rows = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    return rows["input_ids"], rows["attention_mask"].sum(1) - 1


def frame() -> str:
    """The picture's place, as the chat template writes it."""
    tokens = int(pixels().grid(SIDE, SIDE).prod()) // pixels().merge ** 2
    return f"{START} {PICTURE * tokens} {END} "


def next_words(model: Qwen2VLForConditionalGeneration, images: Tensor, ids: Tensor, last: Tensor) -> Tensor:
    """Logits of the word after each token ``[N, L, V]``, for pictures ``[B, 3, 32, 32]`` in [0, 1].

    Args:
        ids: questions ``[N, L]``, the first N / B of them about the first picture, and so on.
        last: the place of each row's last token ``[N]``.
    """
    times, device = len(ids) // len(images), ids.device
    grid = pixels().grid(SIDE, SIDE).to(device)
    places = ids == model.config.image_token_id
    there = (torch.arange(ids.shape[1], device=device) <= last[:, None]).long()
    seen = model.model.get_image_features(pixels()(images).flatten(0, 1), grid.expand(len(images), -1)).pooler_output
    seen = torch.stack(list(seen)).repeat_interleave(times, 0).flatten(0, 1)
    words = model.get_input_embeddings()(ids)
    words = words.masked_scatter(places[:, :, None], seen.to(words.dtype))
    positions, _ = model.model.get_rope_index(
        ids, mm_token_type_ids=places.int(), image_grid_thw=grid.expand(len(ids), -1), attention_mask=there
    )
    states = model.model.language_model(
        inputs_embeds=words, position_ids=positions, attention_mask=there, use_cache=False
    ).last_hidden_state
    logits: Tensor = model.lm_head(states)
    return logits


def answers(model: Qwen2VLForConditionalGeneration, images: Tensor, ids: Tensor, last: Tensor) -> Tensor:
    """Logits of the first word of the answer ``[N, V]``; arguments as for :func:`next_words`."""
    return next_words(model, images, ids, last)[torch.arange(len(ids)), last]


def caption_places(tokenizer: PreTrainedTokenizerFast, last: Tensor, length: int) -> Tensor:
    """Which tokens of the questions are the caption's or the quotation mark behind it: bool ``[N, length]``."""
    before, after = QUESTION.split(PLACE)
    first, behind = (len(tokenizer.tokenize(text)) for text in (frame() + before, after))
    place = torch.arange(length, device=last.device)
    return (place >= first) & (place <= last[:, None] - behind + 1)


def train_answerer(
    pool: Pool, schedule: Schedule, folder: Path, *, seed: int
) -> tuple[Qwen2VLForConditionalGeneration, PreTrainedTokenizerFast]:
    """Cross-entropy of the first word of the answer, half Yes and half No, and of the words of what is true.

    ``schedule.batch`` counts questions: two for each picture.
    """
    torch.manual_seed(seed)
    tokenizer = make_vocabulary(all_texts(pool))
    model, device = make_answerer(tokenizer), pool.scenes.device
    yes, no = tokenizer.convert_tokens_to_ids(list(ANSWERS))

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = pool.pick(schedule.batch // 2, generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator, device=generator.device)))
        captions = []
        for place in index.tolist():
            captions += [str(pool.specs[place]), wrong_caption(pool, place, rng)]
        ids, last = (tensor.to(device) for tensor in read_questions(tokenizer, captions))
        logits = next_words(model, worn(pool.images(index), generator), ids, last)
        true = torch.arange(len(ids), device=device) % 2 == 0
        answer = logits[torch.arange(len(ids)), last]
        described = caption_places(tokenizer, last, ids.shape[1])[:, 1:] & true[:, None]
        words = F.cross_entropy(logits[:, :-1][described], ids[:, 1:][described])
        value = F.cross_entropy(answer, torch.where(true, yes, no)) + words
        said_yes = answer[:, yes] > answer[:, no]
        return value, {"right": (said_yes == true).float().mean(), "words": words.detach()}

    average = train("answerer", {"answerer": model}, loss, schedule, folder, seed=seed, device=device)
    model.load_state_dict(average["answerer"])
    return model.eval(), tokenizer
