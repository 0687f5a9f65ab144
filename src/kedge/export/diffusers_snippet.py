"""How a run's adapter is loaded by diffusers alone: the lines of Python that its model card shows."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kedge.config import ModelConfig
from kedge.models import BUNDLED

# What samples each kind in diffusers, where the model's own files may name another.
SCHEDULERS = {"lcm": "LCMScheduler", "diffusion": "DDIMScheduler", "turbo": "EulerAncestralDiscreteScheduler"}


def diffusers_code(model: ModelConfig) -> str:
    """Python that draws one picture with the adapter in the folder ``lora``; empty for a policy of the user's own."""
    if ":" in model.kind:
        return ""
    return "".join(f"{line}\n" for line in [*_imports(model), "", *_pipeline(model), *_adapters(model), _call(model)])


def _imports(model: ModelConfig) -> Iterator[str]:
    if model.name in BUNDLED:
        yield "import torch"
    scheduler = SCHEDULERS.get(model.kind)
    parts = {"AutoencoderKL": model.vae, "UNet2DConditionModel": model.unet}
    names = ["DiffusionPipeline", scheduler, *(name for name, given in parts.items() if given)]
    yield f"from diffusers import {', '.join(sorted(filter(None, names), key=str.lower))}"
    if model.name in BUNDLED:
        yield "from kedge.models import resolve_model"


def _pipeline(model: ModelConfig) -> Iterator[str]:
    given = []
    for name, cls, place in (("unet", "UNet2DConditionModel", model.unet), ("vae", "AutoencoderKL", model.vae)):
        if place:
            yield f"{name} = {cls}.from_pretrained({json.dumps(place)})"
            given.append(f", {name}={name}")
    if model.variant:
        given.append(f", variant={json.dumps(model.variant)}")
    place = json.dumps(model.name)
    if model.name in BUNDLED:  # diffusers does not know the name; and the adapter is of float32, the model of float16
        place = f"resolve_model({place}), torch_dtype=torch.float32"
    yield f"pipe = DiffusionPipeline.from_pretrained({place}{''.join(given)})"
    if scheduler := SCHEDULERS.get(model.kind):
        clip = ", clip_sample=False" if model.kind == "diffusion" else ""
        yield f"pipe.scheduler = {scheduler}.from_config(pipe.scheduler.config{clip})"


def _adapters(model: ModelConfig) -> Iterator[str]:
    if not model.lcm_lora:
        yield 'pipe.load_lora_weights("lora")'
        return
    yield f'pipe.load_lora_weights({json.dumps(model.lcm_lora)}, adapter_name="lcm")'
    yield 'pipe.load_lora_weights("lora", adapter_name="kedge")'
    yield 'pipe.set_adapters(["lcm", "kedge"])'


def _call(model: ModelConfig) -> str:
    settings = {"num_inference_steps": str(model.steps), "guidance_scale": f"{model.omega + 1:g}"}
    if model.kind == "diffusion":
        settings["eta"] = f"{model.eta:g}"
    if model.kind == "sana-sprint" and model.steps != 2:
        settings["intermediate_timesteps"] = "None"
    if model.size:
        height, width = (model.size, model.size) if isinstance(model.size, int) else model.size
        settings |= {"height": str(height), "width": str(width)}
    return f'image = pipe("…", {", ".join(f"{name}={value}" for name, value in settings.items())}).images[0]'
