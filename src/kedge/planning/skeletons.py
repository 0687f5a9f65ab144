"""A generator and a reward as they would be: the true architectures on the meta device, without weights.

The generator is drawn from its files or its name, each term of a reward by the skeleton that its own entry names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from kedge.config import ModelConfig
from kedge.files import read_json
from kedge.models import resolve_model, resolve_part
from kedge.policies import make_policy
from kedge.policies.base import Conditioning
from kedge.policies.families.catalogue import layout_of
from kedge.policies.families.detect import check_pipeline
from kedge.policies.families.spec import Family, Layout
from kedge.policies.latent import LatentPolicy
from kedge.policies.loading import take_scheduler
from kedge.policies.part_files import single_file
from kedge.policies.weight_files import NOT_DRAWING
from kedge.quiet import quiet_loading
from kedge.random_models import Scale
from kedge.registry import load_object
from kedge.rewards import REWARDS, Term, parse
from kedge.rewards.skeleton import Skeleton
from kedge.rewards.sources import locate_here


def meta_pipeline(name: str, family: Family) -> DiffusionPipeline | None:
    """The pipeline on the meta device; None if nothing is known about it before its files are here.

    Args:
        name: as for :func:`kedge.models.resolve_model`.
        family: which of its networks is looked for.
    """
    place = resolve_model(name)
    if isinstance(place, str):
        cached = _cached(place, family.backbone.network)
        if cached is None:
            layout = layout_of(place)
            return None if layout is None else _from_layout(layout)
        place = cached
    with quiet_loading():
        return _from_folder(place)


def meta_policy(model: ModelConfig, steps: int) -> LatentPolicy | None:
    """The policy on the meta device, with an adapter; None if its architecture is not known.

    Args:
        steps: K, which may be another than the model's.

    Raises:
        UnknownNameError: if the model is of another kind.
    """
    family = model.family
    if family is None or (pipeline := meta_pipeline(model.name, family)) is None:
        return None
    check_pipeline(type(pipeline).__name__, family, model.name)
    if model.unet and (unet := _unet(model.unet)) is not None:
        pipeline.register_modules(unet=unet)  # of a single file, the base's own has the same shapes
    if family.conversion(model.parts):
        take_scheduler(pipeline, family)
    dtype = getattr(torch, model.dtype)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            nn.Module.to(part, dtype)  # diffusers' own warns
    return make_policy(
        model.kind,
        pipeline,
        steps=steps,
        guidance=model.omega,
        lora=model.lora,
        size=max(model.sizes, key=_pixels),
        eta=model.eta,
        renoise=model.renoise,
        timesteps=model.timesteps,
        prediction_type=model.prediction_type,
    )


def _pixels(size: tuple[int, int] | None) -> int:
    return 0 if size is None else size[0] * size[1]


def _unet(name: str) -> UNet2DConditionModel | None:
    """A UNet of its own, from its folder's config or as its name has it; None if neither is known."""
    if single_file(name, "model.unet"):
        return None
    place = resolve_part(name, "model.unet")
    with torch.device("meta"):
        if isinstance(place, str):
            layout = layout_of(place, "unet")
            return None if layout is None else layout.built(Scale())
        folder = place / "unet" if (place / "model_index.json").is_file() else place
        return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))


def _from_layout(layout: Layout) -> DiffusionPipeline:
    with torch.device("meta"):
        pipeline: DiffusionPipeline = layout.built(Scale())
    return pipeline


def _from_folder(folder: Path) -> DiffusionPipeline:
    index: dict[str, Any] = read_json(folder / "model_index.json")
    parts: dict[str, Any] = {}
    for name, value in index.items():
        if isinstance(value, list):
            parts[name] = None if name in NOT_DRAWING or value[0] is None else _part(folder / name, *value)
        elif not name.startswith("_"):
            parts[name] = value
    cls = getattr(import_module("diffusers"), index["_class_name"])
    if "requires_safety_checker" in inspect.signature(cls).parameters:
        parts["requires_safety_checker"] = False
    pipeline: DiffusionPipeline = cls(**parts)
    return pipeline


def _part(folder: Path, library: str, name: str) -> Any:
    cls = getattr(import_module(library), name)
    if not issubclass(cls, nn.Module):
        return cls.from_pretrained(folder)
    with torch.device("meta"):
        if library == "diffusers":
            return cls.from_config(cls.load_config(folder))
        return cls(cls.config_class.from_pretrained(folder))


def _cached(hub_id: str, network: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    needed = ("model_index.json", f"{network}/config.json", "vae/config.json")
    paths = [try_to_load_from_cache(hub_id, name) for name in needed]
    return Path(str(paths[0])).parent if all(isinstance(path, str) for path in paths) else None


@dataclass(frozen=True)
class OnePrompt:
    """In place of a cache of encoded prompts: every prompt is the same one, whose encoding is known already.

    Attributes:
        cond: one row.
    """

    cond: Conditioning

    def __call__(self, prompts: Sequence[str], encode: Callable[..., object], device: torch.device) -> Conditioning:
        """``cond``, as often as there are prompts."""
        return self.repeated(len(prompts))

    def repeated(self, batch: int) -> Conditioning:
        """``batch`` rows."""
        return Conditioning({name: torch.cat([tensor] * batch) for name, tensor in self.cond.tensors.items()})

    @property
    def bytes(self) -> int:
        """Of one encoded prompt."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.cond.tensors.values())


class MetaReward:
    """Can be called on the meta device in place of the real reward.

    Attributes:
        networks: what would be loaded, by name.
        unknown: terms that name no skeleton, callables of the user's own among them; they take nothing here.
    """

    differentiable = True

    def __init__(self, text: str, dtype: torch.dtype):
        self.name, self.dtype = text, dtype
        self.networks: dict[str, nn.Module] = {}
        self.unknown: list[str] = []
        self._skeletons: list[Skeleton] = []
        for term in parse(text):
            skeleton = reward_skeleton(term, dtype)
            if skeleton is None:
                self.unknown.append(term.name)
                continue
            self._skeletons.append(skeleton)
            if skeleton.network is not None:
                self.networks[f"reward {term.name}"] = skeleton.network

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``[B]`` from ``[B, 3, H, W]`` on the meta device."""
        total = images.float().flatten(1).mean(1)  # some gradient, also where no network is known
        for skeleton in self._skeletons:
            if skeleton.score is not None:
                total = total + skeleton.score(images)
        return total


def reward_skeleton(term: Term, dtype: torch.dtype) -> Skeleton | None:
    """What one reward loads and computes; None if its entry names no skeleton, or it has no entry."""
    spec = REWARDS.get(term.name)
    if spec is None or spec.skeleton is None:
        return None
    skeleton: Skeleton = load_object(spec.skeleton)(locate_here(spec, term.source), dtype)
    return skeleton
