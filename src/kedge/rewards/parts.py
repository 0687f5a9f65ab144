"""What the published rewards are loaded from: files, sizes, licences, and their places in the emoji world."""

from __future__ import annotations

from kedge.rewards.spec import CHAT_FOLDER, HUB_FOLDER, TOKENIZER, VISION_LANGUAGE_FOLDER, Part
from kedge.units import GB, MB

DEBERTA_WORDS = "tokenizer.json|vocab.json|vocab.txt|bpe_encoder.bin"
DEBERTA_FOLDER = ("config.json", "pytorch_model.bin|model.safetensors", DEBERTA_WORDS)

CLIP_L = Part("clip", "openai/clip-vit-large-patch14", HUB_FOLDER, int(1.71 * GB), "MIT", "clip")
CLIP_B = Part("clip", "openai/clip-vit-base-patch32", HUB_FOLDER, 605 * MB, "MIT")
PICKSCORE = Part(
    "clip", "yuvalkirstain/PickScore_v1", HUB_FOLDER, int(3.94 * GB), "not stated on the hub: check first", "pickscore"
)
CLIP_H_WORDS = Part("tokenizer", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", TOKENIZER, 2 * MB, "MIT", "hpsv2")
BERT_WORDS = Part("tokenizer", "google-bert/bert-base-uncased", TOKENIZER, 1 * MB, "Apache-2.0", "blip")
AESTHETIC = Part(
    "head",
    "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/sac+logos+ava1-l14-linearMSE.pth",
    ("sac+logos+ava1-l14-linearMSE.pth",),
    int(3.7 * MB),
    "Apache-2.0",
    "aesthetic.pth",
    folder=False,
)
BLIP = Part(
    "checkpoint",
    "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth",
    ("model_large.pth",),
    int(1.8 * GB),
    "BSD-3-Clause",
    "blip/model_large.pth",
    folder=False,
)
IMAGE_REWARD = Part(
    "checkpoint",
    "THUDM/ImageReward",
    ("ImageReward.pt",),
    int(1.79 * GB),
    "Apache-2.0",
    "imagereward/ImageReward.pt",
    folder=False,
)
IMAGE_REWARD_WORDS = Part("tokenizer", "google-bert/bert-base-uncased", TOKENIZER, 1 * MB, "Apache-2.0", "imagereward")
DEBERTA = Part("encoder", "microsoft/deberta-xlarge-mnli", DEBERTA_FOLDER, int(3.0 * GB), "MIT", "bert")

QWEN3_VL_2B = Part("model", "Qwen/Qwen3-VL-2B-Instruct", VISION_LANGUAGE_FOLDER, int(4.26 * GB), "Apache-2.0")
HPS_V3 = Part(
    "checkpoint",
    "MizzenAI/HPSv3",
    ("HPSv3.safetensors",),
    int(16.57 * GB),
    "MIT as its package; the weights' page was not readable: check first",
    folder=False,
)
QWEN2_VL_7B_WORDS = Part("words", "Qwen/Qwen2-VL-7B-Instruct", CHAT_FOLDER, 12 * MB, "Apache-2.0")


def hps(file: str, bundled: str | None) -> tuple[Part, ...]:
    """One of HPSv2's checkpoints, with its words."""
    checkpoint = Part("checkpoint", "xswu/HPSv2", (file,), int(1.97 * GB), "Apache-2.0", bundled, folder=False)
    return checkpoint, CLIP_H_WORDS
