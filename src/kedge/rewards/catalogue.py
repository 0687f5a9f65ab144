"""Every reward that ships: one entry each. Importable without torch.

Sources of the facts: the publishers' pages and reference code, named in docs/rewards.md. Sizes are of the downloads.
"""

from __future__ import annotations

from kedge.registry import UnknownNameError, suggest
from kedge.rewards import parts
from kedge.rewards.spec import RewardSpec
from kedge.rewards.vision_language_specs import VISION_LANGUAGE

NO_NETWORK = "kedge.rewards.skeleton:no_network"
_SPECS = (
    RewardSpec(
        "pickscore",
        "kedge.rewards.clip:PickScore",
        skeleton="kedge.rewards.clip:skeleton",
        title="PickScore",
        differentiable=True,
        needs_prompt=True,
        measures="which of two pictures for a prompt people picked (Pick-a-Pic)",
        units="exp(logit scale) × cosine, about 100 × cosine",
        made_from=("LAION CLIP ViT-H/14", "Pick-a-Pic votes"),
        world_made_from=("emoji CLIP", "emoji votes on pairs"),
        sees_damage=False,
        typical=(17.0, 24.0),
        parts=(parts.PICKSCORE,),
        source="weights",
    ),
    RewardSpec(
        "hpsv2",
        "kedge.rewards.hps:HPS",
        skeleton="kedge.rewards.hps:skeleton",
        title="HPSv2",
        differentiable=True,
        needs_prompt=True,
        measures="which pictures people prefer for a prompt (Human Preference Dataset v2)",
        units="cosine (×10 in ROCM's Table 1, ×100 in the HPS benchmark)",
        made_from=("LAION CLIP ViT-H/14", "HPD v2 votes", "MMLab"),
        world_made_from=("emoji CLIP", "emoji votes for cleanness"),
        sees_damage=False,
        typical=(0.20, 0.32),
        display=10.0,
        parts=parts.hps("HPS_v2_compressed.pt", "hpsv2/HPS_v2_compressed.pt"),
        source="weights",
    ),
    RewardSpec(
        "hpsv2.1",
        "kedge.rewards.hps:HPS",
        skeleton="kedge.rewards.hps:skeleton",
        title="HPSv2.1",
        differentiable=True,
        needs_prompt=True,
        measures="as hpsv2, trained on better data; not comparable with hpsv2",
        units="cosine (×10 in tables, as hpsv2)",
        made_from=("LAION CLIP ViT-H/14", "HPD v2 votes", "MMLab"),
        sees_damage=False,
        typical=(0.20, 0.36),
        display=10.0,
        parts=parts.hps("HPS_v2.1_compressed.pt", None),
        source="weights",
    ),
    RewardSpec(
        "clipscore",
        "kedge.rewards.clip:CLIPScore",
        skeleton="kedge.rewards.clip:vit_l14_skeleton",
        title="CLIPScore",
        differentiable=True,
        needs_prompt=True,
        measures="whether the picture shows the prompt (CLIP ViT-L/14), as in ROCM's tables",
        units="cosine",
        made_from=("OpenAI CLIP ViT-L/14",),
        world_made_from=("emoji CLIP",),
        sees_damage=True,
        typical=(0.15, 0.35),
        parts=(parts.CLIP_L,),
        source="weights",
    ),
    RewardSpec(
        "clipscore-torchmetrics",
        "kedge.rewards.clip:CLIPScore",
        skeleton="kedge.rewards.clip:vit_l14_skeleton",
        differentiable=True,
        needs_prompt=True,
        measures="as clipscore, in torchmetrics' convention",
        units="100 × max(cosine, 0)",
        made_from=("OpenAI CLIP ViT-L/14",),
        world_made_from=("emoji CLIP",),
        sees_damage=True,
        typical=(15.0, 35.0),
        parts=(parts.CLIP_L,),
        options={"scale": 100.0, "clip_negative": True, "style": "transformers"},
        source="weights",
    ),
    RewardSpec(
        "clipscore-hessel",
        "kedge.rewards.clip:CLIPScore",
        skeleton="kedge.rewards.clip:vit_b32_skeleton",
        differentiable=True,
        needs_prompt=True,
        measures="CLIPScore as first published (Hessel et al. 2021): ViT-B/32, the prompt behind 'A photo depicts'",
        units="2.5 × max(cosine, 0)",
        made_from=("OpenAI CLIP ViT-B/32", "OpenAI CLIP ViT-L/14"),
        sees_damage=True,
        typical=(0.5, 1.0),
        parts=(parts.CLIP_B,),
        options={"scale": 2.5, "clip_negative": True, "prefix": "A photo depicts "},
        source="weights",
    ),
    RewardSpec(
        "aesthetic",
        "kedge.rewards.aesthetic:Aesthetic",
        skeleton="kedge.rewards.aesthetic:skeleton",
        title="Aesthetic",
        differentiable=True,
        needs_prompt=False,
        measures="how beautiful people found pictures like this one (LAION aesthetic predictor v2)",
        units="rating, about 1 to 10",
        made_from=("OpenAI CLIP ViT-L/14", "AVA, SAC and LOGOS ratings"),
        world_made_from=("emoji CLIP", "emoji ratings"),
        sees_damage=False,
        typical=(4.5, 7.0),
        parts=(parts.AESTHETIC, parts.CLIP_L),
        source="weights",
    ),
    RewardSpec(
        "blipscore",
        "kedge.rewards.blipscore:BLIPScore",
        skeleton="kedge.rewards.blipscore:skeleton",
        title="BLIPScore",
        differentiable=True,
        needs_prompt=True,
        measures="whether the picture shows the prompt (BLIP ViT-L, contrastive), as in ROCM's tables",
        units="cosine",
        made_from=("BLIP ViT-L",),
        world_made_from=("emoji BLIP",),
        sees_damage=True,
        typical=(0.3, 0.55),
        parts=(parts.BLIP, parts.BERT_WORDS),
        source="weights",
    ),
    RewardSpec(
        "blipscore-itm",
        "kedge.rewards.blipscore:BLIPMatch",
        skeleton="kedge.rewards.blipscore:matching_skeleton",
        differentiable=True,
        needs_prompt=True,
        measures="BLIP's probability that picture and prompt match (its cross-attending head)",
        units="probability",
        made_from=("BLIP ViT-L",),
        world_made_from=("emoji BLIP",),
        sees_damage=True,
        typical=(0.0, 1.0),
        parts=(parts.BLIP, parts.BERT_WORDS),
        source="weights",
    ),
    RewardSpec(
        "imagereward",
        "kedge.rewards.image_reward:ImageReward",
        skeleton="kedge.rewards.image_reward:skeleton",
        title="ImageReward",
        differentiable=True,
        needs_prompt=True,
        measures="how people rank pictures for a prompt (ImageReward v1.0)",
        units="standard deviations of its training set",
        made_from=("BLIP ViT-L", "ImageReward rankings"),
        world_made_from=("emoji BLIP", "emoji rankings"),
        sees_damage=True,
        typical=(-2.3, 2.0),
        parts=(parts.IMAGE_REWARD, parts.IMAGE_REWARD_WORDS),
        source="weights",
    ),
    RewardSpec(
        "compressibility",
        "kedge.rewards.jpeg:JpegSize",
        skeleton=NO_NETWORK,
        differentiable=False,
        needs_prompt=False,
        measures="minus the size as JPEG (quality 95), as in DDPO and RLCM",
        units="−kB (1000 bytes)",
        made_from=("JPEG",),
        sees_damage=False,
        options={"sign": -1},
    ),
    RewardSpec(
        "incompressibility",
        "kedge.rewards.jpeg:JpegSize",
        skeleton=NO_NETWORK,
        differentiable=False,
        needs_prompt=False,
        measures="the size as JPEG (quality 95), as in DDPO and RLCM",
        units="kB (1000 bytes)",
        made_from=("JPEG",),
        sees_damage=False,
        options={"sign": 1},
    ),
    RewardSpec(
        "compressibility_proxy",
        "kedge.rewards.jpeg_rate:JpegRate",
        skeleton="kedge.rewards.jpeg_rate:skeleton",
        differentiable=True,
        needs_prompt=False,
        measures="a smooth estimate of compressibility, for algorithms that need a gradient",
        units="−kB (1000 bytes), estimated",
        made_from=("JPEG",),
        sees_damage=False,
        options={"sign": -1},
    ),
    RewardSpec(
        "incompressibility_proxy",
        "kedge.rewards.jpeg_rate:JpegRate",
        skeleton="kedge.rewards.jpeg_rate:skeleton",
        differentiable=True,
        needs_prompt=False,
        measures="a smooth estimate of incompressibility, for algorithms that need a gradient",
        units="kB (1000 bytes), estimated",
        made_from=("JPEG",),
        sees_damage=False,
        options={"sign": 1},
    ),
    RewardSpec(
        "alignment",
        "kedge.rewards.alignment:Alignment",
        skeleton="kedge.rewards.bertscore:skeleton",
        differentiable=False,
        needs_prompt=True,
        measures="whether a vision-language model, asked what it sees, recalls the prompt (RLCM: LLaVA, BERTScore)",
        units="BERTScore recall",
        made_from=("a vision-language model",),
        world_made_from=("emoji captioner",),
        sees_damage=False,
        typical=(0.4, 0.95),
        parts=(parts.DEBERTA,),
        source="server",
        world_server="captioner",
    ),
    RewardSpec(
        "oracle",
        "kedge.worlds.emoji.oracle:OracleReward",
        skeleton=NO_NETWORK,
        title="Oracle (true preference)",
        differentiable=False,
        needs_prompt=True,
        measures="the emoji world's true preference: right animals, number, place and a clean picture",
        units="score",
        truth=True,
    ),
)

REWARDS: dict[str, RewardSpec] = {spec.name: spec for spec in (*_SPECS, *VISION_LANGUAGE)}
"""The rewards by name."""


def register(spec: RewardSpec) -> None:
    """Add a reward of your own under a name; a taken name is an error."""
    if spec.name in REWARDS:
        raise ValueError(f"reward {spec.name!r} is already registered")
    REWARDS[spec.name] = spec


def check_in_world(spec: RewardSpec) -> None:
    """See that the emoji world has a reward of this name.

    Raises:
        UnknownNameError: listing those that it has.
    """
    if not spec.in_world:
        known = ", ".join(name for name, other in REWARDS.items() if other.in_world)
        raise UnknownNameError(f"the emoji world has no {spec.name!r}; it has: {known}")


def find(name: str) -> RewardSpec:
    """The entry for ``name``.

    Raises:
        UnknownNameError: listing the choices and the nearest one.
    """
    if name in REWARDS:
        return REWARDS[name]
    hint = suggest(name, REWARDS)
    raise UnknownNameError(
        f"unknown reward {name!r}.{hint} Choose from: {', '.join(sorted(REWARDS))}, or module:callable"
    )
