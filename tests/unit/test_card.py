"""The model card: its example runs as it stands, whatever kind of name the base model has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from kedge.config import parse_config
from kedge.export.card import NOT_COMPARED, model_card, with_verdict
from kedge.export.lora import save_lora
from kedge.policies import load_policy
from kedge.policies.lora import LoraConfig


def card(name: str, kind: str = "lcm") -> str:
    config = parse_config(
        {
            "model": {"name": name, "kind": kind, "steps": 2, "guidance": 1.0},
            "algorithm": "rocm",
            "reward": "clipscore@emoji",
            "prompts": "emoji",
        }
    )
    return model_card(config, 3, [], "my-run", "1 s")


def code(text: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(code)


@pytest.mark.parametrize(("name", "kind"), [("emoji-lcm", "lcm"), ("emoji-diffusion", "diffusion")])
def test_the_example_of_a_bundled_model_runs_with_its_adapter(name, kind, tmp_path: Path, monkeypatch) -> None:
    policy = load_policy(kind, name, steps=2, guidance=1.0, lora=LoraConfig(rank=2, alpha=4))
    save_lora(policy, tmp_path / "lora", {})
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code(card(name, kind)), names)
    assert names["image"].size == (32, 32)
    assert isinstance(names["pipe"].unet.conv_in.weight, torch.Tensor)
    assert names["pipe"].get_active_adapters()


def test_other_names_stand_in_the_example_as_they_are() -> None:
    assert 'from_pretrained("owner/model")' in code(card("owner/model"))
    assert 'from_pretrained("/models/my \\"best\\"")' in code(card('/models/my "best"'))


def test_a_path_of_this_machine_stands_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the card is read in the run's folder, not where training ran."""
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert f'from_pretrained("{tmp_path}/models/mine")' in code(card("models/mine"))


def test_only_the_hubs_models_are_named_to_the_hub() -> None:
    def front(name: str) -> str:
        return card(name).split("---\n")[1]

    assert "base_model: owner/model-1.5" in front("owner/model-1.5")
    for name in ("emoji-lcm", "/models/mine", "./mine"):
        assert "base_model" not in front(name)
        assert name in card(name)


def test_a_verdict_stands_where_its_marks_are_and_is_replaced_there() -> None:
    plain = card("owner/model")
    assert NOT_COMPARED in plain
    once = with_verdict(plain, "Collapsed", ["the reward rose", "the pictures vary less"], "66 test prompts")
    assert "**Collapsed**, on 66 test prompts:\n\n- the reward rose\n- the pictures vary less\n" in once
    assert NOT_COMPARED not in once
    twice = with_verdict(once, "Better", ["all is well"], "9 test prompts")
    assert "Collapsed" not in twice
    assert with_verdict(twice, "Collapsed", ["the reward rose", "the pictures vary less"], "66 test prompts") == once
    before, after = plain.split(NOT_COMPARED)
    assert once.startswith(before)
    assert once.endswith(after)


def test_a_card_without_the_marks_is_its_owners() -> None:
    own = "# My model\n\nWords of my own.\n"
    assert with_verdict(own, "Better", ["all is well"], "66 test prompts") == own


@pytest.mark.parametrize(
    ("kind", "renoise", "sampler"),
    [
        ("lcm", 1.0, "`lcm`, the scheduler `simple` after the node ModelSamplingDiscrete (lcm)"),
        ("turbo", 1.0, "`euler_ancestral`"),
        ("z-image-turbo", 1.0, "`lcm`, the scheduler `simple`"),
        ("flux2-klein", 1.0, "`lcm`, the node Flux2Scheduler"),
        ("flux2-klein", 0.0, "`euler`, the node Flux2Scheduler"),
        ("flux2-klein", 0.5, None),
        ("sana-sprint", 1.0, None),
    ],
)
def test_the_sampler_in_comfyui_is_named_where_it_has_one(kind: str, renoise: float, sampler: str | None) -> None:
    model = {"name": "owner/model", "kind": kind, "steps": 4, "renoise": renoise}
    algorithm = {"name": "rocm", "divergence": "none"}
    config = parse_config({"model": model, "algorithm": algorithm, "reward": "clipscore@emoji", "prompts": "emoji"})
    text = model_card(config, 3, [], "my-run", "1 s")
    assert ("In ComfyUI" in text) == (sampler is not None)
    assert sampler is None or f"with the sampler {sampler} and 4 steps" in text


def test_a_card_of_the_step_that_judges_chose_shows_that_steps_numbers() -> None:
    config = parse_config(
        {"model": {"name": "emoji-lcm"}, "algorithm": "rocm", "reward": "clipscore@emoji", "prompts": "emoji"}
    )
    log = [
        {"step": n, "held_out/oracle": 0.5 + value, "path_kl": float(n)}
        for n, value in ((0, 0.0), (40, 0.4), (60, -0.4))
    ]
    text = model_card(config, 40, log, "my-run", "1 s")
    assert "| mean on held-out prompts | step 0 | step 40 |" in text
    assert "| `oracle` | 0.5 | 0.9 |" in text
    assert "At step 40 it had moved from the base" in text
    assert "step 60" not in text


def test_the_picture_that_a_card_shows_is_one_that_there_is() -> None:
    config = parse_config(
        {"model": {"name": "emoji-lcm"}, "algorithm": "rocm", "reward": "clipscore@emoji", "prompts": "emoji"}
    )
    assert "![" not in model_card(config, 3, [], "my-run", "1 s")
    shown = model_card(config, 3, [], "my-run", "1 s", shown="samples/step-000002.png")
    assert "![Base beside tuned](samples/step-000002.png)" in shown
