"""Where else the numbers go: TensorBoard with the config, one's own tracker, and those that are not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.training_world import recipe
from kedge.config import ConfigError, load_config, parse_config
from kedge.training.before_loading import check_before_loading
from kedge.training.run import train
from kedge.training.trackers import check_trackers, flat_settings

OWN = """
import json

class Tracker:
    def __init__(self, folder, settings):
        self.file, self.settings, self.lines = folder / "own.jsonl", settings, []
    def start(self, step):
        self.lines.append({"started": step, "lr": self.settings["optimizer.lr"]})
    def log(self, step, numbers):
        self.lines.append({"step": step, **numbers})
    def image(self, step, name, image):
        self.lines.append({"step": step, "image": name, "shape": list(image.shape)})
    def close(self):
        self.file.write_text("".join(json.dumps(line) + "\\n" for line in self.lines))

class Lame:
    def start(self, step): ...
"""


def test_ones_own_tracker_gets_numbers_pictures_and_the_config(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    tracker = f"{tmp_path / 'mine.py'}:Tracker"
    config = parse_config(
        recipe(watch={"trackers": [tracker], "samples_every": 1, "samples_count": 1}, training__steps=2)
    )
    train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "own.jsonl").read_text().splitlines()]
    assert lines[0] == {"started": 0, "lr": 1e-2}
    assert [line["step"] for line in lines if "reward" in line] == [1, 2]
    pictures = [line for line in lines if line.get("image") == "samples"]
    assert [line["step"] for line in pictures] == [0, 1, 2]
    assert pictures[0]["shape"][0] == 3


def test_tensorboard_has_the_config_as_text_and_hyper_parameters(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = parse_config(recipe(watch={"trackers": "tensorboard", "tensorboard": False, "samples_every": 0}))
    train(config, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = events.Tags()
    assert "reward" in tags["scalars"]
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "optimizer.lr: 0.01" in text
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"optimizer.lr" in content


@pytest.mark.parametrize(
    ("tracker", "words"),
    [
        ("wanbd", ("watch.trackers", "'wanbd'", "Did you mean 'wandb'", "module:Class")),
        ("nomodule:Tracker", ("watch.trackers", "'nomodule'")),
        ("mine.py:Lame", ("mine.py:Lame", "'log'", "start, log, image and close")),
    ],
)
def test_a_tracker_that_cannot_be_is_refused_before_anything_loads(tmp_path, monkeypatch, tracker, words):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    config = parse_config(recipe(watch={"trackers": [tracker]}))
    with pytest.raises(ConfigError) as caught:
        train(config, tmp_path / "run")
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"watch\.trackers"):  # what a dry run asks
        check_before_loading(config)


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_what_is_not_installed_says_how_to_get_it(tracker):
    if importlib.util.find_spec(tracker) is not None:
        pytest.skip(f"{tracker} is installed here")
    with pytest.raises(ConfigError, match=f"pip install {tracker}"):
        check_trackers(parse_config(recipe(watch={"trackers": [tracker]})))


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_a_run_is_recorded_offline(tracker, tmp_path):
    """By the real package, where it is installed."""
    pytest.importorskip(tracker)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(recipe(watch={"trackers": [tracker], "samples_every": 1})))
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "WANDB_MODE": "offline"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "kedge", "train", "my.yaml", "training.steps=2", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = [*(tmp_path / "run").glob("wandb/offline-run-*/*.wandb"), *(tmp_path / "trackio").rglob("*.db")]
    assert written
    assert any(b"optimizer.lr" in Path(file).read_bytes() for file in written)


def test_hyper_parameters_are_plain_values_under_dotted_keys():
    settings = flat_settings(load_config(Path(__file__).parents[3] / "src/kedge/presets/emoji-rocm.yaml"))
    assert settings["algorithm.divergence"] == "kl"
    assert settings["model.name"] == "emoji-lcm"
    assert all(isinstance(value, int | float | str | bool) for value in settings.values())
