"""Code of the user's own, checked when it is first called: rewards, prompts, and what fails while it is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kedge.cli.run import explain
from kedge.prompts import PromptError, load_prompts
from kedge.registry import load_object
from kedge.rewards import load_reward
from kedge.rewards.base import RewardError
from kedge.rewards.composition import Custom
from kedge.user_code import UserCodeError

PROMPTS = ["a fox", "a hen"]


def pictures(graph: bool = True) -> torch.Tensor:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return images.requires_grad_(graph) * 1  # no leaf: as a decoder returns them


def promised(function: Callable) -> Custom:
    """As a reward that says that it has a gradient."""
    function.differentiable = True
    return Custom("mine.py:calm", function)


def mean(images: torch.Tensor) -> torch.Tensor:
    return images.mean((1, 2, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda images, prompts: mean(images).detach(),
        lambda images, prompts: mean(images).tolist(),
        lambda images, prompts: mean(images).detach().numpy(),
        lambda images, prompts: (mean(images) * 10).int(),
        torch.no_grad()(lambda images, prompts: mean(images)),
    ],
    ids=["detach", "list", "numpy", "integers", "no_grad"],
)
def test_a_promised_gradient_that_is_not_there_is_refused_at_the_first_call(function):
    with pytest.raises(RewardError, match=r"'mine\.py:calm' says differentiable = True, .* no gradient"):
        promised(function)(pictures(), PROMPTS)


def test_a_gradient_is_not_asked_for_where_none_is_wanted():
    reward = promised(lambda images, prompts: mean(images))
    with torch.no_grad():
        assert not reward(pictures(), PROMPTS).requires_grad
    assert not reward(pictures(graph=False), PROMPTS).requires_grad
    assert reward(pictures(), PROMPTS).requires_grad


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "returned None, a NoneType: return one number for each of the 2 images"),
        (["good", "bad"], r"returned \['good', 'bad'\], a list"),
        ([1.0], r"returned shape \(1,\) for 2 images"),
        (3.0, r"returned shape \(\)"),
        (torch.zeros(2, device="meta"), "meta device"),
        ({"a": 1}, "a dict: return one number"),
    ],
)
def test_what_is_no_score_is_named(returned, says):
    with pytest.raises(RewardError, match=says):
        Custom("mine", lambda images, prompts: returned)(pictures(), PROMPTS)


def test_a_reward_cannot_write_into_what_others_read():
    def darken(images, prompts):
        images -= 0.5
        prompts.clear()
        return mean(images)

    def darken_by_numpy(images, prompts):
        images.numpy()[:] = 0
        return mean(images)

    images, prompts = pictures(graph=False), list(PROMPTS)
    before = images.clone()
    for function in (darken, darken_by_numpy):
        Custom("mine", function)(images, prompts)
        assert torch.equal(images, before)
        assert prompts == PROMPTS
    with pytest.raises(RewardError, match=r"writes into the images.*images = images - 0\.5"):
        promised(darken)(pictures(), PROMPTS)


def test_a_reward_that_turns_gradients_off_does_so_for_itself():
    def rude(images, prompts):
        torch.set_grad_enabled(False)
        return np.zeros(2)

    Custom("mine", rude)(pictures(), PROMPTS)
    assert torch.is_grad_enabled()


def test_errors_name_reward_file_and_line_and_end_in_one_message(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(images, prompts):\n    x = 1\n    return x / 0\n")
    with pytest.raises(RewardError) as error:
        load_reward(f'"{file}:score"')(pictures(), PROMPTS)
    assert f"mine.py:score' failed in {file}, line 3: ZeroDivisionError: division by zero" in str(error.value)
    assert "--resume" in str(error.value)
    assert explain(error.value) == (2, str(error.value))


def test_an_error_inside_a_library_names_the_line_that_called_it(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import torch\n\ndef score(images, prompts):\n    return torch.zeros(2, 3) @ torch.zeros(2, 3)\n")
    with pytest.raises(RewardError, match=f"{file}, line 4: RuntimeError: mat1"):
        load_reward(f'"{file}:score"')(pictures(), PROMPTS)


def test_running_out_of_memory_stays_what_it_is():
    def greedy(images, prompts):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Custom("mine", greedy)(pictures(), PROMPTS)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError"),
        ("import nowhere_at_all\n", "line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:\n", "line 1: SyntaxError"),
    ],
)
def test_a_module_that_fails_while_it_is_read(tmp_path, monkeypatch, code, says):
    name = f"own_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for path in (f"{tmp_path / name}.py:f", f"{name}:f"):
        with pytest.raises(UserCodeError, match=f"{name}.py, {says}"):
            load_object(path)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 1 / 0", "failed in .*line 2: ZeroDivisionError"),
        ("return None", "a list of strings, not None"),
        ("return 'a fox'", "a list of strings, not 'a fox'"),
        ("return ['a', 3]", r"not int .item 2: 3."),
    ],
)
def test_prompts_of_ones_own(tmp_path: Path, body: str, says: str):
    (tmp_path / "own.py").write_text(f"def prompts():\n    {body}\n")
    with pytest.raises((UserCodeError, PromptError), match=says):
        load_prompts(f"{tmp_path}/own.py:prompts")
