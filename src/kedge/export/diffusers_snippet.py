"""How a run's adapter is loaded by diffusers alone: the lines of Python that its model card shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kedge.config import ModelConfig
from kedge.models import BUNDLED, hub_file
from kedge.policies.families import Family
from kedge.policies.part_files import single_file


def diffusers_code(model: ModelConfig) -> str:
    """Python that draws one picture with the adapter in the folder ``lora``; empty for a policy of the user's own."""
    family = model.family
    if family is None:
        return ""
    lines = [*_imports(model, family), "", *_pipeline(model, family), *_adapters(model, family)]
    if _seeds_all(model, family):
        lines.append("torch.manual_seed(0)  # this pipeline hands no generator to its steps")
    lines.append(_call(model, family))
    return "\n".join(lines) + "\n"


def _imports(model: ModelConfig, family: Family) -> Iterator[str]:
    if model.name in BUNDLED or _seeds_all(model, family):
        yield "import torch"
    scheduler = family.scheduler_for(model.steps)
    needed = {"AutoencoderKL": model.vae, "UNet2DConditionModel": model.unet, scheduler: scheduler}
    names = ["DiffusionPipeline"]
    for name, value in needed.items():
        if name and value:
            names.append(name)
    yield f"from diffusers import {', '.join(sorted(names, key=str.lower))}"
    if model.name in BUNDLED:
        yield "from kedge.models import resolve_model"


def _seeds_all(model: ModelConfig, family: Family) -> bool:
    return family.seeds_all and model.renoise > 0


def _pipeline(model: ModelConfig, family: Family) -> Iterator[str]:
    place = _literal_place(model.name)
    further = []
    if model.unet:
        yield f"unet = UNet2DConditionModel.{_unet(model.unet, place)}"
        further.append(", unet=unet")
    if model.vae:
        yield f"vae = AutoencoderKL.from_pretrained({_literal_place(model.vae)})"
        further.append(", vae=vae")
    if model.variant:
        further.append(f", variant={json.dumps(model.variant)}")
    if model.name in BUNDLED:  # diffusers does not know the name; and the adapter is of float32, the model of float16
        place = f"resolve_model({place}), torch_dtype=torch.float32"
    yield f"pipe = DiffusionPipeline.from_pretrained({place}{''.join(further)})"
    if family.renoise and model.renoise not in family.renoise:
        yield f"# trained with {model.renoise:g} of the noise drawn afresh; diffusers has no such scheduler; this is 1"
    if family.scheduler:
        options = {**family.scheduler_options, **family.renoise.get(model.renoise, family.renoise.get(1.0, {}))}
        options |= _chosen(model, family.scheduler_keys)
        own = "".join(f", {name}={value!r}" for name, value in options.items())
        yield f"pipe.scheduler = {family.scheduler_for(model.steps)}.from_config(pipe.scheduler.config{own})"


def _unet(source: str, base: str) -> str:
    if not single_file(source, "model.unet"):
        return f"from_pretrained({_literal_place(source)})"
    file = hub_file(source)
    place = json.dumps(f"https://huggingface.co/{file.repository}/blob/main/{file.path}") if file else None
    return f'from_single_file({place or _literal_place(source)}, config={base}, subfolder="unet")'


def _adapters(model: ModelConfig, family: Family) -> Iterator[str]:
    merged = model.parts.merged_lora
    if merged is None:
        yield 'pipe.load_lora_weights("lora")'
        return
    few_steps, file = json.dumps(family.name), hub_file(merged[1])
    place = _literal_place(merged[1])
    if file:
        place = f"{json.dumps(file.repository)}, weight_name={json.dumps(file.path)}"
    yield f"pipe.load_lora_weights({place}, adapter_name={few_steps})"
    yield 'pipe.load_lora_weights("lora", adapter_name="kedge")'
    yield f'pipe.set_adapters([{few_steps}, "kedge"])'


def _call(model: ModelConfig, family: Family) -> str:
    arguments: dict[str, Any] = {"num_inference_steps": model.steps, "guidance_scale": model.omega + 1}
    arguments |= _chosen(model, family.takes)
    if timesteps := family.timesteps_for(model.steps, model.timesteps):
        arguments["timesteps"] = list(timesteps)
    arguments |= family.call(model.steps, model.omega)
    if size := model.sizes[0]:
        arguments |= {"height": size[0], "width": size[1]}
    written = ", ".join(f"{name}={_literal(value)}" for name, value in arguments.items())
    return f'image = pipe(prompt="…", {written}).images[0]'


def _chosen(model: ModelConfig, keys: Sequence[str]) -> dict[str, Any]:
    """What the ``model`` block says under these keys."""
    chosen = {}
    for key in keys:
        if getattr(model, key) is not None:
            chosen[key] = getattr(model, key)
    return chosen


def _literal_place(name: str) -> str:
    """A hub id as it is; a path of this machine in full, for a card is read in other folders than it was trained in."""
    path = Path(name).expanduser()
    return json.dumps(str(path.resolve()) if path.exists() and name not in BUNDLED else name)


def _literal(value: Any) -> str:
    """As Python, numbers as people write them."""
    return f"{value:g}" if isinstance(value, float) else repr(value)
