"""What the published rewards are loaded from: files, sizes, licences, and their places in the emoji world."""

from __future__ import annotations

from kedge.rewards.spec import HUB_FOLDER, TOKENIZER, Part
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


def hps(file: str, bundled: str | None) -> tuple[Part, ...]:
    """One of HPSv2's checkpoints, with its words."""
    checkpoint = Part("checkpoint", "xswu/HPSv2", (file,), int(1.97 * GB), "Apache-2.0", bundled, folder=False)
    return checkpoint, CLIP_H_WORDS
