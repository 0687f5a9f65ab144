"""Configs: what is accepted, what is refused and in which words, and that writing and reading are inverse."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import yaml

from helpers.training_world import Climb, recipe
from kedge.algorithms import ALGORITHMS
from kedge.algorithms.rocm import ROCM
from kedge.algorithms.target import Anchored
from kedge.config import ConfigError, RunConfig, document, dump, fields, load_config, parse_config, presets
from kedge.config.text import apply_overrides, read_yaml


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_every_preset_loads_says_what_it_takes_and_survives_writing(preset):
    config = load_config(preset.path)
    assert preset.title
    assert "?" not in (preset.time, preset.memory)
    assert parse_config(read_yaml(dump(config), "dump")) == config
    assert parse_config(read_yaml(document(config, "title"), "document")) == config


@pytest.mark.parametrize("name", [*ALGORITHMS])
def test_every_key_of_every_algorithm_and_block_is_documented(name):
    classes, seen = [RunConfig, ALGORITHMS.get(name)], []
    while classes:
        cls = classes.pop()
        seen.append(cls)
        words = fields.described(cls)
        for field in fields.config_fields(cls):
            assert words.get(field.name), f"{cls.__name__}.{field.name} has no words in its docstring"
            inner = fields.block(cls, field.name)
            classes += [inner] if inner else []
    assert len(seen) > 5


@pytest.mark.parametrize("name", [*ALGORITHMS])
def test_init_writes_every_key_of_every_algorithm_with_its_words(name):
    """Those of a block inside it too, once it is there: target's."""
    held = issubclass(ALGORITHMS.get(name), Anchored)
    settings = {"name": name, **({"target": {"nats": 4}} if held else {})}
    if name in ("draft", "alignprop"):
        settings["divergence"] = "kl"
    text = document(parse_config(recipe(algorithm=settings, reward="helpers.training_world:lightness")))
    lines = text.partition("\nalgorithm:\n")[2].partition("\n\n")[0].splitlines()
    config = parse_config(read_yaml(text, "init"))
    blocks = [("  ", config.algorithm.instance)]
    for margin, block in blocks:
        for field in fields.config_fields(type(block)):
            value = getattr(block, field.name)
            (place,) = [i for i, line in enumerate(lines) if line.startswith(f"{margin}{field.name}:")]
            assert lines[place - 1].startswith(f"{margin}# "), lines[place]
            if dataclasses.is_dataclass(value):
                blocks.append((margin + "  ", value))
    assert len(blocks) == 1 + held


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("6E-05", 6e-5),
        ("1.5e3", 1500.0),
        ("-1e+2", -100.0),
        (".5", 0.5),
        ("3", 3),
        ("-3", -3),
        ("1_000", 1000),
        ("true", True),
        ("null", None),
        ("e4", "e4"),
        ("1e", "1e"),
        ("v1.2.3", "v1.2.3"),
        ("0.7*a + 0.3*b", "0.7*a + 0.3*b"),
        ("12:30:00", "12:30:00"),
    ],
)
def test_yaml_reads_numbers_as_people_write_them(text, value):
    actual = read_yaml(text, "test")
    assert actual == value
    assert type(actual) is type(value)


def test_off_is_a_word_though_yaml_reads_a_boolean():
    recipe = apply_overrides({"reward": "aesthetic@emoji"}, ["watch.guard=off"])
    assert parse_config(recipe).watch.guard == "off"
    with pytest.raises(ConfigError, match=r"watch\.guard"):
        parse_config(apply_overrides({}, ["watch.guard=on"]))


def test_overrides_reach_into_blocks_and_do_not_change_what_they_override():
    data = {"optimizer": {"lr": 1.0, "clip": 2.0}}
    assert apply_overrides(data, ["optimizer.lr=1e-4", "model.lora.rank=8", "reward=0.7*a + 0.3*b=c"]) == {
        "optimizer": {"lr": 1e-4, "clip": 2.0},
        "model": {"lora": {"rank": 8}},
        "reward": "0.7*a + 0.3*b=c",
    }
    assert data == {"optimizer": {"lr": 1.0, "clip": 2.0}}


ASKED = """judge(question="Rate {prompt}: how good, of 10?", pattern="Overall: ([0-9.]+)")@http://x/v1 + 0.5*vqa"""


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (ASKED, ASKED),
        ("\"my files/mine.py:calm\" + 2*vqa(question='Is it: #1?')", None),
        ("hpsv2@/a/b #c", None),
        (json.dumps(ASKED), ASKED),  # as Python's keywords are written
        ("'hpsv2'", "hpsv2"),
        ("{terms: hpsv2, floors: {vqa: base}}", {"terms": "hpsv2", "floors": {"vqa": "base"}}),
        ("", None),
    ],
)
def test_a_reward_is_taken_as_it_is_written_though_it_may_look_like_yaml(value, content):
    expected = (content or value) if value else None
    for key in ("reward", " reward "):
        assert apply_overrides({}, [f"{key}={value}"]) == {"reward": expected}
    assert apply_overrides({}, [f"watch.metrics={value}"]) == {"watch": {"metrics": expected}}


def test_metrics_are_a_list_or_separated_by_commas_also_where_one_asks_a_question():
    metrics = ASKED.replace(" + 0.5*vqa", "")
    for value in (f"{metrics}, hpsv2@emoji", json.dumps([metrics, "hpsv2@emoji"])):
        config = parse_config(apply_overrides(recipe(), [f"watch.metrics={value}"]))
        assert config.watch.metrics == (metrics, "hpsv2@emoji")


def test_a_block_may_be_given_by_its_first_key():
    config = parse_config(recipe(prompts="animals-45", model={"kind": "helpers.training_world:load", "name": "x"}))
    assert config.prompts.source == "animals-45"
    changed = parse_config(apply_overrides(recipe(prompts="animals-45"), ["prompts.count=3"]))
    assert (changed.prompts.source, changed.prompts.count) == ("animals-45", 3)
    named = parse_config(apply_overrides(recipe(algorithm="helpers.training_world:Climb"), ["algorithm.beta=2"]))
    assert named.algorithm.instance == Climb(beta=2.0)


def test_another_model_keeps_the_size_precision_and_adapter_of_the_block():
    block = {"name": "a/a", "kind": "lcm", "variant": "fp16", "size": 512, "dtype": "bfloat16", "lora": {"rank": 3}}
    changed = parse_config(apply_overrides(recipe(model=block), ["model=b/sdxl", "prompts=animals-45"])).model
    assert (changed.name, changed.size, changed.dtype, changed.lora.rank) == ("b/sdxl", 512, "bfloat16", 3)
    assert (changed.kind, changed.variant) == ("diffusion", None)  # found out anew: lcm was what the other one is
    assert parse_config(apply_overrides(recipe(model="a/sdxl"), ["model=b/sdxl"])).model.name == "b/sdxl"
    again = parse_config(apply_overrides(recipe(model=block), ["model=b/b", "model.size=64", "model=c/sdxl"])).model
    assert (again.name, again.size, again.dtype) == ("c/sdxl", 64, "bfloat16")


@pytest.mark.parametrize("key", ["kind", "unet", "lcm_lora", "vae", "variant"])
def test_another_model_has_nothing_of_the_one_before(key):
    """Neither its kind nor a part that was put into it: of ``model=NAME`` only how models are used stays."""
    block = apply_overrides({"model": {"name": "a/a", key: "of a/a", "size": 512}}, ["model=b/b"])["model"]
    assert key not in block
    assert "name" not in block  # b/b stands in its place
    assert "b/b" in block.values()
    assert block["size"] == 512


def test_the_algorithm_becomes_its_own_dataclass():
    config = parse_config({"algorithm": {"name": "rocm", "divergence": "js"}, "reward": "aesthetic"})
    assert config.algorithm.instance == ROCM(divergence="js")
    assert config.algorithm.name == "rocm"


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_config(recipe()).reward = "x"  # type: ignore[misc]


REFUSALS = [
    ({"optimiser": {}}, "unknown key 'optimiser'. Did you mean 'optimizer'?"),
    ({"from": "emoji-rocm"}, "unknown key 'from'. A recipe has no 'from': kedge init PRESET > my.yaml writes one out"),
    ({"lr": 1}, "unknown key 'lr'. Did you mean 'optimizer.lr'?"),
    ({"model": {"lora": {"rnak": 3}}}, "unknown key 'model.lora.rnak'. Did you mean 'rank'?"),
    ({"algorithm": {"name": "rocm", "bta": 1}}, "unknown key 'algorithm.bta' of rocm. Did you mean 'beta'?"),
    ({"algorithm": {"name": "rcom"}}, "algorithm.name: unknown algorithm 'rcom'. Did you mean 'rocm'?"),
    ({"algorithm": {"beta": 1}}, "algorithm.name is missing"),
    ({"algorithm": {"name": "rocm", "beta": -1}}, "algorithm: beta must be 0 or more"),
    ({"algorithm": {"name": "rocm", "reference_gradient": "x"}}, "algorithm.reference_gradient"),
    ({"optimizer": {"lr": "fast"}}, "optimizer.lr: should be a valid number"),
    ({"optimizer": {"lr": 0}}, "optimizer.lr: should be greater than 0 (got 0)"),
    ({"model": {"lora": {"rank": 1.5}}}, "model.lora.rank: should be a valid integer"),
    ({"model": {"kind": "lmc"}}, "model.kind: unknown kind of model 'lmc'. Did you mean 'lcm'?"),
    ({"optimizer": {"schedule": "cos"}}, "optimizer.schedule: should be 'constant', 'linear' or 'cosine' (got 'cos')"),
    ({"training": {"steps": {"a": 1}}}, "training.steps takes a single value, not a block"),
    ({"reward": "picscore"}, "reward: unknown reward 'picscore'. Did you mean 'pickscore'?"),
    ({"watch": {"metrics": ["picscore"]}}, "watch.metrics: unknown reward 'picscore'"),
    ({"watch": {"held_out": {"cuont": 3}}}, "unknown key 'watch.held_out.cuont'. Did you mean 'count'?"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS, ids=[message[:40] for _, message in REFUSALS])
def test_mistakes_are_refused_with_their_place_and_a_suggestion(changes, message):
    base = recipe()
    for key, value in changes.items():
        merged = isinstance(value, dict) and key in base and key != "algorithm"
        base[key] = {**base[key], **value} if merged else value
    with pytest.raises(ConfigError) as caught:
        parse_config(base)
    assert message in str(caught.value)


def test_a_recipe_is_a_preset_a_file_or_a_run_folder(tmp_path):
    config = load_config("emoji-rocm", ["training.steps=3"])
    assert (config.model.name, config.training.steps) == ("emoji-lcm", 3)
    (tmp_path / "config.yaml").write_text(dump(config), encoding="utf-8")
    assert load_config(tmp_path) == load_config(tmp_path / "config.yaml") == config
    with pytest.raises(ConfigError, match="Did you mean 'emoji-rocm'"):
        load_config("emoji-rcom")


def test_a_file_is_named_in_its_message(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("optimizer: {lrr: 1}\n")
    with pytest.raises(ConfigError, match=r"my\.yaml: unknown key 'optimizer\.lrr'"):
        load_config(path)
    path.write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"my\.yaml is not valid YAML"):
        load_config(path)
    with pytest.raises(ConfigError, match="'lr' is not key=value"):
        load_config(presets()[0].path, ["lr"])


def test_backpropagation_through_a_reward_without_gradient_is_refused_with_what_to_use():
    with pytest.raises(ConfigError) as caught:
        parse_config({"algorithm": "rocm", "reward": "compressibility", "prompts": "animals-45"})
    message = str(caught.value)
    for word in ("'rocm' backpropagates", "'compressibility' has no gradient", "rlcm", "ddpo", "dpok", "d3po"):
        assert word in message
    assert "algorithm=rlcm" in message
    assert "pickscore" in message
    assert "incompressibility," not in message  # only rewards with a gradient are offered
    with pytest.raises(ConfigError, match="has no gradient"):
        parse_config({"algorithm": "rocm", "reward": "0.5*pickscore + 0.5*incompressibility"})
    assert parse_config({"algorithm": "rlcm", "reward": "compressibility"}).algorithm.name == "rlcm"


def test_refusing_loads_no_network_library():
    code = (
        "import sys\nfrom kedge.config import parse_config\n"
        "try: parse_config({'algorithm': 'rocm', 'reward': 'compressibility'})\n"
        "except ValueError as error: print(error)\n"
        "print(sorted({'diffusers', 'transformers', 'peft', 'accelerate'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "has no gradient" in out
    assert out.strip().endswith("[]")


def test_the_documented_recipe_comments_every_key():
    config = parse_config({"algorithm": "rocm", "reward": "aesthetic"})
    lines = document(config).splitlines()
    keys = [(i, line) for i, line in enumerate(lines) if line.strip() and not line.strip().startswith("#")]
    assert len(keys) > 50
    for i, line in keys:
        assert lines[i - 1].strip().startswith("#"), f"no comment above {line!r}"
    assert yaml.safe_load("\n".join(lines))["algorithm"]["divergence"] == "kl"
