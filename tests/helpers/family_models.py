"""One tiny model for each supported family, in its true layout, and diffusers' own pipeline for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from torch import Tensor

from kedge.models import ModelParts
from kedge.policies import load_policy
from kedge.policies.base import Policy, draw_noise, rollout
from kedge.policies.latent import LatentPolicy
from kedge.policies.settings import LoraConfig
from kedge.quiet import quiet_loading
from kedge.random_models import Scale, build_layout
from kedge.random_models.few_step import UNET_FILE

TINY = Scale(width=0.02, depth=0.01, size=64)


@dataclass(frozen=True)
class Family:
    """A supported kind of model.

    Attributes:
        kind: what it is found to be.
        layout: the whole model.
        parts: key of ``ModelParts`` → layout of the part.
        scheduler: from the folder's scheduler's config to what a user gives the pipeline; None leaves it as it is.
        steps, guidance: that suit it.
        call: further arguments of the pipeline's call.
        untold: whether its files do not say what it is, so that ``model.kind`` has to.
        timesteps: by K, where they are its own.
        sigmas: whether the pipeline has to be told its noise levels, before they are shifted.
        generator: makes what the pipeline draws from; None leaves it to torch's own stream.
    """

    kind: str
    layout: str
    parts: dict[str, str] = field(default_factory=dict)
    scheduler: Callable[[Any], Any] | None = None
    steps: int = 3
    guidance: float = 0.0
    call: dict[str, Any] = field(default_factory=dict)
    untold: bool = False
    timesteps: dict[int, list[int]] = field(default_factory=dict)
    sigmas: bool = False
    generator: Callable[[], torch.Generator] | None = torch.Generator


def _trailing(cls: Any) -> Callable[[Any], Any]:
    return lambda config: cls.from_config(config, timestep_spacing="trailing", **CLIPPING.get(cls, {}))


CLIPPING = {DDIMScheduler: {"clip_sample": False}}


def _ddim(config: Any) -> DDIMScheduler:
    return DDIMScheduler.from_config(config, clip_sample=False)


def _stochastic(config: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler.from_config(config, stochastic_sampling=True)


# The pipelines of flow matching hand no generator to their scheduler: its noise is from torch's own stream.
FLOW: dict[str, Any] = {"scheduler": _stochastic, "generator": None}

FAMILIES = {
    "sd15-lcm": Family("lcm", "sd15-lcm", guidance=7.5),
    "sd15-diffusion": Family("diffusion", "sd15", scheduler=_ddim, guidance=7.5, call={"eta": 1.0}),
    "sd15-lcm-lora": Family("lcm", "sd15", {"lcm_lora": "sd15-lcm-lora"}, LCMScheduler.from_config, guidance=0.5),
    "sdxl-diffusion": Family("diffusion", "sdxl", scheduler=_ddim, guidance=4.0, call={"eta": 1.0}),
    "sdxl-lcm": Family("lcm", "sdxl", {"unet": "sdxl-lcm-unet"}, LCMScheduler.from_config, guidance=7.0),
    "sdxl-lcm-lora": Family("lcm", "sdxl", {"lcm_lora": "sdxl-lcm-lora"}, LCMScheduler.from_config),
    "sd-turbo": Family("turbo", "sd-turbo", scheduler=EulerAncestralDiscreteScheduler.from_config, steps=4),
    "sdxl-turbo": Family("turbo", "sdxl-turbo", steps=2),
    "sdxl-lightning": Family(
        "lightning",
        "sdxl",
        {"unet": "sdxl-lightning-unet"},
        _trailing(EulerAncestralDiscreteScheduler),
        steps=4,
        untold=True,
    ),
    "sdxl-hyper-sd": Family(
        "hyper-sd",
        "sdxl",
        {"few_step_lora": "sdxl-hyper-sd-lora"},
        _trailing(DDIMScheduler),
        call={"eta": 1.0},
        untold=True,
    ),
    "sd15-tcd": Family(
        "tcd", "sd15", {"few_step_lora": "sd15-tcd-lora"}, TCDScheduler.from_config, call={"eta": 1.0}, untold=True
    ),
    "sdxl-dmd2": Family(
        "dmd2",
        "sdxl",
        {"unet": "sdxl-dmd2-unet"},
        LCMScheduler.from_config,
        steps=4,
        untold=True,
        timesteps={4: [999, 749, 499, 249], 2: [999, 499], 1: [399]},
    ),
    "sana-sprint": Family("sana-sprint", "sana-sprint", steps=2, guidance=3.5, call={"use_resolution_binning": False}),
    "flux-schnell": Family(
        "flux-schnell", "flux-schnell", **FLOW, call={"guidance_scale": 0.0, "max_sequence_length": 256}
    ),
    "sd35-turbo": Family("sd35-turbo", "sd35-large-turbo", **FLOW, sigmas=True, call={"guidance_scale": 0.0}),
    "z-image-turbo": Family("z-image-turbo", "z-image-turbo", **FLOW, steps=4, call={"guidance_scale": 0.0}),
    "flux2-klein": Family("flux2-klein", "flux2-klein-4b", **FLOW),
}


VARIANTS = {"sd35-medium-turbo": Family("sd35-turbo", "sd35-medium-turbo", **FLOW, sigmas=True)}


@dataclass(frozen=True)
class Built:
    """A family's model on disk."""

    family: Family
    folder: Path
    parts: ModelParts

    def policy_settings(self) -> dict[str, Any]:
        """The arguments of ``load_policy``, without steps."""
        kind = self.family.kind if self.family.untold else "auto"
        return {"kind": kind, "model": self.folder, "guidance": self.family.guidance, "parts": self.parts}

    def block(self, **keys: Any) -> dict[str, Any]:
        """A recipe's ``model`` block."""
        parts = {key: value for key, value in asdict(self.parts).items() if value}
        block = {"name": str(self.folder), **parts, **keys}
        if self.family.untold:
            block["kind"] = self.family.kind
        if keys.get("steps") in self.family.timesteps:
            block["timesteps"] = self.family.timesteps[keys["steps"]]
        return block

    def pipeline(self) -> DiffusionPipeline:
        """As a user of diffusers alone sets it up; the LCM-LoRA is an adapter named ``lcm`` there."""
        options = {}
        with quiet_loading():
            if self.parts.unet:
                options["unet"] = self._unet(Path(self.parts.unet))
            pipeline = DiffusionPipeline.from_pretrained(self.folder, **options)
            if self.family.scheduler:
                pipeline.scheduler = self.family.scheduler(pipeline.scheduler.config)
            if lora := self.parts.lcm_lora or self.parts.few_step_lora:
                pipeline.load_lora_weights(lora, adapter_name="lcm")
        return pipeline

    def _unet(self, place: Path) -> UNet2DConditionModel:
        """From its folder, or from a single file as the makers of SDXL-Lightning and DMD2 say."""
        if place.is_dir():
            return UNet2DConditionModel.from_pretrained(place)
        network = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(self.folder, subfolder="unet"))
        network.load_state_dict(load_file(place))
        return network.eval()

    def draw(self, pipeline: DiffusionPipeline, prompts: list[str], steps: int, seed: int) -> torch.Tensor:
        """Pictures ``[B, 3, 64, 64]`` by the pipeline."""
        pipeline.set_progress_bar_config(disable=True)
        pipeline.safety_checker = None
        call = dict(self.family.call)
        if self.family.kind == "sana-sprint" and steps != 2:
            call["intermediate_timesteps"] = None
        if self.family.timesteps:
            call["timesteps"] = self.family.timesteps[steps]
        if self.family.sigmas:
            call["sigmas"] = [1 - i / steps for i in range(steps)]
        torch.manual_seed(seed)
        images: torch.Tensor = pipeline(
            prompt=list(prompts),  # Z-Image writes into it
            num_inference_steps=steps,
            generator=self.family.generator().manual_seed(seed) if self.family.generator else None,
            output_type="pt",
            height=64,
            width=64,
            **{"guidance_scale": self.family.guidance + 1, **call},
        ).images
        return images


def build(name: str, folder: Path, scale: Scale = TINY, **settings: Any) -> Built:
    """Write family ``name`` below ``folder``, unless it is there."""
    family = (FAMILIES | VARIANTS)[name]

    def place(layout: str) -> Path:
        path = folder / layout
        return path if path.exists() else build_layout(layout, path, scale, **settings)

    parts = ModelParts(**{key: str(_file(place(layout))) for key, layout in family.parts.items()})
    return Built(family, place(family.layout), parts)


def _file(folder: Path) -> Path:
    """The folder, or the one file in it where that is a UNet without a config."""
    return folder / UNET_FILE if (folder / UNET_FILE).is_file() else folder


Builder = Callable[[str], Built]


PROMPTS = ("a cat", "a very long and winding description of a fox 🦊 at night")


def policy_of(built: Built, steps: int = 2, *, drift: float = 0.0, **settings: Any) -> LatentPolicy:
    """The model with an adapter of rank 4; ``drift`` is the spread of the weights that would be zero at first."""
    torch.manual_seed(0)
    policy = load_policy(**built.policy_settings(), steps=steps, lora=LoraConfig(rank=4), **settings)
    assert isinstance(policy, LatentPolicy)
    assert policy.adapter is not None
    for name, weight in policy.adapter.weights.items():
        if "lora_B" in name and drift:
            weight.data.normal_(std=drift)
    return policy


@torch.no_grad()
def pictures(policy: Policy, seed: int, prompts: Sequence[str] = PROMPTS) -> Tensor:
    """One for each prompt."""
    noise = draw_noise(policy, torch.Generator().manual_seed(seed), len(prompts))
    return policy.decode(rollout(policy, policy.encode(prompts), noise).x0)
