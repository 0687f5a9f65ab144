"""A family of one's own, all of it in this file, is one like any other: everybody reads its record."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)
from torch import Tensor
from typer.testing import CliRunner

from helpers.training_world import recipe
from kedge.cli.app import app
from kedge.config import ModelConfig, document, load_config, parse_config
from kedge.export.diffusers_snippet import diffusers_code
from kedge.gaussian import Gaussian
from kedge.planning.plan import plan
from kedge.policies import load_policy
from kedge.policies.base import Conditioning
from kedge.policies.families import FAMILIES, Backbone, Family, Layout, detect_kind, find, register
from kedge.policies.families.backbones import ATTENTION
from kedge.policies.families.catalogue import SANA_SPRINT, find_layout
from kedge.policies.latent import LatentPolicy
from kedge.policies.sampling import draw
from kedge.policies.settings import LoraConfig
from kedge.policies.steps import ScheduledStep, check_steps, schedule_of
from kedge.quiet import quiet_loading
from kedge.random_models import Scale
from kedge.random_models.text_encoders import gemma_2b
from kedge.random_models.tokenizers import gemma_tokenizer
from kedge.registry import UnknownNameError
from kedge.runs.folder import RunFolder
from kedge.training.run import train
from kedge.workflows.load_run import load_run
from kedge.workflows.runner.cost import step_cost

# The record. SANA's base model, by stochastic flow matching: x̂_0 is noised again to the next level.

BACKBONE = Backbone(pipelines=("SanaPipeline",), network="transformer", lora_targets=("to_q", "to_v"))
FLOW = Family(
    name="sana-flow",
    title="SANA by stochastic flow matching",
    make="test_own_family:flow_policy",
    backbone=BACKBONE,
    steps=3,
    guidance=0.0,
    aliases=("stochastic-sana",),
    scheduler="FlowMatchEulerDiscreteScheduler",
    scheduler_options={"shift": 3.0, "stochastic_sampling": True},
    call=lambda steps, guidance: {"use_resolution_binning": False},
    name_marks=("sana_1600m",),
    layouts=(Layout("sana-base", "test_own_family:random_sana", ("Efficient-Large-Model/Sana_1600M_diffusers",)),),
)


SIDE = 32  # pixels of the random model below


# Its mathematics.


@dataclass(frozen=True)
class FlowStep(ScheduledStep):
    """x_k = (1 − σ) x_0 + σ ε, and the network says ε − x_0."""

    sigma: Tensor
    next_sigma: Tensor

    def gaussian(self, x: Tensor, output: Tensor) -> Gaussian:
        return Gaussian((1 - self.next_sigma) * (x - self.sigma * output), self.next_sigma)


class FlowText:
    """The prompts behind the instruction that the pipeline puts in front; without the empty prompt."""

    def __init__(self, pipeline: SanaPipeline):
        self._pipeline = pipeline
        call = inspect.signature(type(pipeline).__call__).parameters
        self._instruction = call["complex_human_instruction"].default

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        text, mask, *_ = self._pipeline.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            device=self._pipeline.transformer.device,
            complex_human_instruction=self._instruction,
        )
        return Conditioning({"text": text, "mask": mask})


class FlowTransformer:
    """One call of the network at a latent and a timestep."""

    def __init__(self, network: SanaTransformer2DModel):
        self._network = network

    def __call__(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        output: Tensor = self._network(
            x.to(self._network.dtype),
            encoder_hidden_states=cond.tensors["text"].to(self._network.dtype),
            encoder_attention_mask=cond.tensors["mask"],
            timestep=timestep.expand(len(x)) * self._network.config.timestep_scale,
            return_dict=False,
        )[0]
        return output.to(x.dtype)


def flow_policy(
    pipeline: SanaPipeline,
    *,
    steps: int,
    guidance: float,
    lora: LoraConfig | None = None,
    size: int | tuple[int, int] | None = None,
) -> LatentPolicy:
    """What ``FLOW.make`` names."""
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config, **FLOW.scheduler_options)
    check_steps(steps, scheduler.config.num_train_timesteps)
    scheduler.set_timesteps(steps)

    def constants(i: int, t: Tensor) -> tuple[Tensor, ...]:
        return scheduler.sigmas[i], scheduler.sigmas[i + 1]

    return LatentPolicy(
        pipeline,
        BACKBONE,
        text=FlowText(pipeline),
        denoiser=FlowTransformer(pipeline.transformer),
        schedule=schedule_of(
            FlowStep, scheduler.timesteps, constants, prediction_type="flow", dtype=pipeline.transformer.dtype
        ),
        guidance=guidance,
        lora=lora,
        size=size,
    )


# Its architecture, at random weights.


def random_sana(scale: Scale) -> SanaPipeline:
    """What ``FLOW.layouts`` names: a small SANA, whatever the scale."""
    text_encoder = gemma_2b(scale)
    channels, blocks = (16, 32), ("ResBlock", "ResBlock")
    return SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=text_encoder,
        vae=AutoencoderDC(
            latent_channels=4,
            attention_head_dim=8,
            encoder_block_types=blocks,
            decoder_block_types=blocks,
            encoder_block_out_channels=channels,
            decoder_block_out_channels=channels,
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            encoder_qkv_multiscales=((), ()),
            decoder_qkv_multiscales=((), ()),
            scaling_factor=0.5,
        ),
        transformer=SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=16,
            cross_attention_dim=32,
            caption_channels=text_encoder.config.hidden_size,
            sample_size=16,
        ),
        scheduler=DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
    )


# What everybody makes of it.


@pytest.fixture(autouse=True)
def registered(families_as_they_are: None) -> None:
    """The only thing that a package with a family of its own does."""
    register(FLOW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, by the command."""
    path = tmp_path_factory.mktemp("own") / "sana"
    register(FLOW)
    result = CliRunner().invoke(app, ["random-model", "sana-base", str(path), "--width", "0.02", "--depth", "0.05"])
    del FAMILIES[FLOW.name]
    assert result.exit_code == 0, result.output
    return path


def config_for(folder: Path, **model: Any) -> Any:
    block = {"name": str(folder), "lora": {"rank": 4}, **model}
    rocm = {"name": "rocm", "divergence": "kl", "beta": 1e-6}
    return parse_config(recipe(model=block, algorithm=rocm, training__steps=1, optimizer__lr=0.01))


def test_its_name_is_a_kind_with_its_own_defaults(folder: Path) -> None:
    for kind in ("auto", "sana-flow", "stochastic-sana"):
        model = config_for(folder, kind=kind).model
        assert (model.kind, model.steps, model.omega) == ("sana-flow", 3, 0.0)
        assert model.lora == LoraConfig(rank=4, targets=("to_q", "to_v"))
    assert config_for(folder, steps=5).model.steps == 5
    assert detect_kind("Efficient-Large-Model/Sana_1600M_diffusers") == "sana-flow"
    assert detect_kind("someone/my-sana_1600m-finetune") == "sana-flow"
    text = document(config_for(folder)).replace("\n  # ", " ")
    assert "3 for sana-flow" in text
    assert "sana-flow" in next(line for line in text.splitlines() if "Families: " in line)


def test_an_adapter_made_in_python_is_on_its_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy("sana-flow", folder, steps=2, lora=LoraConfig(rank=2))
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in policy.adapter.weights} == {"to_q", "to_v"}
    assert policy.adapter.targets == ("to_q", "to_v")
    narrow = load_policy("sana-flow", folder, steps=2, lora=LoraConfig(rank=2, targets=("to_q",)))
    assert len(narrow.adapter.weights) == len(policy.adapter.weights) // 2


def given_lora(model: Any, *, lora: LoraConfig, **settings: Any) -> Any:
    """A policy function of one's own that looks at the adapter only."""
    return lora


def test_a_policy_of_ones_own_is_always_given_layers() -> None:
    assert load_policy("test_own_family:given_lora", "x", steps=2, guidance=0, lora=LoraConfig()).targets == ATTENTION


def test_it_may_be_named_by_its_module_without_being_registered(folder: Path) -> None:
    del FAMILIES[FLOW.name]
    config = config_for(folder, kind="test_own_family:FLOW")
    assert config.model.family is FLOW
    assert (config.model.kind, config.model.steps) == ("test_own_family:FLOW", 3)
    assert "FlowMatchEulerDiscreteScheduler" in diffusers_code(config.model)
    policy = load_policy(config.model.kind, folder, steps=2)
    assert (policy.steps, policy.guidance) == (2, 0.0)


def test_taken_names_are_refused() -> None:
    for wrong, message in (
        (FLOW, "'sana-flow' is already registered"),
        (replace(FLOW, name="new", aliases=("turbo",)), "'turbo' is already registered"),
        (replace(FLOW, name="auto", aliases=()), "'auto'"),
        (replace(FLOW, name="a:b", aliases=()), "no colon"),
        (replace(FLOW, name="new", aliases=()), "layout 'sana-base' is already registered"),
    ):
        before = dict(FAMILIES)
        with pytest.raises(ValueError, match=message):
            register(wrong)
        assert before == FAMILIES
    with pytest.raises(UnknownNameError, match=r"Did you mean 'sana-flow'\?"):
        find("sana-flo")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'sana-base'\?"):
        find_layout("sana-bas")


def test_a_model_of_another_family_is_refused_with_its_name(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"SanaPipeline, so model\.kind=sana-flow \(or auto\), not turbo"):
        load_policy("turbo", folder, steps=1)


def test_its_pictures_are_those_of_diffusers(folder: Path) -> None:
    """By the very lines that a model card shows."""
    images = draw(load_policy("auto", folder, steps=3), ["a cat", "a fox"], [3, 4])
    model = ModelConfig(str(folder), "sana-flow", steps=3, size=SIDE)
    assert (images - drawn_by_diffusers(model, [3, 4])).abs().max() <= 1e-5


def drawn_by_diffusers(model: ModelConfig, seeds: Sequence[int], lora: Path | None = None) -> Tensor:
    lines = diffusers_code(model).splitlines()
    before = [line for line in lines[:-1] if lora or "load_lora_weights" not in line]
    scope: dict[str, Any] = {}
    with quiet_loading():
        exec("\n".join(before).replace('"lora"', f'"{lora}"'), scope)
    scope["pipe"].set_progress_bar_config(disable=True)
    call = lines[-1].removeprefix("image = ").removesuffix(".images[0]")
    prompts = ("a cat", "a fox")
    return torch.cat([_one(scope, call, prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)])


def _one(scope: dict[str, Any], call: str, prompt: str, seed: int) -> Tensor:
    extra = ', generator=torch.Generator().manual_seed(seed), output_type="pt")'
    names = {**scope, "torch": torch, "seed": seed}
    images: Tensor = eval(call.replace("…", prompt).removesuffix(")") + extra, names).images
    return images


def test_a_run_is_planned_trained_exported_and_described(folder: Path, tmp_path: Path) -> None:
    config = config_for(folder, size=SIDE)
    lines = "\n".join(plan(config))
    assert "parameters: " in lines
    assert "transformer" in lines
    assert step_cost(config).passes > 0

    assert train(config, tmp_path).ended == "finished"
    run = RunFolder(tmp_path)
    assert load_config(run.config).model.kind == "sana-flow"
    assert {path.name for path in run.lora.iterdir()} == {"pytorch_lora_weights.safetensors"}  # kohya's has no names
    card = run.card.read_text()
    assert (
        "FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config, shift=3.0, stochastic_sampling=True" in card
    )
    assert "num_inference_steps=3, guidance_scale=1, use_resolution_binning=False, height=32, width=32" in card

    tuned = load_run(tmp_path).policy
    images = draw(tuned, ["a cat", "a fox"], [3, 4])
    with tuned.reference():
        assert (images - draw(tuned, ["a cat", "a fox"], [3, 4])).abs().max() > 1e-4  # it moved
    assert (images - drawn_by_diffusers(config.model, [3, 4], run.lora)).abs().max() <= 1e-5


def test_another_family_on_the_same_pipeline_may_recognise_a_model_first(folder: Path) -> None:
    nosy = replace(FLOW, name="nosy", aliases=(), layouts=(), recognises=lambda files: files.scheduler == {"a": 1})
    register(nosy)
    assert detect_kind(folder) == "sana-flow"
    FAMILIES["nosy"] = replace(nosy, recognises=lambda files: files.scheduler["flow_shift"] == 3.0)
    assert detect_kind(folder) == "nosy"
    FAMILIES["nosy"] = replace(nosy, recognises=lambda files: "num_layers" in files.network("transformer"))
    assert detect_kind(folder) == "nosy"
    assert detect_kind("Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers") == SANA_SPRINT.name
