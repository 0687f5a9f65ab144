"""How a run's adapter is loaded by diffusers alone: the lines of Python that its model card shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kedge.config import ModelConfig
from kedge.models import BUNDLED
from kedge.policies.families import Family


def diffusers_code(model: ModelConfig) -> str:
    """Python that draws one picture with the adapter in the folder ``lora``; empty for a policy of the user's own."""
    family = model.family
    if family is None:
        return ""
    lines = [*_imports(model, family), "", *_pipeline(model, family), *_adapters(model, family), _call(model, family)]
    return "\n".join(lines) + "\n"


def _imports(model: ModelConfig, family: Family) -> Iterator[str]:
    if model.name in BUNDLED:
        yield "import torch"
    needed = {"AutoencoderKL": model.vae, "UNet2DConditionModel": model.unet, family.scheduler: family.scheduler}
    names = ["DiffusionPipeline", *(name for name, value in needed.items() if name and value)]
    yield f"from diffusers import {', '.join(sorted(names, key=str.lower))}"
    if model.name in BUNDLED:
        yield "from kedge.models import resolve_model"


def _pipeline(model: ModelConfig, family: Family) -> Iterator[str]:
    further = []
    for name, cls, place in (("unet", "UNet2DConditionModel", model.unet), ("vae", "AutoencoderKL", model.vae)):
        if place:
            yield f"{name} = {cls}.from_pretrained({json.dumps(place)})"
            further.append(f", {name}={name}")
    if model.variant:
        further.append(f", variant={json.dumps(model.variant)}")
    place = json.dumps(model.name)
    if model.name in BUNDLED:  # diffusers does not know the name; and the adapter is of float32, the model of float16
        place = f"resolve_model({place}), torch_dtype=torch.float32"
    yield f"pipe = DiffusionPipeline.from_pretrained({place}{''.join(further)})"
    if family.renoise and model.renoise not in family.renoise:
        yield f"# trained with {model.renoise:g} of the noise drawn afresh; diffusers has no such scheduler; this is 1"
    if family.scheduler:
        options = {**family.scheduler_options, **family.renoise.get(model.renoise, family.renoise.get(1.0, {}))}
        own = "".join(f", {name}={value!r}" for name, value in options.items())
        yield f"pipe.scheduler = {family.scheduler}.from_config(pipe.scheduler.config{own})"


def _adapters(model: ModelConfig, family: Family) -> Iterator[str]:
    if not model.lcm_lora:
        yield 'pipe.load_lora_weights("lora")'
        return
    few_steps = json.dumps(family.name)
    yield f"pipe.load_lora_weights({json.dumps(model.lcm_lora)}, adapter_name={few_steps})"
    yield 'pipe.load_lora_weights("lora", adapter_name="kedge")'
    yield f'pipe.set_adapters([{few_steps}, "kedge"])'


def _call(model: ModelConfig, family: Family) -> str:
    arguments: dict[str, Any] = {"num_inference_steps": model.steps, "guidance_scale": model.omega + 1}
    arguments |= {name: getattr(model, name) for name in family.takes}
    arguments |= family.call(model.steps, model.omega)
    if model.size:
        height, width = (model.size, model.size) if isinstance(model.size, int) else model.size
        arguments |= {"height": height, "width": width}
    written = ", ".join(f"{name}={_literal(value)}" for name, value in arguments.items())
    return f'image = pipe("…", {written}).images[0]'


def _literal(value: Any) -> str:
    """As Python, numbers as people write them."""
    return f"{value:g}" if isinstance(value, float) else repr(value)
