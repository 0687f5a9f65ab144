"""Trainings in which no sample could have an advantage are refused before anything loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kedge.config import ConfigError, parse_config
from kedge.config.compatibility import check_experience, experience_warning
from kedge.planning.plan import plan
from kedge.training.run import train


def config(batch_size: int, accumulation: int = 1, steps: int = 100, **algorithm: Any):
    return parse_config(
        {
            "model": {"name": "emoji-lcm"},
            "reward": "aesthetic@emoji",
            "algorithm": {"name": "rlcm", **algorithm},
            "prompts": "animals-45",
            "training": {"batch_size": batch_size, "accumulation": accumulation, "steps": steps, "device": "cpu"},
        }
    )


@pytest.mark.parametrize("scope", ["prompt", "batch"])
@pytest.mark.parametrize("name", ["rlcm", "ddpo", "ppo", "dpok"])
def test_one_sample_has_no_advantage(name: str, scope: str) -> None:
    alone = config(1, name=name, normalise=scope)
    with pytest.raises(ConfigError, match=r"one sample has no advantage.*batch_size.*normalise=run"):
        check_experience(alone)
    check_experience(alone, processes=2)
    check_experience(config(2, name=name, normalise=scope))
    check_experience(config(1, accumulation=2, name=name, normalise=scope))
    check_experience(config(1, name=name, normalise="none"))
    check_experience(config(1, name=name, normalise="run", buffer_size=512))


def test_minibatches_are_samples_too() -> None:
    check_experience(config(1, minibatches=2))


def test_a_run_too_short_for_its_buffer() -> None:
    with pytest.raises(ConfigError, match=r"the 10 rewards of this run never reach min_count \(16\)"):
        check_experience(config(1, steps=10, normalise="run"))
    check_experience(config(1, steps=16, normalise="run"))


def test_a_buffer_of_one_compares_a_reward_with_itself() -> None:
    with pytest.raises(ConfigError, match="buffer_size to 2"):
        config(8, buffer_size=1, min_count=1)


def test_d3po_needs_two_pictures() -> None:
    with pytest.raises(ConfigError, match=r"algorithm d3po: .*batch_size to 2"):
        check_experience(config(1, name="d3po"))


def test_an_algorithm_without_advantages_may_take_one_sample() -> None:
    check_experience(config(1, name="rocm"))


def test_training_refuses_before_it_writes_or_loads(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one sample has no advantage"):
        train(config(1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_plan_says_so() -> None:
    assert any("one sample has no advantage" in line for line in plan(config(1)))
    assert not any("advantage" in line for line in plan(config(2)))


def test_prompts_seen_too_seldom_are_told() -> None:
    seldom = config(2, steps=100)  # 200 samples of 45 prompts: four each, where 16 are asked for
    warning = experience_warning(seldom, [f"prompt {i}" for i in range(45)])
    assert warning is not None
    assert "seen about 4.44 times" in warning
    assert "normalise=run" in warning
    assert experience_warning(config(8, steps=100), [f"prompt {i}" for i in range(45)]) is None
    assert experience_warning(config(2, normalise="run"), ["a", "b"]) is None
    assert experience_warning(config(2, name="rocm"), ["a", "b"]) is None
    assert any(line.startswith("warning: each of the 45 prompts") for line in plan(seldom))


@pytest.mark.parametrize("name", ["soft_q", "refl", "rlcm", "dpok"])
@pytest.mark.parametrize(("key", "value"), [("last_steps", 2), ("random_depth", 0.5)])
def test_how_far_back_means_nothing_to_one_step(name: str, key: str, value: float) -> None:
    data = {"model": {"name": "emoji-lcm"}, "reward": "aesthetic@emoji", "prompts": "animals-45", "algorithm": name}
    parse_config({**data, "backprop": {"checkpoint": True}})
    with pytest.raises(ConfigError, match=rf"backprop\.{key} means nothing to {name}: .* one step at a time"):
        parse_config({**data, "backprop": {key: value}})
    with pytest.raises(ConfigError, match=rf"speed\.paired_reference means nothing to {name}"):
        parse_config({**data, "speed": {"paired_reference": True}})
