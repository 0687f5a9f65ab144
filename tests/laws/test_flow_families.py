"""Few-step flow models on their true layouts: what the tests of every family leave open."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._pytree import tree_leaves

from helpers.family_models import FAMILIES, PROMPTS, TINY, Builder, Built, build, pictures, policy_of
from helpers.training_world import recipe
from kedge.config import ConfigError, ModelConfig, parse_config
from kedge.export.diffusers_snippet import diffusers_code
from kedge.export.lora import load_lora, save_lora
from kedge.planning.skeletons import meta_policy
from kedge.policies import load_policy
from kedge.policies.base import draw_noise, rollout
from kedge.quiet import quiet_loading
from kedge.random_models import build_layout
from kedge.runs.checkpoint import CheckpointStore
from kedge.runs.folder import RunFolder
from kedge.training.assemble import assemble
from kedge.training.processes import Processes

FLOW = ("flux-schnell", "sd35-turbo", "z-image-turbo", "flux2-klein")


def plain(built: Built) -> DiffusionPipeline:
    """The pipeline as its folder has it, which is sampled by Euler's method."""
    with quiet_loading():
        return DiffusionPipeline.from_pretrained(built.folder)


@pytest.mark.parametrize("name", FLOW)
def test_without_noise_it_is_the_pipelines_own_sampler(name: str, models: Builder) -> None:
    built = models(name)
    images = pictures(policy_of(built, steps=3, renoise=0.0), seed=3)
    assert (images - built.draw(plain(built), PROMPTS, 3, seed=3)).abs().max() <= 1e-5
    assert (images - pictures(policy_of(built, steps=3), seed=3)).abs().max() > 1e-3


@pytest.mark.slow
def test_the_medium_model_of_stable_diffusion_too(tmp_path: Path) -> None:
    """Its first layers have self-attention besides."""
    built = build("sd35-medium-turbo", tmp_path)
    images = pictures(policy_of(built, steps=3), seed=3)
    assert (images - built.draw(built.pipeline(), PROMPTS, 3, seed=3)).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["flux-schnell", "z-image-turbo"])
def test_a_picture_does_not_depend_on_its_batch(name: str, models: Builder) -> None:
    """Texts of other lengths beside it, and the order in which noise is drawn."""
    policy = policy_of(models(name))
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    with torch.no_grad():
        noise = draw_noise(policy, generators, 2)
        both = policy.decode(rollout(policy, policy.encode(PROMPTS), noise).x0)
    for i, prompt in enumerate(PROMPTS):
        assert (pictures(policy, i + 1, [prompt]) - both[i]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", FLOW)
def test_a_network_call_of_policy_and_reference_at_once(name: str, models: Builder) -> None:
    policy = policy_of(models(name), drift=0.02)
    cond, x = policy.encode(PROMPTS), draw_noise(policy, torch.Generator().manual_seed(0), 2)[0]
    with torch.no_grad():
        p, q = policy.pair(x, 2, cond)
        assert (p.mean - policy.transition(x, 2, cond).mean).abs().max() <= 1e-5
        with policy.reference():
            assert (q.mean - policy.transition(x, 2, cond).mean).abs().max() <= 1e-5
    assert (p.mean - q.mean).abs().max() > 1e-4


COMFYUI = json.loads((Path(__file__).parents[1] / "golden/comfyui/lora_names.json").read_text())["families"]
RANGE, CHOICE = re.compile(r"\{(\d+)-(\d+)\}"), re.compile(r"\{([a-z0-9_,]+)\}")


def at_any_depth(pattern: str) -> str:
    """The table's pattern as a regular expression that allows any numbers of layers."""
    return CHOICE.sub(lambda match: f"({match[1].replace(',', '|')})", RANGE.sub(r"\\d+", pattern))


def at_true_depth(pattern: str) -> list[str]:
    """All names that the table's pattern stands for."""
    if match := RANGE.search(pattern):
        options: list[str] = list(map(str, range(int(match[1]), int(match[2]) + 1)))
    elif match := CHOICE.search(pattern):
        options = match[1].split(",")
    else:
        return [pattern]
    names = []
    for option in options:
        names += at_true_depth(pattern[: match.start()] + option + pattern[match.end() :])
    return names


@pytest.mark.parametrize("name", FLOW)
def test_loras_have_the_names_of_comfyui_and_come_back(name: str, models: Builder, tmp_path: Path) -> None:
    policy, other = policy_of(models(name), drift=0.02), policy_of(models(name))
    paths = save_lora(policy, tmp_path, {"base_model": "tiny"})
    layers = {key.partition(".")[0] for key in load_file(paths["comfyui"])}
    patterns = list(map(at_any_depth, COMFYUI[name]))
    for layer in layers:
        assert any(re.fullmatch(pattern, layer) for pattern in patterns), layer
    for pattern in patterns:
        assert any(re.fullmatch(pattern, layer) for layer in layers), pattern
    assert 3 * len(layers) == len(load_file(paths["comfyui"]))
    for path in paths.values():
        for weight in other.trainable():
            weight.data.zero_()
        load_lora(other, path)
        for loaded, expected in zip(other.trainable(), policy.trainable(), strict=True):
            assert (loaded - expected).abs().max() <= 1e-6


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "z-image-turbo" else pytest.mark.slow) for name in FLOW]
)
def test_a_resumed_run_ends_where_it_would_have_ended(name: str, models: Builder, tmp_path: Path) -> None:
    block = {"name": str(models(name).folder), "steps": 2, "lora": {"rank": 2}}
    whole = recipe(
        model=block,
        algorithm={"name": "rocm", "divergence": "kl", "beta": 1e-6, "last_step_std": 1.0},
        training__steps=2,
        optimizer__lr=0.01,
        watch__samples_every=0,
    )
    states = []
    for folder, stops in (("whole", [2]), ("resumed", [1, 2])):
        for i, steps in enumerate(stops):
            config = parse_config(whole | {"training": whole["training"] | {"steps": steps}})
            run = RunFolder(tmp_path / folder)
            run.open(config, 1, "cpu")
            trainer = assemble(config, run, Processes("cpu"), resume=i > 0)
            assert trainer.fit().step == steps
        newest = CheckpointStore(run.checkpoints).latest()
        assert newest is not None
        states.append(tree_leaves(newest[1]["optimizer"]))
    for value, expected in zip(*states, strict=True):
        assert torch.equal(value, expected) if isinstance(value, Tensor) else value == expected
    assert sum(isinstance(value, Tensor) for value in states[0]) > 20


HUB = {
    "black-forest-labs/FLUX.1-schnell": (11.89e9, (16, 128, 128)),
    "stabilityai/stable-diffusion-3.5-large-turbo": (8.06e9, (16, 128, 128)),
    "tensorart/stable-diffusion-3.5-medium-turbo": (2.24e9, (16, 128, 128)),
    "Tongyi-MAI/Z-Image-Turbo": (6.15e9, (16, 128, 128)),
    "black-forest-labs/FLUX.2-klein-4B": (3.88e9, (128, 64, 64)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_the_plan_knows_them_by_name_at_true_size(name: str) -> None:
    model = parse_config({"model": {"name": name}, "reward": "pickscore"}).model
    drawn = meta_policy(model, 2)
    assert drawn is not None
    parameters, latents = HUB[name]
    weights = [p.numel() for key, p in drawn.network.named_parameters() if ".lora_" not in key]
    assert sum(weights) == pytest.approx(parameters, rel=0.01)
    assert drawn.latent_shape == latents
    assert model.kind in FAMILIES
    kohya, layers = drawn.backbone.kohya, set[str]()
    for key in drawn.adapter.weights:
        layers.add(kohya.key(key.partition(".lora_")[0]))
    expected = COMFYUI["sd35-medium-turbo" if "medium" in name else model.kind]
    assert layers == set(chain.from_iterable(map(at_true_depth, expected)))


def test_models_that_need_many_steps_are_told_apart_or_asked_for(tmp_path: Path) -> None:
    """FLUX.1-dev and klein's base by their configs; where files are the same, the name or the recipe says it."""
    folders = {}
    for layout in ("flux-schnell", "flux2-klein-4b", "sd35-large-turbo"):
        folders[layout] = build_layout(layout, tmp_path / f"a-{layout[:5]}", TINY)
    network = folders["flux-schnell"] / "transformer"
    config = FluxTransformer2DModel.load_config(network)
    FluxTransformer2DModel.from_config(config, guidance_embeds=True).save_pretrained(network)
    with pytest.raises(ValueError, match=r"takes guidance as an input.*FLUX\.1-schnell"):
        load_policy("flux-schnell", folders["flux-schnell"], steps=1)
    index = folders["flux2-klein-4b"] / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"is_distilled": False}))
    with pytest.raises(ConfigError, match=r"Flux2KleinPipeline; say which it is with model\.kind=flux2-klein"):
        parse_config({"model": str(folders["flux2-klein-4b"]), "reward": "pickscore"})
    with pytest.raises(ValueError, match=r"is the base model.*FLUX\.2-klein-4B"):
        load_policy("flux2-klein", folders["flux2-klein-4b"], steps=1)
    unnamed = str(folders["sd35-large-turbo"])
    with pytest.raises(ConfigError, match=r"say which it is with model\.kind=sd35-turbo"):
        parse_config({"model": unnamed, "reward": "pickscore"})
    with pytest.raises(ValueError, match=r"model\.guidance=0 .*not 3"):
        load_policy("sd35-turbo", unnamed, steps=1, guidance=3.0)
    with pytest.raises(ValueError, match="multiple of 16 pixels"):
        load_policy("sd35-turbo", unnamed, steps=1, size=40)


def test_names_on_the_hub_are_enough() -> None:
    for name in HUB:
        model = parse_config({"model": {"name": name}, "reward": "pickscore"}).model
        assert (model.guidance, model.omega) == (None, 0.0)
        assert model.steps == (8 if "Z-Image" in name else 4)


@pytest.mark.parametrize("renoise", [0.0, 0.5, 1.0])
def test_the_card_says_how_to_sample_it(renoise: float) -> None:
    model = ModelConfig("stabilityai/stable-diffusion-3.5-large-turbo", "sd35-turbo", steps=4, renoise=renoise)
    code = diffusers_code(model)
    assert f"stochastic_sampling={renoise > 0}" in code
    assert "sigmas=[1.0, 0.75, 0.5, 0.25]" in code
    assert ("afresh" in code) == (renoise == 0.5)
    assert ("torch.manual_seed" in code) == (renoise > 0)
