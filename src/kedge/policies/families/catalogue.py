"""Every family that ships: one record each. Importable without torch.

:func:`register` adds one of your own; docs/extending.md shows how.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedge.models import BUNDLED, ModelParts
from kedge.policies.families.backbones import UNETS, Backbone
from kedge.policies.families.distilled import DMD2, HYPER_SD, LIGHTNING, TCD
from kedge.policies.families.flow_records import FLUX2_KLEIN, FLUX_SCHNELL, SD35_TURBO, Z_IMAGE_TURBO
from kedge.policies.families.spec import Conversion, Family, Layout, ModelFiles
from kedge.registry import UnknownNameError, load_object, suggest

AUTO = "auto"  # a kind that is yet to be found out, by kedge.policies.families.detect
PAPER_GUIDANCE = 7.5
V_PREDICTION = "v_prediction"

SANA = Backbone(pipelines=("SanaSprintPipeline",), network="transformer", guidance_input="guidance_embeds")
SANA_SPRINT_MODEL = "Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers"


def _few_euler_steps(files: ModelFiles) -> bool:
    """Only their schedulers distinguish adversarially distilled models from the models that they were made of.

    Trailing Euler steps are also usual for undistilled models that predict v, so those are none.
    """
    scheduler = files.scheduler
    euler = str(scheduler.get("_class_name")).startswith("Euler")
    return (
        euler and scheduler.get("timestep_spacing") == "trailing" and scheduler.get("prediction_type") != V_PREDICTION
    )


def _consistent(files: ModelFiles) -> bool:
    """Consistency models name their scheduler or pipeline; those distilled with guidance take ω as an input."""
    named = files.pipeline == "LatentConsistencyModelPipeline" or files.scheduler.get("_class_name") == "LCMScheduler"
    return named or UNETS.takes_guidance(files.network(UNETS.network))


def _even_angles(steps: int, guidance: float) -> dict[str, Any]:
    """diffusers' pipeline asks for the middle of two steps, and refuses it for any other number.

    It would also draw at the nearest of its own sizes, and stretch the picture.
    """
    angles = {} if steps == 2 else {"intermediate_timesteps": None}
    return {"use_resolution_binning": False, **angles}


DIFFUSION = Family(
    name="diffusion",
    title="Stable Diffusion 1 and 2, SDXL",
    make="kedge.policies.families.diffusion:diffusion_policy",
    backbone=UNETS,
    steps=20,
    guidance=PAPER_GUIDANCE,
    takes=("eta",),
    scheduler="DDIMScheduler",
    scheduler_keys=("prediction_type",),
    scheduler_options={"clip_sample": False},
    name_marks=("stable-diffusion-v1", "stable-diffusion-2", "stable-diffusion-xl", "sdxl", "sd15", "dreamshaper"),
    layouts=(
        Layout(
            "sd15",
            "kedge.random_models.stable_diffusion:sd15",
            ("Lykon/dreamshaper-7", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ),
        Layout("sdxl", "kedge.random_models.sdxl:sdxl", ("stabilityai/stable-diffusion-xl-base-1.0",)),
    ),
)

TURBO = Family(
    name="turbo",
    title="SD-Turbo and SDXL-Turbo",
    make="kedge.policies.families.turbo:turbo_policy",
    backbone=UNETS,
    comfyui={1.0: "euler_ancestral"},
    steps=4,
    guidance=0.0,
    aliases=("sd-turbo", "sdxl-turbo"),
    scheduler="EulerAncestralDiscreteScheduler",
    scheduler_keys=("prediction_type",),
    recognises=_few_euler_steps,
    name_marks=("sd-turbo", "sdxl-turbo", "sd_turbo", "sdxl_turbo"),
    layouts=(
        Layout("sd-turbo", "kedge.random_models.stable_diffusion:sd_turbo", ("stabilityai/sd-turbo",)),
        Layout("sdxl-turbo", "kedge.random_models.sdxl:sdxl_turbo", ("stabilityai/sdxl-turbo",)),
    ),
)

LCM = Family(
    name="lcm",
    title="their latent consistency models, also by model.lcm_lora or model.unet",
    make="kedge.policies.families.lcm:lcm_policy",
    backbone=UNETS,
    comfyui={1.0: "lcm"},
    comfyui_levels="the scheduler `simple` after the node ModelSamplingDiscrete (lcm)",
    steps=8,
    guidance=PAPER_GUIDANCE,
    embeds_guidance=True,
    aliases=("sdxl-lcm",),
    renoise={1.0: {}},
    conversions=(
        Conversion("unet"),
        Conversion("lcm_lora", guidance=0.0, embeds_guidance=False, only=True, most_guidance=1.0),
    ),
    takes=("timesteps",),
    scheduler="LCMScheduler",
    scheduler_keys=("prediction_type",),
    recognises=_consistent,
    name_marks=("lcm",),
    layouts=(
        Layout("sd15-lcm", "kedge.random_models.stable_diffusion:sd15_lcm", ("SimianLuo/LCM_Dreamshaper_v7",)),
        Layout(
            "sd15-lcm-lora",
            "kedge.random_models.lcm_lora:sd15_lcm_lora",
            ("latent-consistency/lcm-lora-sdv1-5",),
            part="lcm_lora",
        ),
        Layout(
            "sdxl-lcm-unet", "kedge.random_models.sdxl:sdxl_lcm_unet", ("latent-consistency/lcm-sdxl",), part="unet"
        ),
        Layout(
            "sdxl-lcm-lora",
            "kedge.random_models.lcm_lora:sdxl_lcm_lora",
            ("latent-consistency/lcm-lora-sdxl",),
            part="lcm_lora",
        ),
    ),
)

SANA_SPRINT = Family(
    name="sana-sprint",
    title="SANA-Sprint",
    make="kedge.policies.families.sana_sprint:sana_sprint_policy",
    backbone=SANA,
    steps=2,
    guidance=3.5,
    embeds_guidance=True,
    renoise={1.0: {}},
    call=_even_angles,
    name_marks=("sprint",),
    layouts=(Layout("sana-sprint", "kedge.random_models.sana:sana_sprint", (SANA_SPRINT_MODEL,)),),
    nearest={
        "SanaPipeline": f"{SANA_SPRINT_MODEL}, its consistency model",
        "PixArtAlphaPipeline": f"{SANA_SPRINT_MODEL}, which is a transformer as well",
        "PixArtSigmaPipeline": f"{SANA_SPRINT_MODEL}, which is a transformer as well",
    },
)

# From the most general to the most particular: where several recognise a model, it is the last one's.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *(DIFFUSION, HYPER_SD, LIGHTNING, TURBO, DMD2, TCD, LCM, SANA_SPRINT),
        *(FLUX_SCHNELL, SD35_TURBO, Z_IMAGE_TURBO, FLUX2_KLEIN),
    )
}
"""The families of models by name."""


def register(family: Family) -> None:
    """Add a family of your own: its name is then a ``model.kind``, and it is asked before the others about a model.

    Raises:
        ValueError: for a name, alias or layout that is taken, or for a name with a colon, as ``module:function`` has.
    """
    for name in (family.name, *family.aliases):
        if name in _names() or name == AUTO:
            raise ValueError(f"family {name!r} is already registered")
        if ":" in name:
            raise ValueError(f"a family's name has no colon, unlike {name!r}: module:function is a policy of its own")
    for layout in family.layouts:
        if layout.name in layouts():
            raise ValueError(f"layout {layout.name!r} is already registered")
    FAMILIES[family.name] = family


def find(kind: str) -> Family | None:
    """The record behind ``model.kind``: a name, an alias, or ``module:object`` where the object is a :class:`Family`.

    None for ``module:function``, a policy of the user's own of which nothing else is known.

    Raises:
        UnknownNameError: listing the choices and the nearest one.
        ValueError: for ``auto``, which is no family yet.
    """
    if ":" in kind:
        named = load_object(kind)
        if isinstance(named, Family):
            return named
        if not callable(named):
            raise UnknownNameError(f"{kind} is neither a Family nor a function that loads a policy")
        return None
    if kind == AUTO:
        raise ValueError("model.kind is still auto: kedge.config.resolve(config) finds out what the model is")
    names = _names()
    if kind in names:
        return names[kind]
    raise UnknownNameError(
        f"unknown kind of model {kind!r}.{suggest(kind, names)} Choose from: {', '.join(FAMILIES)}, or module:object"
    )


def find_layout(name: str) -> Layout:
    """The layout of a name.

    Raises:
        UnknownNameError: listing the choices and the nearest one.
    """
    known = layouts()
    if name not in known:
        raise UnknownNameError(
            f"unknown layout {name!r}.{suggest(name, known)} Choose from: {', '.join(sorted(known))}"
        )
    return known[name]


def layouts() -> dict[str, Layout]:
    """The layouts of all families, by name."""
    by_name = {}
    for family in FAMILIES.values():
        for layout in family.layouts:
            by_name[layout.name] = layout
    return by_name


def layout_of(model: str, part: str | None = None) -> Layout | None:
    """The layout that a model on the hub has, or one that goes into the key ``part``; None if it is not known."""
    for layout in layouts().values():
        if model in layout.models and layout.part == part:
            return layout
    return None


def default_guidance(kind: str, name: str | Path, parts: ModelParts | None = None) -> float:
    """ω by default: what a bundled model is used at, else the family's own.

    The papers' 7.5 for a policy of the user's own.
    """
    if name in BUNDLED:
        return BUNDLED[str(name)]
    family = find(kind)
    return PAPER_GUIDANCE if family is None else family.default_guidance(parts or ModelParts())


def network_calls(kind: str, guidance: float, parts: ModelParts | None = None) -> int:
    """Evaluations of the network for each sampling step of a picture; 1 for a policy of the user's own."""
    family = find(kind)
    return 1 if family is None else family.network_calls(guidance, parts or ModelParts())


def _names() -> dict[str, Family]:
    """Names and aliases."""
    families = FAMILIES.values()
    by_name = {}
    for family in families:
        for name in (family.name, *family.aliases):
            by_name[name] = family
    return by_name
