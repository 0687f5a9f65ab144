"""The records of the few-step flow-matching families: :mod:`kedge.policies.families.catalogue` has all of them.

Sampled with noise, as diffusers' scheduler does it too, or without (``model.renoise``).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from kedge.policies.families.backbones import ATTENTION, Backbone, KohyaNames
from kedge.policies.families.spec import Family, Layout, ModelFiles

FLUX = Backbone(
    pipelines=("FluxPipeline",),
    network="transformer",
    guidance_input="guidance_embeds",
    text_encoders=("text_encoder", "text_encoder_2"),
    kohya=KohyaNames(prefix="lora_transformer_"),
)
SD3 = Backbone(
    pipelines=("StableDiffusion3Pipeline",),
    network="transformer",
    text_encoders=("text_encoder", "text_encoder_2", "text_encoder_3"),
    kohya=KohyaNames(prefix="lora_transformer_"),
)
Z_IMAGE = Backbone(pipelines=("ZImagePipeline",), network="transformer", kohya=KohyaNames(prefix="lycoris_"))
FLUX2 = Backbone(
    pipelines=("Flux2KleinPipeline",),
    network="transformer",
    guidance_input="guidance_embeds",
    lora_targets=(*ATTENTION, "to_qkv_mlp_proj"),  # most of its blocks have one layer for all of that
    kohya=KohyaNames(prefix="lora_transformer_"),
)
STOCHASTIC: dict[float, dict[str, bool]] = {1.0: {"stochastic_sampling": True}, 0.0: {"stochastic_sampling": False}}
COMFYUI = {1.0: "lcm", 0.0: "euler"}
FLOW_SCHEDULER = "FlowMatchEulerDiscreteScheduler"
FLUX_TOKENS = 256  # of T5, as FLUX.1-schnell was trained


def _unguided(steps: int, guidance: float) -> dict[str, Any]:
    return {"guidance_scale": 0.0}


def _of_256_tokens(steps: int, guidance: float) -> dict[str, Any]:
    return {"guidance_scale": 0.0, "max_sequence_length": FLUX_TOKENS}


def _even_sigmas(steps: int, guidance: float) -> dict[str, Any]:
    """Left to itself, the pipeline of Stable Diffusion 3 ends far too low: see kedge.policies.families.flow."""
    return {"guidance_scale": 0.0, "sigmas": [round(1 - i / steps, 6) for i in range(steps)]}


def _few_steps(files: ModelFiles) -> bool:
    """The base model has the same files: the name of the folder or hub id can tell, or a scheduler that draws noise."""
    return "turbo" in str(files.folder).lower() or bool(files.scheduler.get("stochastic_sampling"))


def _distilled(files: ModelFiles) -> bool:
    return bool(files.index.get("is_distilled"))


# Distilled without guidance; sampled as diffusers' flow-matching scheduler does it.
few_step_flow = partial(
    Family,
    guidance=0.0,
    takes_guidance=False,
    renoise=STOCHASTIC,
    seeds_all=True,
    comfyui=COMFYUI,
    comfyui_levels="the scheduler `simple`",
    scheduler=FLOW_SCHEDULER,
)

FLUX_SCHNELL = few_step_flow(
    name="flux-schnell",
    title="FLUX.1-schnell",
    make="kedge.policies.families.flux:flux_policy",
    backbone=FLUX,
    steps=4,
    call=_of_256_tokens,
    name_marks=("flux.1-schnell",),
    layouts=(Layout("flux-schnell", "kedge.random_models.flux:flux_schnell", ("black-forest-labs/FLUX.1-schnell",)),),
)

SD35_TURBO = few_step_flow(
    name="sd35-turbo",
    title="Stable Diffusion 3.5 Turbo",
    make="kedge.policies.families.sd3:sd3_policy",
    backbone=SD3,
    steps=4,
    call=_even_sigmas,
    recognises=_few_steps,
    name_marks=("3.5-large-turbo", "3.5-medium-turbo"),
    layouts=(
        Layout(
            "sd35-large-turbo",
            "kedge.random_models.sd3:sd35_large_turbo",
            ("stabilityai/stable-diffusion-3.5-large-turbo",),
        ),
        Layout(
            "sd35-medium-turbo",
            "kedge.random_models.sd3:sd35_medium_turbo",
            ("tensorart/stable-diffusion-3.5-medium-turbo",),
        ),
    ),
)

Z_IMAGE_TURBO = few_step_flow(
    name="z-image-turbo",
    title="Z-Image-Turbo",
    make="kedge.policies.families.z_image:z_image_policy",
    backbone=Z_IMAGE,
    steps=8,
    call=_unguided,
    recognises=_few_steps,
    name_marks=("z-image-turbo", "emoji-flow"),
    layouts=(Layout("z-image-turbo", "kedge.random_models.z_image:z_image_turbo", ("Tongyi-MAI/Z-Image-Turbo",)),),
)

FLUX2_KLEIN = few_step_flow(
    name="flux2-klein",
    title="FLUX.2 [klein]",
    make="kedge.policies.families.flux2:flux2_policy",
    backbone=FLUX2,
    comfyui_levels="the node Flux2Scheduler",  # the shift depends on the size
    steps=4,
    recognises=_distilled,
    name_marks=("flux.2-klein-4b", "flux.2-klein-9b"),
    layouts=(
        Layout("flux2-klein-4b", "kedge.random_models.flux2:flux2_klein_4b", ("black-forest-labs/FLUX.2-klein-4B",)),
    ),
)
