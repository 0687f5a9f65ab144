"""Where weights are looked for, and what is said when they are not there."""

from __future__ import annotations

import pytest

from helpers.tiny_rewards import write_aesthetic, write_clip, write_hps
from kedge.rewards import MissingWeightsError, find, load_reward, readiness, sources


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """No published weights, wherever the tests run."""
    monkeypatch.setenv("KEDGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(sources, "world_assets", lambda: tmp_path / "assets")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pickscore", ["yuvalkirstain/PickScore_v1", "3.94 GB", "licence", "hf download yuvalkirstain/PickScore_v1"]),
        ("hpsv2", ["xswu/HPSv2", "1.97 GB", "Apache-2.0", "hf download xswu/HPSv2 HPS_v2_compressed.pt"]),
        ("hpsv2.1", ["hf download xswu/HPSv2 HPS_v2.1_compressed.pt"]),
        ("aesthetic", ["sac+logos+ava1-l14-linearMSE.pth", "4 MB", "curl -L"]),
        ("blipscore", ["model_large.pth", "1.80 GB", "BSD-3-Clause", "curl -L"]),
        ("imagereward", ["THUDM/ImageReward", "hf download THUDM/ImageReward ImageReward.pt"]),
        ("pickscore@emoji", ["assets", "kedge world build"]),
        ("pickscore@someone/else", ["someone/else", "hf download someone/else"]),
    ],
)
def test_missing_weights_say_what_to_fetch(name, says):
    with pytest.raises(MissingWeightsError) as error:
        load_reward(name)
    for words in says:
        assert words in str(error.value)


def test_neither_path_nor_hub_id():
    with pytest.raises(ValueError, match="no such file or folder"):
        load_reward("pickscore@/no/such/folder")


def test_incomplete_folder_is_named(tmp_path):
    folder = write_clip(tmp_path / "clip")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match=r"lacks model\.safetensors or pytorch_model\.bin"):
        load_reward(f"pickscore@{folder}")


def test_folder_with_several_checkpoints_asks_which(tmp_path):
    folder = write_hps(tmp_path / "hps").parent
    assert sources.locate(find("hpsv2"), str(folder))["checkpoint"].name == "HPS_v2_compressed.pt"
    (folder / "HPS_v2_compressed.pt").rename(folder / "one.pt")
    (folder / "two.pt").touch()
    with pytest.raises(MissingWeightsError, match=r"found one\.pt, two\.pt; give the file itself"):
        load_reward(f"hpsv2@{folder}")


def test_companions_come_from_beside_the_file(tmp_path):
    head = write_aesthetic(tmp_path / "a")
    assert sources.locate(find("aesthetic"), str(head)) == {"head": head, "clip": tmp_path / "a" / "clip"}
    assert sources.locate(find("aesthetic"), str(head.parent)) == {"head": head, "clip": tmp_path / "a" / "clip"}


def test_published_file_is_found_where_the_command_puts_it(tmp_path):
    spec = find("aesthetic")
    home = tmp_path / "home" / "weights"
    assert str(home / spec.parts[0].files[0]) in sources.fetch_command(spec.parts[0])
    home.mkdir(parents=True)
    head = write_aesthetic(tmp_path / "a").rename(home / spec.parts[0].files[0])
    assert sources.find_published(spec.parts[0]) == head


def test_hub_files_are_found_in_the_hub_cache(tmp_path):
    snapshot = tmp_path / "hub" / "models--yuvalkirstain--PickScore_v1" / "snapshots" / "abc"
    write_clip(snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    assert sources.locate(find("pickscore"), None) == {"clip": snapshot}
    assert load_reward("pickscore").name == "pickscore"
    ready = {row.name: row for row in readiness()}
    assert ready["pickscore"].ready
    assert not ready["hpsv2"].ready


def test_readiness_covers_every_reward():
    rows = {row.name: row for row in readiness()}
    assert rows["compressibility"].ready
    assert not rows["alignment"].ready
    assert "http://HOST:PORT/v1" in rows["alignment"].advice
    assert not rows["pickscore@emoji"].ready
    for row in rows.values():
        assert row.ready == (row.advice == "")
