"""The record of a family of models: all that others must know of it, before anything is loaded.

A family is a rule for one sampling step on a kind of pipeline. Its mathematics stand in a file of their own, which
:attr:`Family.make` names; whatever else has to know what a family is reads its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kedge.files import read_json
from kedge.models import ModelParts
from kedge.policies.families.backbones import Backbone
from kedge.registry import load_object

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from kedge.policies.latent import LatentPolicy

Function: TypeAlias = str | Callable[..., Any]


@dataclass(frozen=True)
class ModelFiles:
    """A model's folder in diffusers' format, of which only the small files are read.

    Attributes:
        folder: holds ``model_index.json``.
    """

    folder: Path

    @property
    def pipeline(self) -> str:
        """The class of its pipeline."""
        return str(self.index.get("_class_name"))

    @property
    def index(self) -> dict[str, Any]:
        """``model_index.json`` itself."""
        return _read(self.folder / "model_index.json")

    @property
    def scheduler(self) -> dict[str, Any]:
        """The config of its scheduler; empty if it is not here."""
        return _read(self.folder / "scheduler" / "scheduler_config.json")

    def network(self, name: str) -> dict[str, Any]:
        """The config of the network in the folder ``name``; empty if it is not here."""
        return _read(self.folder / name / "config.json")


@dataclass(frozen=True)
class Conversion:
    """A part from elsewhere that makes a plain model one of the family.

    Attributes:
        key: of the config's ``model`` block, which is also the field of :class:`kedge.models.ModelParts`.
        guidance: ω by default; None is the family's.
        embeds_guidance: whether the outcome takes ω as an input.
        only: whether the key alone says that it is this family.
        most_guidance: ω from which on it is more than such a model was made for; None sets no bound.
    """

    key: str
    guidance: float | None = None
    embeds_guidance: bool = True
    only: bool = False
    most_guidance: float | None = None


@dataclass(frozen=True)
class Layout:
    """A published model's architecture, to be built with random weights.

    Attributes:
        name: as ``kedge random-model`` takes it.
        build: a function, or its ``module:function``, from a :class:`kedge.random_models.Scale` to something with
            ``save_pretrained``: a pipeline, or the part of one.
        models: hub ids that have this architecture.
        part: the key of the ``model`` block that such a part goes into; None for a whole model.
    """

    name: str
    build: Function
    models: tuple[str, ...] = ()
    part: str | None = None

    def built(self, scale: Any) -> Any:
        """What ``build`` makes of a scale, on torch's default device and in its default dtype."""
        return _imported(self.build)(scale)


def no_arguments(steps: int, guidance: float) -> dict[str, Any]:
    """For pipelines that are called with nothing but steps and guidance."""
    return {}


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        name: as ``model.kind`` takes it.
        title: what it is, for messages.
        make: a function, or its ``module:function``: called with the open pipeline and the keywords ``steps``,
            ``guidance`` (ω), ``lora``, ``size`` and those of ``keys``, it returns a
            :class:`kedge.policies.latent.LatentPolicy`.
        backbone: the networks.
        steps: K by default.
        guidance: ω by default.
        embeds_guidance: whether its networks take ω as an input, at no cost. Else ω is classifier-free guidance: two
            evaluations for each step, unless it is 0.
        takes_guidance: whether it can be drawn under guidance at all.
        aliases: other names.
        takes: further keys of the ``model`` block that mean something to it: ``eta``. diffusers' call takes them too.
        renoise: the r of ``model.renoise`` that diffusers can sample → what its scheduler is given for that; empty
            where r means nothing, because another rule says how much noise a step draws.
        timesteps: K → t_K, …, t_1 that it was distilled for, where the scheduler's own would be others; other K
            need ``model.timesteps``.
        seeds_all: whether only ``torch.manual_seed`` seeds the steps' noise, because diffusers' pipeline hands its
            generator to the first noise alone.
        comfyui: r of ``model.renoise`` (1 where it means nothing) → ComfyUI's name of the sampler that does the same.
        comfyui_levels: what there has the same noise levels, in words; None if nothing is known to.
        conversions: parts that make a plain model one of this family.
        scheduler: the class in diffusers that samples it; None if it is always the one in the model's folder.
        one_step_scheduler: the class for a single step, which draws no noise, if it is another.
        scheduler_options: what that class is given besides the config in the folder.
        scheduler_keys: keys of the ``model`` block that replace those of the scheduler's config: ``prediction_type``.
        asks: from the ``model`` block to what else it has to say, because no file does; None if that is all.
        call: from steps and ω to further arguments of diffusers' call; they replace those that every family has.
        recognises: whether a model's files show that it is one; None: every model on its pipelines is.
        name_marks: words in a hub id that show the same, before the files are here.
        layouts: published models and parts whose architecture is known without their files.
        nearest: pipelines that Kedge does not train → the model of this family that comes nearest.
    """

    name: str
    title: str
    make: Function
    backbone: Backbone
    steps: int
    guidance: float
    embeds_guidance: bool = False
    takes_guidance: bool = True
    aliases: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    renoise: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)
    timesteps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    seeds_all: bool = False
    comfyui: Mapping[float, str] = field(default_factory=dict)
    comfyui_levels: str | None = None
    conversions: tuple[Conversion, ...] = ()
    scheduler: str | None = None
    one_step_scheduler: str | None = None
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler_keys: tuple[str, ...] = ()
    asks: Callable[[Mapping[str, Any]], str | None] | None = None
    call: Callable[[int, float], Mapping[str, Any]] = no_arguments
    recognises: Callable[[ModelFiles], bool] | None = None
    name_marks: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = ()
    nearest: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """Further keys of the ``model`` block that mean something to it."""
        keys = (*self.takes, *self.scheduler_keys)
        return (*keys, "renoise") if self.renoise else keys

    @property
    def noise_key(self) -> str | None:
        """The key that says how much noise a step draws afresh, from none at 0 (the ODE) to most at 1, if one does."""
        return next((key for key in ("renoise", "eta") if key in self.keys), None)

    def scheduler_for(self, steps: int) -> str | None:
        """The class in diffusers that samples it in so many steps."""
        return self.one_step_scheduler if steps == 1 and self.one_step_scheduler else self.scheduler

    def timesteps_for(self, steps: int, chosen: Sequence[int] | None) -> tuple[int, ...] | None:
        """t_K, …, t_1: those that were chosen, or its own; None leaves them to the scheduler.

        Raises:
            ValueError: if they are not K times in descending order, or K needs ``model.timesteps``.
        """
        if chosen is not None:
            return _checked_timesteps(tuple(chosen), steps)
        if self.timesteps and steps not in self.timesteps:
            usual = " or ".join(map(str, sorted(self.timesteps)))
            raise ValueError(f"{self.name} is distilled for {usual} steps, not {steps}: say at which model.timesteps")
        return self.timesteps.get(steps)

    def policy(self, pipeline: DiffusionPipeline, **settings: Any) -> LatentPolicy:
        """What ``make`` makes of an open pipeline."""
        policy: LatentPolicy = _imported(self.make)(pipeline, **settings)
        return policy

    def conversion(self, parts: ModelParts) -> Conversion | None:
        """The part that makes a model one of this family, if ``parts`` has one."""
        for conversion in reversed(self.conversions):  # of several, the last says what comes of it
            if getattr(parts, conversion.key):
                return conversion
        return None

    def default_guidance(self, parts: ModelParts) -> float:
        """ω by default."""
        conversion = self.conversion(parts)
        return self.guidance if conversion is None or conversion.guidance is None else conversion.guidance

    def network_calls(self, guidance: float, parts: ModelParts) -> int:
        """Evaluations of the network for each sampling step of a picture: 2 with classifier-free guidance, else 1."""
        conversion = self.conversion(parts)
        embeds = self.embeds_guidance if conversion is None else conversion.embeds_guidance
        return 1 if embeds or guidance == 0 else 2


def _checked_timesteps(timesteps: tuple[int, ...], steps: int) -> tuple[int, ...]:
    written = ", ".join(map(str, timesteps))
    if len(timesteps) != steps:
        raise ValueError(f"model.timesteps has {len(timesteps)} times ({written}), but model.steps is {steps}")
    if any(later >= earlier for earlier, later in pairwise(timesteps)):
        raise ValueError(f"model.timesteps must descend from the noise to the picture, not {written}")
    if timesteps[-1] < 0:
        raise ValueError(f"model.timesteps must be 0 or more, not {written}")
    return timesteps


def _imported(function: Function) -> Callable[..., Any]:
    return load_object(function) if isinstance(function, str) else function


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path) if path.is_file() else {}
    return content
