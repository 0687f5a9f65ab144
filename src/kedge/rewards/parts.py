"""What the published rewards are loaded from: files, sizes, licences, and their places in the emoji world."""

from __future__ import annotations

from dataclasses import replace

from kedge.rewards.spec import CHAT_FOLDER, HUB_FOLDER, TOKENIZER, VISION_LANGUAGE_FOLDER, Part
from kedge.units import GB, MB

DEBERTA_WORDS = "tokenizer.json|vocab.json|vocab.txt|bpe_encoder.bin"
DEBERTA_FOLDER = ("config.json", "pytorch_model.bin|model.safetensors", DEBERTA_WORDS)

CLIP_L = Part(
    "clip", "openai/clip-vit-large-patch14", files=HUB_FOLDER, size=int(1.71 * GB), licence="MIT", bundled="clip"
)
CLIP_B = Part("clip", "openai/clip-vit-base-patch32", files=HUB_FOLDER, size=605 * MB, licence="MIT")
PICKSCORE = Part(
    "clip",
    "yuvalkirstain/PickScore_v1",
    files=HUB_FOLDER,
    size=int(3.94 * GB),
    licence="not stated on the hub: check first",
    bundled="pickscore",
)
CLIP_H_WORDS = Part(
    "tokenizer", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", files=TOKENIZER, size=2 * MB, licence="MIT", bundled="hpsv2"
)
BERT_WORDS = Part(
    "tokenizer", "google-bert/bert-base-uncased", files=TOKENIZER, size=1 * MB, licence="Apache-2.0", bundled="blip"
)
AESTHETIC = Part(
    "head",
    "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/sac+logos+ava1-l14-linearMSE.pth",
    files=("sac+logos+ava1-l14-linearMSE.pth",),
    size=int(3.7 * MB),
    licence="Apache-2.0",
    bundled="aesthetic.pth",
    folder=False,
)
BLIP = Part(
    "checkpoint",
    "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth",
    files=("model_large.pth",),
    size=int(1.8 * GB),
    licence="BSD-3-Clause",
    bundled="blip/model_large.pth",
    folder=False,
)
IMAGE_REWARD = Part(
    "checkpoint",
    "THUDM/ImageReward",
    files=("ImageReward.pt",),
    size=int(1.79 * GB),
    licence="Apache-2.0",
    bundled="imagereward/ImageReward.pt",
    folder=False,
)
IMAGE_REWARD_WORDS = replace(BERT_WORDS, bundled="imagereward")
DEBERTA = Part(
    "encoder", "microsoft/deberta-xlarge-mnli", files=DEBERTA_FOLDER, size=int(3.0 * GB), licence="MIT", bundled="bert"
)

QWEN3_VL_2B = Part(
    "model",
    "Qwen/Qwen3-VL-2B-Instruct",
    files=VISION_LANGUAGE_FOLDER,
    size=int(4.26 * GB),
    licence="Apache-2.0",
    bundled="answerer",
)
HPS_V3 = Part(
    "checkpoint",
    "MizzenAI/HPSv3",
    files=("HPSv3.safetensors",),
    size=int(16.57 * GB),
    licence="MIT as its package; the weights' page was not readable: check first",
    folder=False,
)
QWEN2_VL_7B_WORDS = Part("words", "Qwen/Qwen2-VL-7B-Instruct", files=CHAT_FOLDER, size=12 * MB, licence="Apache-2.0")


def hps(file: str, bundled: str | None) -> tuple[Part, ...]:
    """One of HPSv2's checkpoints, with its words."""
    checkpoint = Part(
        "checkpoint",
        "xswu/HPSv2",
        files=(file,),
        size=int(1.97 * GB),
        licence="Apache-2.0",
        bundled=bundled,
        folder=False,
    )
    return checkpoint, CLIP_H_WORDS
