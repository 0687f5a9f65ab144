"""Several adapters as one, exactly; and adapters merged into the model that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from kedge.config import ModelConfig
from kedge.export.lora_files import Layer
from kedge.files import replacing
from kedge.policies.loading import Place, load_pipeline
from kedge.quiet import quiet_loading

Layers = Mapping[str, Layer]


def stack(adapters: Sequence[tuple[Layers, float]]) -> dict[str, Layer]:
    """One LoRA that adds what all of them add, each times its weight: Σ w s B A = [w s B …] [A …]ᵀ, of summed rank.

    Raises:
        ValueError: they are not on the same layers.
    """
    names = adapters[0][0].keys()
    for layers, _ in adapters:
        if layers.keys() != names:
            other = sorted(layers.keys() ^ names)[0]
            raise ValueError(
                f"these adapters are on different layers ({other}, for one): only alike ones can be stacked"
            )
    stacked = {}
    for name in names:
        a = torch.cat([layers[name].a for layers, _ in adapters], dim=0)
        b = torch.cat([weight * layers[name].scale * layers[name].b for layers, weight in adapters], dim=1)
        stacked[name] = Layer(a, b, 1.0)
    return stacked


def save_merged(model: ModelConfig, layers: Layers, folder: Path) -> Path:
    """Write the whole model with the adapter inside its weights, in diffusers' format: W + s B A, in float32.

    Raises:
        ValueError: ``folder`` exists, or the model is a policy of your own.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists: give another --out, or remove it first")
    family = model.family
    if family is None:
        raise ValueError(f"{model.kind} is a policy of your own: only models in diffusers' format can be merged")
    pipeline = load_pipeline(Place(model.name, model.parts, torch.device("cpu"), torch.float32), family)
    network = getattr(pipeline, family.backbone.network)
    for name, layer in layers.items():
        weight = network.get_submodule(name).weight
        weight.data += layer.delta().view_as(weight)
    with replacing(folder) as draft, quiet_loading():
        pipeline.save_pretrained(draft)
    return folder
