"""Encoded prompts: each once, within a limit, the least recently used forgotten first."""

from __future__ import annotations

import torch

from helpers.toys import PROMPTS, ToyPolicy, toy_context
from kedge.algorithms.prompt_cache import PromptCache
from kedge.policies.base import Conditioning

CPU = torch.device("cpu")
SIZE = 3 * 4 * 4  # bytes of one encoding below


def encode(prompts: list[str]) -> Conditioning:
    assert len(prompts) == 1
    return Conditioning({"text": torch.full((1, 3, 4), float(len(prompts[0])))})


def test_each_prompt_is_encoded_once_and_batches_follow_the_order_asked_for() -> None:
    cache = PromptCache()
    first = cache(["cat", "mouse", "cat"], encode, CPU).tensors["text"]
    assert first[:, 0, 0].tolist() == [3, 5, 3]
    assert cache(["mouse", "cat"], encode, CPU).tensors["text"][:, 0, 0].tolist() == [5, 3]
    assert (cache.encoded, len(cache), cache.size) == (2, 2, 2 * SIZE)


def test_beyond_the_limit_the_least_recently_used_goes() -> None:
    cache = PromptCache(limit=2 * SIZE)
    for prompt in ("cat", "mouse", "cat", "horse"):  # mouse was used longest ago
        cache([prompt], encode, CPU)
    assert (cache.encoded, len(cache), cache.size) == (3, 2, 2 * SIZE)
    cache(["cat"], encode, CPU)
    assert cache.encoded == 3
    cache(["mouse"], encode, CPU)
    assert (cache.encoded, cache.size) == (4, 2 * SIZE)


def test_a_prompt_larger_than_the_limit_is_still_encoded() -> None:
    cache = PromptCache(limit=1)
    assert cache(["cat", "mouse"], encode, CPU).tensors["text"].shape == (2, 3, 4)
    assert len(cache) == 1


def test_a_run_encodes_each_prompt_once() -> None:
    policy = ToyPolicy()
    context = toy_context(policy)
    for _ in range(3):
        context.encode(context.prompts.take(5))
    assert {name: n for name, n in policy.calls.items() if name.startswith("encode")} == {
        f"encode {prompt}": 1 for prompt in PROMPTS
    }
