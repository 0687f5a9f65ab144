"""Stage: a vision-language model that answers Yes or No: the network behind ``vqa`` at the emoji world's size.

It is a Qwen2-VL, only smaller, in the layout of the published ones: whatever reads those reads it. It learns from
scenes with their own caption (Yes) and with one that differs in a word or is another scene's (No).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from kedge.rewards.patches import PatchPreprocess
from kedge.rewards.vqa import PLACE, QUESTION
from kedge.worlds.emoji.build.clip import worn
from kedge.worlds.emoji.build.loop import Schedule, train
from kedge.worlds.emoji.build.pictures import altered
from kedge.worlds.emoji.build.pool import Pool

PATCH, SIDE, WIDTH, LAYERS = 4, 32, 128, 4
PICTURE, START, END, UNKNOWN, PAD = "<|image_pad|>", "<|vision_start|>", "<|vision_end|>", "[UNK]", "[PAD]"
ANSWERS = ("Yes", "No")
LISTENED = 20_000  # scenes whose captions give the words
ANOTHER = 0.5  # share of wrong captions that are another scene's; the rest differ in a word
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
        texts |= {str(spec), str(altered(spec, rng))}
    return sorted(texts)


def wrong_caption(pool: Pool, index: int, rng: random.Random) -> str:
    """What is not asked of this scene: another scene's caption, or its own with a word changed."""
    own = str(pool.specs[index])
    if rng.random() < ANOTHER:
        other = str(pool.specs[rng.randrange(len(pool.specs))])
        if other != own:
            return other
    return str(altered(pool.specs[index], rng))


def read_questions(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids ``[B, L]``, padded on the right, and the place of each row's last token ``[B]``."""
    grid = pixels().grid(SIDE, SIDE)
    tokens = int(grid.prod()) // pixels().merge ** 2
    frame = f"{START} {PICTURE * tokens} {END} "
    texts = [frame + QUESTION.replace(PLACE, caption) for caption in captions]
    rows = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    return rows["input_ids"], rows["attention_mask"].sum(1) - 1


def answers(model: Qwen2VLForConditionalGeneration, images: Tensor, ids: Tensor, last: Tensor) -> Tensor:
    """Logits of the next word ``[B, V]`` for pictures ``[B, 3, 32, 32]`` in [0, 1] and their questions."""
    grid = pixels().grid(SIDE, SIDE).expand(len(images), -1).to(ids.device)
    states = model.model(
        input_ids=ids,
        pixel_values=pixels()(images).flatten(0, 1),
        image_grid_thw=grid,
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        attention_mask=(torch.arange(ids.shape[1], device=ids.device) <= last[:, None]).long(),
        use_cache=False,
    ).last_hidden_state
    logits: Tensor = model.lm_head(states[torch.arange(len(ids), device=ids.device), last])
    return logits


def train_answerer(
    pool: Pool, schedule: Schedule, folder: Path, *, seed: int
) -> tuple[Qwen2VLForConditionalGeneration, PreTrainedTokenizerFast]:
    """Cross-entropy of the first word of the answer, half Yes and half No."""
    torch.manual_seed(seed)
    tokenizer = make_vocabulary(all_texts(pool))
    model, device = make_answerer(tokenizer), pool.scenes.device
    yes, no = tokenizer.convert_tokens_to_ids(list(ANSWERS))

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        index = pool.pick(schedule.batch, generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator, device=generator.device)))
        right = [row % 2 == 0 for row in range(len(index))]
        captions = []
        for place, true in zip(index.tolist(), right, strict=True):
            captions.append(str(pool.specs[place]) if true else wrong_caption(pool, place, rng))
        ids, last = (tensor.to(device) for tensor in read_questions(tokenizer, captions))
        logits = answers(model, worn(pool.images(index), generator), ids, last)
        targets = torch.where(torch.tensor(right, device=device), yes, no)
        said_yes = logits[:, yes] > logits[:, no]
        return F.cross_entropy(logits, targets), {"right": (said_yes == (targets == yes)).float().mean()}

    average = train("answerer", {"answerer": model}, loss, schedule, folder, seed=seed, device=device)
    model.load_state_dict(average["answerer"])
    return model.eval(), tokenizer
