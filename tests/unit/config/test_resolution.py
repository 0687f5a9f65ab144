"""The kind of a model is decided once, where a config is read; a config made in Python is data until it is resolved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.training_world import recipe
from kedge.algorithms.rocm import ROCM
from kedge.config import ConfigError, ModelConfig, RunConfig, dump, load_config, parse_config, parse_model, resolve
from kedge.config.schema import AlgorithmChoice
from kedge.policies.families import FAMILIES
from kedge.policies.families.backbones import ATTENTION
from kedge.policies.settings import LoraConfig


def run_of(**model: object) -> RunConfig:
    return RunConfig(AlgorithmChoice("rocm", ROCM()), model=ModelConfig(**model))  # type: ignore[arg-type]


def test_constructing_a_config_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a dataclass looked at the disk")

    monkeypatch.setattr(Path, "is_dir", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", refuse)
    model = run_of(name="no such model").model
    assert (model.kind, model.guidance) == ("auto", None)
    for use in ("family", "omega"):
        with pytest.raises(ValueError, match=r"still auto: kedge\.config\.resolve"):
            getattr(model, use)


def test_a_config_made_in_python_is_resolved_when_it_is_asked_for(tmp_path: Path) -> None:
    resolved = resolve(run_of(name="stabilityai/sd-turbo", steps=3))
    assert (resolved.model.kind, resolved.model.steps, resolved.model.omega) == ("turbo", 3, 0.0)
    assert resolve(resolved) == resolved
    with pytest.raises(ConfigError, match=r"model: no model 'emoji-lmc'\. Did you mean 'emoji-lcm'"):
        resolve(run_of(name="emoji-lmc"))
    with pytest.raises(ConfigError, match=r"model\.kind: unknown kind of model 'lmc'"):
        resolve(run_of(kind="lmc"))
    with pytest.raises(ConfigError, match=r"model\.kind: kedge\.models:BUNDLED is neither a Family nor a function"):
        resolve(run_of(kind="kedge.models:BUNDLED"))
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
    with pytest.raises(ConfigError, match=r"model: .*KandinskyPipeline, which Kedge does not train"):
        resolve(run_of(name=str(tmp_path)))


def test_what_a_recipe_leaves_out_is_what_is_usual_for_the_kind() -> None:
    assert (parse_model({}).steps, parse_model({}).kind) == (8, "lcm")
    for name, kind, steps in (
        ("a/sd-turbo", "turbo", 4),
        ("a/sana-sprint", "sana-sprint", 2),
        ("a/stable-diffusion-v1-5", "diffusion", 20),
    ):
        assert (parse_model({"name": name}).kind, parse_model({"name": name}).steps) == (kind, steps)
        assert parse_model({"name": name, "steps": 5}).steps == 5
        assert parse_model({"name": name, "lora": {"rank": 3}}).lora == LoraConfig(3, targets=ATTENTION)
    assert parse_model({"name": "a/b", "kind": "lcm", "steps": 5}, ["steps=6"]).steps == 6
    own = parse_config(recipe(model={"kind": "helpers.training_world:load", "name": "x"})).model
    assert (own.family, own.steps, own.kind) == (None, 8, "helpers.training_world:load")


@pytest.mark.parametrize("kind", ["flux2-klein", "lcm", "helpers.training_world:load"])
def test_an_adapter_that_names_no_layers_gets_the_familys(kind: str) -> None:
    layers = FAMILIES[kind].backbone.lora_targets if ":" not in kind else ATTENTION
    assert ("to_qkv_mlp_proj" in layers) == (kind == "flux2-klein")
    assert resolve(run_of(name="x", kind=kind)).model.lora.targets == layers
    for lora in ({}, {"rank": 3}, {"targets": None}):
        assert parse_model({"name": "x", "kind": kind, "lora": lora}).lora.targets == layers
    own = LoraConfig(targets=("to_q",))
    assert resolve(run_of(name="x", kind=kind, lora=own)).model.lora == own


def test_another_name_of_a_family_becomes_its_name() -> None:
    model = parse_model({"name": "stabilityai/sdxl-turbo", "kind": "sdxl-turbo"})
    assert (model.kind, model.steps, model.omega) == ("turbo", 4, 0.0)


def test_a_config_on_disk_says_what_its_model_is(tmp_path: Path) -> None:
    """So that it means the same on a machine that has other files."""
    config = load_config(_written(tmp_path, "model: stabilityai/sdxl-turbo\nreward: pickscore\n"))
    text = dump(config)
    assert "kind: turbo" in text
    assert "steps: 4" in text
    assert load_config(_written(tmp_path, text)) == config
    renamed = text.replace("stabilityai/sdxl-turbo", "owner/anything")
    assert load_config(_written(tmp_path, renamed)).model.kind == "turbo"


def _written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path
