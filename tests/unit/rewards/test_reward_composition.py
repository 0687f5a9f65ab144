"""Weighted sums, and rewards of the user's own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.tiny_rewards import pictures, write_aesthetic, write_clip
from kedge.rewards import REWARDS, RewardSpec, describe, load_reward, register

OWN = '''"""Rewards of my own."""


def redness(images, prompts):
    """How red a picture is."""
    return (images[:, 0] - images[:, 1:].mean(1)).flatten(1).mean(1)


redness.differentiable = True


def words(images, prompts):
    return [float(len(prompt.split())) for prompt in prompts]


def wrong(images, prompts):
    return images.mean()


class Brightness:
    """Brightness times a factor."""

    differentiable = True

    def __init__(self, factor="1"):
        self.factor = float(factor)

    def __call__(self, images, prompts):
        return self.factor * images.flatten(1).mean(1)
'''
PROMPTS = ["a cat", "two dogs"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)  # another test's
    (tmp_path / "my_rewards.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield "my_rewards"
    sys.modules.pop("my_rewards", None)


def images():
    return pictures(2, 40, 40)


def test_weighted_sum_is_the_weighted_sum(tmp_path):
    clip, head = write_clip(tmp_path / "clip"), write_aesthetic(tmp_path / "aesthetic")
    together = load_reward(f"0.25*pickscore@{clip} - 2*aesthetic@{head}")
    first, second = load_reward(f"pickscore@{clip}"), load_reward(f"aesthetic@{head}")
    expected = 0.25 * first(images(), PROMPTS) - 2 * second(images(), PROMPTS)
    torch.testing.assert_close(together(images(), PROMPTS), expected, rtol=1e-6, atol=1e-6)
    assert together.differentiable


def test_rewards_of_one_network_share_it(tmp_path):
    head = write_aesthetic(tmp_path)
    together = load_reward(f"clipscore@{tmp_path / 'clip'} + aesthetic@{head}")
    assert together.parts[0].reward.clip is together.parts[1].reward.clip


def test_one_part_without_gradient_takes_it_from_the_sum():
    reward = load_reward("compressibility_proxy + compressibility")
    assert not reward.differentiable
    assert not reward(images().requires_grad_(), PROMPTS).requires_grad


def test_standardised_by_the_natural_scale(tmp_path, monkeypatch):
    low, high = REWARDS["hpsv2"].typical
    from kedge.rewards.scale import natural_scale

    scale = natural_scale(describe("z(hpsv2)").terms[0])
    torch.testing.assert_close(scale(torch.tensor([low, high])), torch.tensor([-2.0, 2.0]))
    with pytest.raises(ValueError, match="Write a weight instead"):
        natural_scale(describe("z(compressibility)").terms[0])


def test_standardised_by_the_worlds_own_scale(tmp_path, monkeypatch):
    from kedge.rewards import scale

    (tmp_path / "scales.json").write_text('{"pickscore": [20.0, 4.0]}')
    monkeypatch.setattr(scale, "world_assets", lambda: tmp_path)
    measured = scale.natural_scale(describe("z(pickscore@emoji)").terms[0])
    assert (measured.centre, measured.spread) == (20.0, 4.0)


@pytest.mark.parametrize("place", ["my_rewards:redness", "my_rewards.py:redness"])
def test_function_of_the_users_own(own, place):
    assert describe(place).differentiable
    assert describe(place).measures == "How red a picture is."
    reward = load_reward(place)
    x = images().requires_grad_()
    scores = reward(x, PROMPTS)
    torch.testing.assert_close(scores, (x[:, 0] - x[:, 1:].mean(1)).flatten(1).mean(1))
    assert scores.requires_grad
    assert str(own) not in sys.path


def test_function_without_gradient_never_sees_a_graph(own):
    reward = load_reward("my_rewards:words")
    scores = reward(images().requires_grad_(), PROMPTS)
    assert scores.tolist() == [2.0, 2.0]
    assert not scores.requires_grad
    assert not describe("my_rewards:words").differentiable


def test_class_of_the_users_own_takes_its_source(own):
    torch.testing.assert_close(
        load_reward("my_rewards:Brightness@3")(images(), PROMPTS), 3 * images().flatten(1).mean(1)
    )
    with pytest.raises(ValueError, match="takes no source"):
        load_reward("my_rewards:redness@3")


def test_wrong_shape_is_named(own):
    with pytest.raises(ValueError, match=r"'my_rewards:wrong' returned shape \(\) for 2 images"):
        load_reward("my_rewards:wrong")(images(), PROMPTS)


def test_plug_in_gets_a_name(own):
    register(RewardSpec("my_redness", "my_rewards:Brightness", True, False, "brightness", "0 to 1"))
    try:
        sys.path.insert(0, ".")
        assert load_reward("2*my_redness").differentiable
        with pytest.raises(ValueError, match="already registered"):
            register(REWARDS["my_redness"])
    finally:
        sys.path.remove(".")
        del REWARDS["my_redness"]


def test_page_names_every_reward_and_its_example_works(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
    assert [name for name in REWARDS if f"| `{name}` |" not in page] == []
    (tmp_path / "my_rewards.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    reward = load_reward(f"{tmp_path}/my_rewards.py:redness")
    assert reward.differentiable
    assert reward(images(), PROMPTS).shape == (2,)


def test_catalogue_needs_no_torch():
    code = """
import sys
from kedge.rewards import describe, readiness, REWARDS
describe("0.7*hpsv2@emoji + 0.3*z(pickscore)")
assert len(readiness()) > len(REWARDS)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
