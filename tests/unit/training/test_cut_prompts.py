"""Prompts whose ends a model cannot read are told by the model's own tokenizer."""

from __future__ import annotations

import torch

from kedge.policies import load_policy
from kedge.training.assemble import cut_prompts


def test_the_emoji_models_read_sixteen_tokens():
    policy = load_policy("lcm", "emoji-lcm", steps=1, device=torch.device("cpu"))
    long = "a red fox riding a bike in the snow near an old house with a garden and many trees"
    assert cut_prompts(policy, ["a fox", "a hen"]) is None
    sentence = cut_prompts(policy, ["a fox", long, long])
    assert sentence is not None
    assert sentence.startswith("1 of 2 prompts are longer than the 14 tokens that this model reads")
    with torch.no_grad():  # what it says is so: the end changes nothing
        texts = policy.encode([long, f"{long} and a cow"]).tensors["text"]
    assert torch.equal(texts[0], texts[1])
