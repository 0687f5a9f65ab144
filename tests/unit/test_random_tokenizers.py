"""A random model at its true size is taken as a real one is: its tokenizers have the words of its text encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bench.rewards import BERT_VOCABULARY, CLIP_VOCABULARY, write_bert_words, write_clip_words
from transformers import AutoTokenizer, BertTokenizerFast

from kedge.policies.families.catalogue import layouts
from kedge.policies.loading import _check_tokenizers
from kedge.random_models import Scale

PIPELINES = [name for name in layouts() if not name.endswith(("-lora", "-unet"))]


@pytest.mark.parametrize("scale", [Scale(), Scale(width=1 / 32, depth=0.1)], ids=["true", "small"])
@pytest.mark.parametrize("name", PIPELINES)
def test_tokenizers_belong_to_their_text_encoders(name: str, scale: Scale) -> None:
    with torch.device("meta"):
        pipeline = layouts()[name].built(scale)
    _check_tokenizers(pipeline, name)
    tokenizers = [part for key, part in pipeline.components.items() if key.startswith("tokenizer") and part is not None]
    assert tokenizers
    for tokenizer in tokenizers:
        ids = tokenizer("a red fox, 3 cats")["input_ids"]
        assert len(set(ids)) > 5  # its letters are known
        assert max(ids) < len(tokenizer)


def test_the_benchmarks_rewards_have_whole_vocabularies(tmp_path: Path) -> None:
    """Their loaders refuse a tokenizer of another network."""
    write_clip_words(tmp_path)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == CLIP_VOCABULARY
    (tmp_path / "bert").mkdir()
    write_bert_words(tmp_path / "bert")
    assert len(BertTokenizerFast.from_pretrained(tmp_path / "bert")) == BERT_VOCABULARY
