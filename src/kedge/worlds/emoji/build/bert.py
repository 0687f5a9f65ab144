"""Stage: BERT's words, and the small BERT by which ``alignment@emoji`` compares texts (BERTScore)."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizer

from kedge.worlds.emoji.build.loop import Schedule, train
from kedge.worlds.emoji.captions import sample_training_spec
from kedge.worlds.emoji.networks import words

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROLES = ("[DEC]", "[ENC]")  # BLIP's own two, last
FRAME = "the image contains {}"  # what the alignment reward puts a prompt into
LONGEST = 24
MASKED = 0.25
CAPTIONS = 4096


def make_words(folder: Path) -> BertTokenizer:
    """A BERT tokenizer with one token for each word of the world; other words fall to letters, none is lost."""
    letters = string.ascii_lowercase
    known = dict.fromkeys([*words(), *FRAME.split()[:-1]])
    vocabulary = dict.fromkeys([*SPECIAL, *letters, *map("##{}".format, letters), *known, *ROLES])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return BertTokenizer.from_pretrained(folder, model_max_length=LONGEST)


def read(tokenizer: BertTokenizer, texts: list[str], length: int) -> Tensor:
    """Token ids ``[B, length]``, padded and cut."""
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    ids: Tensor = batch.input_ids
    return ids


def make_bert(tokenizer: BertTokenizer) -> BertModel:
    """Two layers, 64 wide."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LONGEST,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config)


def train_bert(
    tokenizer: BertTokenizer, schedule: Schedule, folder: Path, *, seed: int, device: torch.device
) -> BertModel:
    """Masked words (Devlin et al. 2018) of captions, half of them in the alignment reward's frame.

    A word that stays is predicted too: its state must tell which word it is.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    texts = []
    for i in range(CAPTIONS):
        caption = str(sample_training_spec(rng))
        texts.append(FRAME.format(caption) if i % 2 else caption)
    ids = read(tokenizer, texts, LONGEST).to(device)
    mask, pad = tokenizer.mask_token_id, tokenizer.pad_token_id
    model = make_bert(tokenizer).to(device)

    def loss(generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        true = ids[torch.randint(len(ids), (schedule.batch,), generator=generator, device=device)]
        there = true != pad
        hidden = there & (torch.rand(true.shape, generator=generator, device=device) < MASKED)
        masked = torch.where(hidden, mask, true)
        states = model(input_ids=masked, attention_mask=there.long()).last_hidden_state
        logits = states @ model.embeddings.word_embeddings.weight.T
        return F.cross_entropy(logits[there], true[there]), {
            "guessed": (logits.argmax(-1) == true)[hidden].float().mean()
        }

    average = train("bert", {"bert": model}, loss, schedule, folder, seed=seed, device=device)
    model.load_state_dict(average["bert"])
    return model.eval()
