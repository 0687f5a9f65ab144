"""What a plan makes of a count, by hand: memory at the worst moment, and disk. The counts are made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from helpers.training_world import recipe
from kedge.config import parse_config
from kedge.planning import plan as module
from kedge.planning.networks import Networks
from kedge.planning.operations import OperationCost
from kedge.planning.plan import Forecast, forecast_of
from kedge.planning.step import StepCost
from kedge.planning.timing import Elapsed
from kedge.planning.watching import LookCost

WEIGHTS, TRAINED, STEP, LOOK, REWARD = 400, 7, 1000, 3000, 50
HELD = WEIGHTS + 4 * TRAINED  # bytes: frozen weights, and the adapter in float32
MOMENTS = 2 * 4 * TRAINED  # Adam's two
PROMPT = 10


@pytest.fixture
def forecast(monkeypatch: pytest.MonkeyPatch):
    """Of a made-up count, on a GPU unless the changes say otherwise."""

    def make(waiting: tuple[int, ...] = (), unpacked: float = 0.0, **changes: Any) -> Forecast:
        sizes = {"unet": (100, WEIGHTS - 2 * REWARD), "reward a": (REWARD, 2 * REWARD)}
        cost = StepCost(
            networks=Networks(sizes, TRAINED, waiting=waiting, loading=0, unpacked=unpacked),
            step=OperationCost(peak=STEP),
            look=LookCost(OperationCost(peak=LOOK), OperationCost(), OperationCost(peak=1)),
            prompt=PROMPT,
            price=None,
            unknown=(),
        )
        monkeypatch.setattr(module, "count_step", lambda config, prompt: cost)
        monkeypatch.setattr(module, "seconds", lambda *_: Elapsed(1.0, 1.0))
        memory = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=10**6))
        monkeypatch.setattr(module.psutil, "Process", lambda: memory)
        planned = forecast_of(parse_config(recipe(**{"training__device": "cuda", **changes})))
        assert planned is not None
        return planned

    return make


def test_a_step_needs_weights_moments_and_what_it_stores(forecast) -> None:
    assert forecast().peak == HELD + MOMENTS + STEP
    assert forecast(optimizer__ema=0.9).peak == HELD + MOMENTS + 4 * TRAINED + STEP
    assert forecast(optimizer__name="adamw8bit").peak == HELD + MOMENTS / 4 + STEP
    assert forecast(unpacked=13).peak == HELD + MOMENTS + 13 + STEP


@pytest.mark.parametrize("key", ["watch__samples_every", "watch__evaluate_every"])
def test_a_look_counts_where_there_is_one(forecast, key) -> None:
    assert forecast(**{key: 1}).peak == HELD + MOMENTS + LOOK


def test_a_text_encoder_that_waits_is_there_to_encode(forecast) -> None:
    """Beside everything else where it is fetched, alone where it is dropped before training; one at a time."""
    offloaded, dropped = {"offload_text_encoders": True}, {"drop_text_encoders": True}
    assert forecast(waiting=(9000, 8000), memory=offloaded).peak == HELD + MOMENTS + 9000
    assert forecast(waiting=(9000, 8000), memory=dropped).peak == 9000
    assert forecast(waiting=(500,), memory=offloaded).peak == HELD + MOMENTS + STEP
    assert forecast(waiting=(500,), memory=dropped).peak == HELD + MOMENTS + STEP


def test_on_a_cpu_it_is_the_process_with_its_prompts_or_while_it_loads(forecast) -> None:
    """Twelve prompts are encoded and kept; while loading, the largest reward's file is there in half precision too."""
    assert forecast(training__device="cpu").peak == 10**6 + HELD + MOMENTS + STEP + 12 * PROMPT
    big = Networks({"unet": (1, 4), "reward a": (10**4, 10**3)}, TRAINED)
    assert (big.bytes, big.largest_file) == (1004 + 4 * TRAINED, 2 * 10**4)


def test_a_large_reward_file_is_the_worst_moment_on_a_cpu(forecast, monkeypatch) -> None:
    monkeypatch.setattr(Networks, "largest_file", property(lambda _: 10**5))
    assert forecast(training__device="cpu").peak == 10**6 + HELD + 10**5


def test_disk_holds_each_checkpoint_that_is_kept_one_more_and_two_adapters(forecast) -> None:
    """A checkpoint has the adapter, two moments and an average; a new one is whole before an old one goes."""
    adapter = 4 * TRAINED
    assert forecast(checkpoint={"every": 1, "keep": 2}).disk == 3 * (3 * adapter) + 2 * adapter
    averaged = forecast(checkpoint={"every": 1, "keep": 4}, optimizer__ema=0.9)
    assert averaged.disk == 5 * (4 * adapter) + 2 * adapter
