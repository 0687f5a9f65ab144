"""The rewards that a vision-language model gives: entries of the catalogue. Importable without torch."""

from __future__ import annotations

from kedge.rewards import parts
from kedge.rewards.spec import RewardSpec

VISION_LANGUAGE = (
    RewardSpec(
        "hpsv3",
        "kedge.rewards.hpsv3:HPSv3",
        skeleton="kedge.rewards.hpsv3:skeleton",
        title="HPSv3",
        differentiable=True,
        needs_prompt=True,
        measures="which pictures people prefer for a prompt (HPDv3), by a vision-language model",
        units="mean rating, on a scale of its own",
        made_from=("Qwen2-VL-7B", "HPD v3 votes", "MizzenAI"),
        typical=(0.0, 15.0),
        parts=(parts.HPS_V3, parts.QWEN2_VL_7B_WORDS),
        settings={"pessimism": 0.0},
        source="weights",
    ),
    RewardSpec(
        "vqa",
        "kedge.rewards.vqa:VQA",
        skeleton="kedge.rewards.vqa:skeleton",
        title="VQA",
        differentiable=True,
        needs_prompt=True,
        measures="how surely a vision-language model says Yes when asked whether the picture shows the prompt",
        units="log-odds of Yes, in nats",
        made_from=("Qwen3-VL",),
        parts=(parts.QWEN3_VL_2B,),
        settings={"question": 'Does this picture show "{prompt}"? Answer Yes or No.', "yes": "Yes", "no": "No"},
        source="weights",
    ),
)
