"""The examples run, and ROCM in one file is Kedge's ROCM."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

import kedge
from helpers.processes import environment
from kedge.registry import load_file

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
STEPS, BATCH = 3, 2
OPTIONS = ["--steps", "2", "--batch-size", "2"]


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def one_file():
    """Pipeline and history of three steps of the example, and its prompts."""
    example = load("rocm_in_one_file")
    return *example.train(steps=STEPS, batch_size=BATCH, log=lambda line: None), example.PROMPTS


@pytest.fixture(scope="module")
def prompts(one_file, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    file.write_text("\n".join(one_file[2]) + "\n")
    return file


def test_rocm_in_one_file_is_kedges(one_file, prompts, tmp_path):
    """The same seed: the same losses, rewards and divergences, and the same adapter."""
    pipe, history, _ = one_file
    run = kedge.train(
        "emoji-rocm",
        prompts={"source": prompts, "shuffle": False, "tuning": 0, "test": 0},
        optimizer={"schedule": "constant"},
        training={"steps": STEPS, "batch_size": BATCH, "device": "cpu"},
        watch={"samples_every": 0, "evaluate_every": 0},
        out=tmp_path / "run",
    )
    for ours, theirs in zip(run.metrics, history, strict=True):
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=2e-4, abs=1e-6), name
    assert history[1]["divergence"] > 0
    assert history[-1]["reward"] != pytest.approx(history[0]["reward"], abs=1e-3)
    theirs = {name.replace(".default.", "."): p for name, p in pipe.unet.named_parameters() if ".lora_" in name}
    ours = run.policy.adapter.weights
    assert ours.keys() == theirs.keys()
    moved = max(float(weight.detach().abs().max()) for name, weight in theirs.items() if "lora_B" in name)
    assert moved > 1e-3
    apart = sum(float((ours[name] - theirs[name]).detach().square().sum()) for name in ours) ** 0.5
    whole = sum(float(theirs[name].detach().square().sum()) for name in theirs if "lora_B" in name) ** 0.5
    assert apart < 0.02 * whole  # Adam makes whole steps of gradients that are rounding alone


def test_the_loop_with_the_library_is_it_too(one_file, prompts):
    policy, rewards = load("rocm_with_the_library").train(STEPS, BATCH, str(prompts), log=lambda line: None)
    assert rewards == pytest.approx([line["reward"] for line in one_file[1]], rel=2e-4)
    assert any(bool(weight.any()) for name, weight in policy.adapter.weights.items() if "lora_B" in name)


def test_one_file_needs_nothing_of_kedge():
    text = (EXAMPLES / "rocm_in_one_file.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"torch", "diffusers", "peft", "transformers"}
    for line in range(1, 15):
        assert re.search(rf"Lines? (\d+ and )?{line}\b", text), f"Algorithm 2, line {line}"


def test_its_lora_has_its_strength_in_diffusers(monkeypatch, tmp_path):
    """What it writes draws, in a fresh pipeline, what its own UNet draws."""
    example, out = load("rocm_in_one_file"), tmp_path / "lora"
    policies = []
    train = example.train
    monkeypatch.setattr(example, "train", lambda *options: policies.append(train(*options)) or policies[-1])
    monkeypatch.setattr(sys, "argv", ["rocm", "--steps", "2", "--batch-size", "1", "--lr", "1e-2", "--out", str(out)])
    example.main()
    pipe = policies[0][0]
    fresh = type(pipe).from_pretrained(example.ASSETS / "emoji-lcm", torch_dtype=torch.float32)

    def picture(pipeline):
        generator = torch.Generator().manual_seed(0)
        options = {"num_inference_steps": 2, "output_type": "pt", "generator": generator}
        return pipeline("a fox", **options).images

    plain = picture(fresh)
    fresh.load_lora_weights(out)
    assert torch.allclose(picture(fresh), picture(pipe), atol=1e-4)
    assert not torch.allclose(plain, picture(pipe), atol=1e-2)


def test_a_script_trains_with_what_it_defines(tmp_path):
    """As a user runs it: what is defined in the script itself is found again in the run folder."""
    command = [sys.executable, EXAMPLES / "own_reward.py", *OPTIONS, "--out", tmp_path / "run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    check_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["own_divergence", "own_algorithm", "own_family"])
def test_what_is_ones_own_trains(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *OPTIONS, "--out", str(tmp_path / "run")])
    load_file(EXAMPLES / f"{name}.py", name).main()  # the script, without starting Python and torch once more
    check_run(tmp_path / "run")


def check_run(folder: Path) -> None:
    run = kedge.load_run(folder)
    assert run.step == 2
    assert run.lora.is_file()


@pytest.mark.parametrize(
    ("name", "file"),
    [("own_reward", "pink"), ("own_divergence", "apart"), ("own_algorithm", "reinforce"), ("own_family", "ddpm")],
)
def test_the_page_shows_what_the_files_hold(name, file):
    """Each definition on the page on extending stands in the example word for word."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    block = re.search(rf"```python\n# {file}\.py\n(.*?)```", page, re.DOTALL)
    assert block is not None
    example = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").replace('f"{__file__}:', f'"{file}:')
    for part in re.split(r"\n\n\n", block[1].strip()):
        if re.match(r"(@|def |class |\w+\.|[A-Z]+ =)", part):
            assert part in example, part


def test_every_example_is_tested():
    own = {"own_reward", "own_divergence", "own_algorithm", "own_family"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"rocm_in_one_file", "rocm_with_the_library", *own}
