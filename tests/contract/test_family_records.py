"""Every family's record is true: of diffusers, of the model at random weights, of the policy, and of the pages."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from helpers.family_models import FAMILIES as MODELS
from helpers.family_models import TINY, Builder
from kedge.config import ModelConfig, parse_config, parse_model, resolve_kind
from kedge.export.diffusers_snippet import diffusers_code
from kedge.models import ModelParts
from kedge.policies import load_policy
from kedge.policies.families import FAMILIES, Family, network_calls
from kedge.policies.families.backbones import Backbone
from kedge.policies.families.catalogue import LCM, layout_of, layouts
from kedge.policies.latent import LatentPolicy
from kedge.random_models import build_layout
from kedge.registry import load_object
from kedge.workflows.runner.cost import step_cost

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_what_a_record_names_exists(family: Family) -> None:
    assert callable(load_object(str(family.make)))
    assert all(hasattr(diffusers, name) for name in (*family.backbone.pipelines, *family.nearest))
    assert {conversion.key for conversion in family.conversions} <= {field.name for field in fields(ModelParts)}
    assert set(family.takes) <= {field.name for field in fields(ModelConfig)}
    if family.scheduler:
        scheduler = getattr(diffusers, family.scheduler)(**family.scheduler_options)
        assert scheduler.config.items() >= family.scheduler_options.items()
    trained = {name for other in FAMILIES.values() for name in other.backbone.pipelines}
    assert not trained & set(family.nearest), "it is trained: nothing comes nearer"


def test_the_page_on_extending_knows_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
    section = page.partition("What the record brings")[2].partition("On other networks")[0]
    for record in (Family, Backbone):
        names = {field.name for field in fields(record)}
        absent = {name for name in names if f"`{name}`" not in section}
        assert not absent, f"docs/extending.md does not say who reads {sorted(absent)} of a {record.__name__}"
    known = {field.name for record in (Family, Backbone) for field in fields(record)} | {"noise_key"}
    words = re.findall(r"`(\w+)`", section)
    recipe = {field.name for field in fields(ModelConfig)} | {"auto"}
    assert set(words) <= known | recipe, "a field that is none any more"


@pytest.mark.parametrize("layout", layouts().values(), ids=list(layouts()))
def test_a_layout_is_known_by_the_models_that_have_it(layout: Any) -> None:
    assert callable(load_object(str(layout.build)))
    assert layout.models
    assert all(layout_of(model, layout.part) is layout for model in layout.models)
    assert f"| `{layout.name}` | {layout.models[0]} |" in PAGE


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_backbone_is_that_of_the_random_models(family: Family, tmp_path: Path) -> None:
    whole = [layout for layout in family.layouts if layout.part is None]
    assert whole or family.conversions, "or it comes as a part of another model"
    for layout in whole:
        folder = build_layout(layout.name, tmp_path / layout.name, TINY)
        policy = load_policy("auto", folder, steps=1)
        assert isinstance(policy, LatentPolicy)
        pipeline, backbone = policy.pipeline, family.backbone
        assert policy.backbone is backbone
        assert type(pipeline).__name__ in backbone.pipelines
        assert backbone.takes_guidance(policy.network.config) == family.embeds_guidance
        assert {name for name in pipeline.components if name.startswith("text_enc")} <= set(backbone.text_encoders)
        names = [name for name, _ in policy.network.named_modules()]
        assert all(any(name.endswith(target) for name in names) for target in backbone.lora_targets)
        adapted = [name for name in names if name.endswith(backbone.lora_targets)]
        for name, module in policy.network.named_modules():
            if type(module).__name__.endswith("Attention"):  # in every block: some have one layer for all of it
                assert any(layer.startswith(f"{name}.") for layer in adapted), name


@pytest.mark.parametrize("guidance", [0.0, 1.5])
@pytest.mark.parametrize("name", ["sd15-lcm", "sd15-diffusion", "sd15-lcm-lora", "sd-turbo", "sana-sprint"])
def test_guidance_costs_as_many_network_calls_as_the_record_says(name: str, guidance: float, models: Builder) -> None:
    built = models(name)
    policy = load_policy(built.family.kind, built.folder, steps=2, guidance=guidance, parts=built.parts)
    assert isinstance(policy, LatentPolicy)
    rows = []
    policy.network.register_forward_hook(lambda module, arguments, output: rows.append(len(output[0])))
    with torch.no_grad():
        policy.transition(torch.zeros(1, *policy.latent_shape), 2, policy.encode(["a cat"]))
    assert sum(rows) == network_calls(built.family.kind, guidance, built.parts)


@pytest.mark.parametrize("block", [{"name": "stabilityai/sd-turbo"}, {"name": "a/b", "lcm_lora": "c/d"}])
def test_a_steps_cost_knows_classifier_free_guidance(block: dict[str, Any]) -> None:
    free, guided = (
        step_cost(parse_config({"model": {**block, "guidance": omega}, "reward": "pickscore"})).passes
        for omega in (0, 1)
    )
    assert guided == 2 * free


@pytest.mark.parametrize("name", MODELS)
def test_what_seeds_a_pipelines_steps_is_known(name: str) -> None:
    """Whether it is its generator or torch's own stream: diffusers' pictures are drawn so in tests/laws."""
    assert FAMILIES[MODELS[name].kind].seeds_all == (MODELS[name].generator is None)


def test_a_single_step_has_the_scheduler_that_draws_no_noise() -> None:
    file = "ByteDance/SDXL-Lightning/sdxl_lightning_{}step_unet.safetensors"
    for steps, scheduler in ((1, "EulerDiscreteScheduler"), (2, "EulerAncestralDiscreteScheduler")):
        block = {"name": "stabilityai/stable-diffusion-xl-base-1.0", "kind": "lightning", "steps": steps}
        code = diffusers_code(parse_model({**block, "unet": file.format(steps), "prediction_type": "sample"}))
        assert f"pipe.scheduler = {scheduler}.from_config" in code


def test_of_several_parts_the_last_says_what_comes_of_it() -> None:
    """A UNet distilled with ω as an input, and over it an LCM-LoRA: guidance costs a second evaluation."""
    unet, both = ModelParts(unet="a"), ModelParts(unet="a", lcm_lora="b")
    assert (LCM.network_calls(2.0, unet), LCM.network_calls(2.0, both)) == (1, 2)
    assert LCM.default_guidance(unet) == LCM.guidance > LCM.default_guidance(both) == 0


@pytest.mark.parametrize("name", MODELS)
def test_a_models_own_guidance_and_steps_are_those_of_its_family(name: str, models: Builder) -> None:
    built = models(name)
    model = parse_config({"model": built.block(), "reward": "pickscore"}).model
    assert model == resolve_kind(model)
    family = FAMILIES[built.family.kind]
    assert (model.kind, model.steps) == (family.name, family.steps)
    policy = load_policy(model.kind, built.folder, steps=1, parts=built.parts)
    assert isinstance(policy, LatentPolicy)
    assert policy.guidance == model.omega == (0.0 if built.parts.lcm_lora else family.guidance)


def test_the_page_on_models_names_every_family() -> None:
    for family in FAMILIES.values():
        assert f"`{family.name}`" in PAGE
        assert f"K = {family.steps}" in PAGE.partition("## Kinds")[2]
