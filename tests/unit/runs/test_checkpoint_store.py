"""Checkpoints: whole or not there, checked, the last few kept."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.runs.checkpoint import (
    CheckpointError,
    CheckpointStore,
    random_state,
    read,
    restore_random_state,
    seed_everything,
)


def state(step: int) -> dict:
    return {"step": step, "weights": [torch.full((3,), float(step))], "nested": {"x": [1, "two", None, True]}}


def test_the_last_few_are_kept(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    assert store.latest() is None
    for step in (1, 20, 300):
        store.save(step, state(step))
    assert store.steps() == [20, 300]
    step, restored = store.latest()
    assert step == 300
    assert torch.equal(restored["weights"][0], torch.full((3,), 300.0))
    assert restored["nested"] == state(0)["nested"]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_run_that_went_back_behind_damaged_checkpoints_keeps_what_it_saves(tmp_path, keep):
    """The damaged ones have later numbers, and once took the places of those to keep."""
    store = CheckpointStore(tmp_path, keep=2)
    for step in (90, 100):
        store.save(step, state(step))
        (tmp_path / f"step-{step:08d}" / "state.pt").write_bytes(b"")
    store = CheckpointStore(tmp_path, keep)
    for step in (10, 20, 30):
        assert store.save(step, state(step)).is_dir()
        assert store.latest()[0] == step
    assert store.steps() == [20, 30][-keep:]


def test_saving_a_step_again_replaces_it(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    store.save(1, state(1))
    store.save(1, state(7))
    assert store.latest()[1]["step"] == 7


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["state.pt", "manifest.json"]), st.floats(0, 1, exclude_max=True), st.booleans())
def test_any_damage_is_noticed(tmp_path_factory, name, where, cut):
    store = CheckpointStore(tmp_path_factory.mktemp("damage"), keep=3)
    store.save(1, state(1))
    path = store.save(2, state(2)) / name
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    if cut:
        content = content[:place]
    else:
        content[place] ^= 0x55
    path.write_bytes(content)
    step, restored = store.latest()
    # A changed letter in the manifest's step or spaces harms nothing; anything else goes back to the one before.
    assert (step, restored["step"]) in ((1, 1), (2, 2))
    if name == "state.pt":
        assert step == 1


def test_missing_files_are_named(tmp_path):
    path = CheckpointStore(tmp_path).save(3, state(3))
    (path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"step-00000003 is damaged .*manifest\.json"):
        read(path)


def test_drafts_of_a_killed_process_are_ignored_and_cleared(tmp_path):
    draft = tmp_path / ".step-00000009.123"
    draft.mkdir()
    (draft / "state.pt").write_bytes(b"half")
    store = CheckpointStore(tmp_path)
    assert store.latest() is None
    store.save(1, state(1))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


class Odd:
    pass


def test_a_state_that_could_not_be_read_back_is_refused_when_it_is_saved(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, state(1))
    with pytest.raises(CheckpointError, match="cannot be read back"):
        store.save(2, {"odd": Odd()})
    assert store.steps() == [1]
    assert store.latest()[0] == 1


def test_random_streams_come_back_through_a_checkpoint(tmp_path):
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]  # noqa: NPY002

    seed_everything(5)
    first = draw()
    seed_everything(5)
    assert draw() == first

    CheckpointStore(tmp_path).save(1, {"random": random_state()})
    expected = draw()
    draw()
    restore_random_state(CheckpointStore(Path(tmp_path)).latest()[1]["random"])
    assert draw() == expected
