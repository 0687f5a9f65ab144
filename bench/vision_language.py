"""Time and memory of the vision-language rewards on this machine, at the published widths with fewer layers.

    python -m bench.vision_language [--layers 2] [--size 512]

Weights are random; whole networks would not fit a small machine. Layers are alike, so time grows with their number.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor
from transformers import AutoModel

from kedge.rewards.hpsv3 import VOCABULARY, WORDS, patches
from kedge.rewards.qwen_published import QWEN3_PATCHES, qwen2_vl_7b, qwen3_vl_2b
from kedge.rewards.vision_language import VisionLanguage, meta_score
from kedge.rewards.vqa import WORDS as QUESTION_WORDS
from kedge.training.meter import forget_peak, peak_memory
from kedge.units import GB


def main() -> None:
    """One line for each reward."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="of each encoder, of 24 and 28 (vqa), 32 and 28 (hpsv3)")
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    for name in ("vqa", "hpsv3"):
        config = qwen3_vl_2b() if name == "vqa" else qwen2_vl_7b(VOCABULARY)
        config.vision_config.depth = config.text_config.num_hidden_layers = arguments.layers
        config.text_config.vocab_size = 32  # no arithmetic depends on it
        config.image_token_id = 31
        if name == "vqa":
            config.vision_config.deepstack_visual_indexes = [0]
        network = AutoModel.from_config(config).eval().requires_grad_(False)
        preprocess = QWEN3_PATCHES if name == "vqa" else patches(config)
        sees = VisionLanguage(network, config.image_token_id, preprocess, flat=name == "hpsv3")
        states = meta_score(sees, QUESTION_WORDS if name == "vqa" else WORDS)
        images = torch.rand(1, 3, arguments.size, arguments.size, requires_grad=True)
        print(name, _measured(states, images), flush=True)


def _measured(states, images: Tensor) -> str:
    states(images.detach())
    forget_peak(images.device)
    held, begin = peak_memory(images.device), time.process_time()
    score = states(images).sum()
    middle = time.process_time()
    torch.autograd.grad(score, images)
    end, peak = time.process_time(), peak_memory(images.device)
    return (
        f"forward {middle - begin:.2f} s, backward {end - middle:.2f} s of CPU time, {(peak - held) / GB:.2f} GB above "
        f"the {held / GB:.2f} GB that were held"
    )


if __name__ == "__main__":
    main()
