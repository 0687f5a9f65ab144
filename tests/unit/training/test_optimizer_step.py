"""One optimizer step: accumulation, clipping, schedule, average, and what happens without a finite gradient."""

from __future__ import annotations

import copy
import importlib.util
import math
from contextlib import nullcontext

import pytest
import torch
from torch.nn import Parameter

from helpers.training_world import recipe
from kedge.algorithms.base import Loss
from kedge.config import ConfigError, OptimizerConfig, parse_config
from kedge.training.before_loading import check_before_loading
from kedge.training.optimizer import MovingAverage, Optimizer, schedule_factor
from kedge.training.processes import Processes

DATA = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make(config: OptimizerConfig, total: int = 10) -> tuple[Parameter, Optimizer]:
    parameter = Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
    return parameter, Optimizer([parameter], config, total, Processes("cpu"))


def losses(parameter: Parameter, parts: int):
    """The mean over four samples of one loss, in ``parts`` micro-losses; made lazily, as algorithms do."""
    for rows in DATA.chunk(parts):
        per_sample = (rows * parameter).tanh().sum(1).square()
        yield Loss(per_sample.mean() / parts, {"score": per_sample.detach()})


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_four_micro_batches_of_one_equal_one_of_four(clip):
    results = {}
    for parts in (1, 2, 4):
        parameter, optimizer = make(OptimizerConfig(lr=0.1, clip=clip))
        metrics = [optimizer.step(losses(parameter, parts)).metrics for _ in range(5)]
        results[parts] = (parameter.detach().clone(), metrics)
    for parts in (2, 4):
        assert torch.allclose(results[1][0], results[parts][0], rtol=0, atol=1e-12)
        for one, many in zip(results[1][1], results[parts][1], strict=True):
            assert one == pytest.approx(many, abs=1e-6)


def test_logged_numbers_are_means_over_samples_not_over_micro_batches():
    """With step_fraction below 1 micro-batches differ in size; the logged reward is still the samples' mean."""
    parameter, optimizer = make(OptimizerConfig())
    scores = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0])]
    losses = (Loss(parameter.sum() * 0, {"reward": score, "constant": 7.0}) for score in scores)
    metrics = optimizer.step(losses).metrics
    assert metrics["reward"] == pytest.approx(4.0)  # 6.0 if both counted alike
    assert metrics["constant"] == 7.0


def test_each_micro_loss_is_let_go_before_the_next_is_made():
    parameter, optimizer = make(OptimizerConfig())
    alive = 0

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            nonlocal alive
            alive += 1
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            nonlocal alive
            alive -= 1
            return gradient

    def lazily():
        for _ in range(3):
            assert alive == 0
            yield Loss(Watched.apply(parameter).sum())

    optimizer.step(lazily())


@pytest.mark.parametrize("clip", [0.0, 1e-3, 1e3])
def test_clipping_limits_the_norm_and_reports_it_unclipped(clip):
    parameter, optimizer = make(OptimizerConfig(lr=1.0, clip=clip))
    start = Parameter(parameter.detach().clone())
    seen = []
    handle = optimizer._adam.register_step_pre_hook(lambda *_: seen.append(parameter.grad.norm().item()))
    result = optimizer.step(losses(parameter, 1))
    handle.remove()
    norm = result.metrics["gradient_norm"]
    (expected,) = torch.autograd.grad(next(losses(start, 1)).value, [start])
    assert norm == pytest.approx(expected.norm().item(), rel=1e-12)
    assert seen[0] == pytest.approx(min(norm, clip) if clip else norm, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_without_a_finite_gradient_changes_nothing_but_the_count(bad):
    parameter, optimizer = make(OptimizerConfig(lr=0.1, ema=0.5, schedule="linear"), total=4)
    optimizer.step(losses(parameter, 2))
    before, state = parameter.detach().clone(), optimizer.state_dict()
    moments = {k: v.clone() for k, v in state["adam"]["state"][0].items()}
    average = [a.clone() for a in state["ema"]["average"]]

    result = optimizer.step([*losses(parameter, 2), Loss(parameter.sum() * bad)])

    assert result.skipped
    assert torch.equal(parameter, before)
    after = optimizer.state_dict()
    assert all(torch.equal(after["adam"]["state"][0][k], v) for k, v in moments.items())
    assert all(torch.equal(a, b) for a, b in zip(after["ema"]["average"], average, strict=True))
    assert after["steps"] == 2
    good = optimizer.step(losses(parameter, 2))
    assert not good.skipped
    assert good.metrics["lr"] == pytest.approx(0.1 * 2 / 4)


@pytest.mark.parametrize("config", [OptimizerConfig(name=n, lr=0.05, clip=0) for n in ("adam", "adamw")])
def test_it_is_torchs_adam(config):
    parameter, optimizer = make(config)
    twin = Parameter(parameter.detach().clone())
    make_twin = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
    weight_decay = {"weight_decay": 0.0} if config.name == "adamw" else {}
    reference = make_twin([twin], lr=0.05, **weight_decay)
    for _ in range(3):
        optimizer.step(losses(parameter, 2))
        reference.zero_grad()
        sum(loss.value for loss in losses(twin, 2)).backward()
        reference.step()
    assert torch.equal(parameter, twin)


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.999])
def test_the_average_forgets_its_start_soon(decay):
    """a ← d a + (1 − d) θ, with d = min(decay, (1 + n) / (10 + n)) at the n-th update; also across a restart."""
    parameter, expected = Parameter(torch.zeros(3, dtype=torch.float64)), torch.zeros(3, dtype=torch.float64)
    average = MovingAverage([parameter], decay)
    for n in range(1, 60):
        if n == 30:
            state = average.state_dict()
            average = MovingAverage([parameter], decay)
            average.load_state_dict(state)
        parameter.data = torch.tensor([1.0, n, math.sin(n)], dtype=torch.float64)
        average.update()
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * parameter.detach()
        with average.applied():
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-12)


def test_moments_come_back_and_settings_are_the_configs():
    """A resumed run may have other settings: its moments and steps are the old ones', rate and decay are its own."""
    parameter, optimizer = make(OptimizerConfig(lr=0.1, weight_decay=0.1, betas=(0.9, 0.99)))
    for _ in range(3):
        optimizer.step(losses(parameter, 1))
    config = OptimizerConfig(lr=0.01, weight_decay=0.0, betas=(0.5, 0.9), eps=1e-3)
    state = copy.deepcopy(optimizer.state_dict())
    other, resumed = make(config)
    resumed.load_state_dict(optimizer.state_dict())
    assert torch.equal(other, parameter)
    expected = Parameter(parameter.detach().clone())
    reference = torch.optim.AdamW([expected], lr=0.01, weight_decay=0.0, betas=(0.5, 0.9), eps=1e-3)
    reference.load_state_dict({**reference.state_dict(), "state": state["adam"]["state"]})
    resumed.step(losses(other, 1))
    for loss in losses(expected, 1):
        loss.value.backward()
    torch.nn.utils.clip_grad_norm_([expected], config.clip)
    reference.step()
    assert torch.equal(other, expected)


def test_the_average_is_lent_and_given_back():
    parameter, optimizer = make(OptimizerConfig(lr=0.1, ema=0.9))
    start = parameter.detach().clone()
    for _ in range(20):
        optimizer.step(losses(parameter, 1))
    now = parameter.detach().clone()
    with optimizer.averaged():
        lent = parameter.detach().clone()
    assert torch.equal(parameter, now)
    # An average lies between where it started and where the parameter is (each moves steadily here).
    assert 0 < (lent - start).norm() < (now - start).norm()


def test_without_an_average_nothing_is_lent():
    parameter, optimizer = make(OptimizerConfig())
    with optimizer.averaged():
        before = parameter.detach().clone()
    assert torch.equal(parameter, before)


def test_schedules():
    assert [schedule_factor("constant", s, 0, 9) for s in range(3)] == [1, 1, 1]
    assert [schedule_factor("constant", s, 3, 9) for s in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    linear = [schedule_factor("linear", s, 0, 4) for s in range(6)]
    assert linear == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0])
    cosine = [schedule_factor("cosine", s, 2, 6) for s in range(2, 8)]
    assert cosine == pytest.approx([1, 0.5 + 0.5 * math.cos(math.pi / 4), 0.5, 0.5 - 0.5 * math.cos(math.pi / 4), 0, 0])


def test_eight_bit_moments_need_their_package():
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(ValueError, match="pip install bitsandbytes, or use"):
        make(OptimizerConfig(name="adamw8bit"))


def test_nothing_to_train_is_an_error():
    frozen = Parameter(torch.zeros(2), requires_grad=False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        Optimizer([frozen], OptimizerConfig(), 1, Processes("cpu"))


def test_a_decay_that_adam_does_not_have_is_refused() -> None:
    for name, refused in (("adam", True), ("adamw", False)):
        config = parse_config(recipe(optimizer={"name": name, "weight_decay": 0.1}))
        with pytest.raises(ConfigError, match="means nothing to adam") if refused else nullcontext():
            check_before_loading(config)
