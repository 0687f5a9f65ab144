"""How surely a vision-language model answers "Yes" when asked whether the picture shows the prompt.

The idea is VQAScore's (Lin et al. 2024, "Evaluating Text-to-Visual Generation with Image-to-Text Generation"), with the
log-odds of the answer instead of its probability: they do not saturate, so neither does the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from kedge.rewards.patches import read_patch_preprocess
from kedge.rewards.preprocess import check_batch
from kedge.rewards.qwen_published import QWEN3_PATCHES, qwen3_vl_2b
from kedge.rewards.skeleton import Paths, Skeleton, on_meta
from kedge.rewards.vision_language import VisionLanguage, check_kind, load_vision_language, meta_score
from kedge.rewards.weights import Device, at_least_float32

QUESTION = 'Does this picture show "{prompt}"? Answer Yes or No.'
PLACE = "{prompt}"
WORDS = 40  # of a question, when a run is planned: its frame and a prompt


class VQA:
    """``log p(yes) − log p(no)`` of the answer's first word; with ``no=""``, ``log p(yes) − log(1 − p(yes))``.

    Args:
        model: a transformers folder of Qwen2-VL's, Qwen2.5-VL's or Qwen3-VL's kind.
        question: what is asked; ``{prompt}`` in it becomes the prompt.
        yes, no: the two answers, each one token of the model.
    """

    differentiable = True

    def __init__(
        self,
        model: Path,
        name: str = "vqa",
        device: Device = "cpu",
        dtype: torch.dtype = torch.float32,
        question: str = QUESTION,
        yes: str = "Yes",
        no: str = "No",
    ):
        if PLACE not in question:
            raise ValueError(f"reward {name!r}: the question {question!r} lacks {PLACE}, the prompt's place")
        self.name, self.question = name, question
        self.sees, self.words, reader = load_vision_language(model, device, dtype)
        self.network = self.sees.network
        self.yes, self.no = reader.word(yes), reader.word(no) if no else None

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images ``[B, 3, H, W]`` in [0, 1]; returns ``[B]``, in nats.

        Raises:
            ValueError: a prompt holds one of the model's special tokens.
        """
        images = check_batch(images, prompts)
        questions = [self.question.replace(PLACE, prompt) for prompt in prompts]
        logits = at_least_float32(self.words(self.sees.states(images, questions)))
        return log_odds(logits, self.yes, self.no).to(images.device)


def log_odds(logits: Tensor, yes: int, no: int | None) -> Tensor:
    """``[B]`` of ``[B, words]``: one answer against another, or against everything else."""
    if no is not None:
        return logits[:, yes] - logits[:, no]
    others = logits.index_fill(1, torch.tensor([yes], device=logits.device), -torch.inf)
    return logits[:, yes] - others.logsumexp(1)


def skeleton(paths: Paths, dtype: torch.dtype) -> Skeleton:
    """The model of the folder, or the published one (Qwen3-VL-2B)."""
    folder = paths.get("model")
    config = check_kind(folder) if folder else qwen3_vl_2b()
    preprocess = read_patch_preprocess(folder) if folder else QWEN3_PATCHES
    model = on_meta(lambda: AutoModelForImageTextToText.from_config(config), dtype)
    state = meta_score(VisionLanguage(model.model, config.image_token_id, preprocess), WORDS)
    return Skeleton(model, lambda images: at_least_float32(model.lm_head(state(images))).sum(1))
