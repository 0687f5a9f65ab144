"""Distillations of Stable Diffusion and SDXL that come as a part: a UNet in one file, or a LoRA. A record for each.

Their weights do not say how they are sampled, so a file that is not known by its published name needs ``model.kind``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.policies.families.backbones import UNETS
from kedge.policies.families.spec import Conversion, Family, Layout, ModelFiles

LORA, UNET = "few_step_lora", "unet"
BY_PART = (Conversion(UNET, embeds_guidance=False), Conversion(LORA, embeds_guidance=False))
LIGHTNING_FILES, HYPER_FILES = "ByteDance/SDXL-Lightning/sdxl_lightning_", "ByteDance/Hyper-SD/Hyper-"
DMD2_FILES = "tianweiy/DMD2/dmd2_sdxl_"
TCD_REPOSITORIES = ("h1t/TCD-SDXL-LoRA", "h1t/TCD-SD15-LoRA")


def _by_tcd(files: ModelFiles) -> bool:
    return files.scheduler.get("_class_name") == "TCDScheduler"


def _by_nothing(files: ModelFiles) -> bool:
    """A folder with a scheduler for such a model reads like any other's."""
    return False


def _what_one_step_predicts(model: Mapping[str, Any]) -> str | None:
    """One-step SDXL-Lightning predicts x̂_0, the others ε: the weights do not show which they are."""
    if model["steps"] == 1 and model["prediction_type"] is None:
        return (
            "with one step SDXL-Lightning's own checkpoint predicts the picture (model.prediction_type=sample), those "
            "for more steps predict noise (epsilon), and the files do not say which this is: set model.prediction_type"
        )
    return None


TCD = Family(
    name="tcd",
    title="TCD and Hyper-SD's one-step LoRAs",
    make="kedge.policies.families.tcd:tcd_policy",
    backbone=UNETS,
    steps=4,
    guidance=0.0,
    takes=("eta", "timesteps"),
    scheduler_keys=("prediction_type",),
    conversions=BY_PART,
    scheduler="TCDScheduler",
    recognises=_by_tcd,
    name_marks=("tcd",),
    layouts=(
        Layout(
            "sdxl-tcd-lora",
            "kedge.random_models.few_step:sdxl_lora",
            (TCD_REPOSITORIES[0], f"{HYPER_FILES}SDXL-1step-lora.safetensors"),
            part=LORA,
        ),
        Layout(
            "sd15-tcd-lora",
            "kedge.random_models.few_step:sd15_lora",
            (TCD_REPOSITORIES[1], f"{HYPER_FILES}SD15-1step-lora.safetensors"),
            part=LORA,
        ),
    ),
)


def _files(pattern: str, *steps: int) -> tuple[str, ...]:
    """What files for so many steps are called."""
    return tuple(map(pattern.format, steps))


HYPER_SD = Family(
    name="hyper-sd",
    title="Hyper-SD's LoRAs for 2, 4 and 8 steps",
    make="kedge.policies.families.diffusion:hyper_sd_policy",
    backbone=UNETS,
    steps=8,
    guidance=0.0,
    takes=("eta",),
    scheduler_keys=("prediction_type",),
    conversions=BY_PART,
    scheduler="DDIMScheduler",
    scheduler_options={"clip_sample": False, "timestep_spacing": "trailing"},
    recognises=_by_nothing,
    name_marks=("hyper-sd", "hyper_sd", "hypersd"),
    layouts=(
        Layout(
            "sdxl-hyper-sd-lora",
            "kedge.random_models.few_step:sdxl_lora",
            _files(HYPER_FILES + "SDXL-{}steps-lora.safetensors", 8, 4, 2),
            part=LORA,
        ),
        Layout(
            "sd15-hyper-sd-lora",
            "kedge.random_models.few_step:sd15_lora",
            _files(HYPER_FILES + "SD15-{}steps-lora.safetensors", 8, 4, 2),
            part=LORA,
        ),
    ),
)

LIGHTNING = Family(
    name="lightning",
    title="SDXL-Lightning",
    make="kedge.policies.families.turbo:lightning_policy",
    backbone=UNETS,
    comfyui={1.0: "euler_ancestral"},
    steps=4,
    guidance=0.0,
    scheduler_keys=("prediction_type",),
    conversions=BY_PART,
    scheduler="EulerAncestralDiscreteScheduler",
    one_step_scheduler="EulerDiscreteScheduler",
    scheduler_options={"timestep_spacing": "trailing"},
    asks=_what_one_step_predicts,
    recognises=_by_nothing,
    name_marks=("lightning",),
    layouts=(
        Layout(
            "sdxl-lightning-unet",
            "kedge.random_models.few_step:sdxl_unet_file",
            (
                *_files(LIGHTNING_FILES + "{}step_unet.safetensors", 4, 8, 2),
                f"{LIGHTNING_FILES}1step_unet_x0.safetensors",
            ),
            part=UNET,
        ),
        Layout(
            "sdxl-lightning-lora",
            "kedge.random_models.few_step:sdxl_lora",
            _files(LIGHTNING_FILES + "{}step_lora.safetensors", 4, 8, 2),
            part=LORA,
        ),
    ),
)

DMD2 = Family(
    name="dmd2",
    title="DMD2",
    make="kedge.policies.families.lcm:dmd2_policy",
    backbone=UNETS,
    comfyui={1.0: "lcm"},
    steps=4,
    guidance=0.0,
    takes=("timesteps",),
    timesteps={4: (999, 749, 499, 249), 1: (399,)},
    scheduler_keys=("prediction_type",),
    conversions=BY_PART,
    scheduler="LCMScheduler",
    renoise={1.0: {}},
    recognises=_by_nothing,
    name_marks=("dmd2",),
    layouts=(
        Layout(
            "sdxl-dmd2-unet",
            "kedge.random_models.few_step:sdxl_unet_file",
            (
                f"{DMD2_FILES}4step_unet_fp16.safetensors",
                f"{DMD2_FILES}4step_unet_fp16.bin",
                f"{DMD2_FILES}1step_unet_fp16.bin",
            ),
            part=UNET,
        ),
        Layout(
            "sdxl-dmd2-lora",
            "kedge.random_models.few_step:sdxl_lora",
            (f"{DMD2_FILES}4step_lora_fp16.safetensors", f"{DMD2_FILES}4step_lora.safetensors"),
            part=LORA,
        ),
    ),
)
