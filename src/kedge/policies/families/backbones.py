"""The networks of UNet pipelines by their names, shared by all families that sample them."""

from __future__ import annotations

from kedge.policies.families.spec import Architecture, Backbone, KohyaNames

OMEGA = "time_embedding.cond_proj.weight"  # [channels, width of ω's embedding], of UNets that take ω as an input

UNETS = Backbone(
    pipelines=("StableDiffusionPipeline", "LatentConsistencyModelPipeline", "StableDiffusionXLPipeline"),
    network="unet",
    guidance_input="time_cond_proj_dim",
    text_encoders=("text_encoder", "text_encoder_2"),
    kohya=KohyaNames(
        prefix="lora_unet_",
        architectures={
            768: Architecture("sd_v1", "stable-diffusion-v1"),
            1024: Architecture("sd_v2", "stable-diffusion-v2-512"),
            2048: Architecture("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
        },
    ),
)
