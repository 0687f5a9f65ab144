"""Entries of the catalogue: rewards of vision-language models, and those behind servers. Importable without torch."""

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
        world_made_from=("emoji answerer",),
        sees_damage=False,
        parts=(parts.QWEN3_VL_2B,),
        settings={"question": 'Does this picture show "{prompt}"? Answer Yes or No.', "yes": "Yes", "no": "No"},
        source="weights",
    ),
    RewardSpec(
        "judge",
        "kedge.rewards.judge:Judge",
        skeleton="kedge.rewards.skeleton:no_network",
        differentiable=False,
        needs_prompt=True,
        measures="what a model behind a server says of the picture (UnifiedReward, reading, yes or no)",
        units="as the template says",
        made_from=("a vision-language model",),
        settings={"template": "rating", "question": "", "pattern": "", "unread": 0.0, "workers": 8.0},
        source="server",
    ),
    RewardSpec(
        "remote",
        "kedge.rewards.remote:RemoteReward",
        skeleton="kedge.rewards.skeleton:no_network",
        differentiable=False,
        needs_prompt=True,
        measures="what a reward server returns: write its address, http://HOST:PORT/score",
        units="the server's",
        made_from=("a reward server",),
        settings={"batch": 16.0, "timeout": 120.0, "attempts": 8.0},
        source="server",
    ),
)
