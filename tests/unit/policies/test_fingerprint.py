"""Which weights a base model is made of, and what happens when an adapter meets another."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from kedge import hashing as module
from kedge.hashing import file_hash
from kedge.models import BUNDLED, ModelParts
from kedge.policies.fingerprint import KNOWN, Fingerprint, OtherBaseError, check_base, fingerprint
from kedge.policies.weight_files import weight_files

FILE = "diffusion_pytorch_model"


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("KEDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def known(name: str | Path, parts: ModelParts | None = None) -> Fingerprint:
    present = fingerprint(name, parts)
    assert present is not None
    return present


def changed(model: Path, folder: Path, file: str = f"unet/{FILE}.safetensors") -> Path:
    """A copy of a model with one bit of one file flipped."""
    shutil.copytree(model, folder)
    data = bytearray((folder / file).read_bytes())
    data[-1] ^= 1
    (folder / file).write_bytes(data)
    return folder


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_model_has_a_name_in_the_table(name):
    present = known(name)
    assert present.digest in KNOWN, f"a new world: add {present.digest!r}: '{name} of world N' to KNOWN"
    assert KNOWN[present.digest].startswith(name)
    assert set(present.parts) == {"transformer" if name == "emoji-flow" else "unet", "vae", "text_encoder"}


def test_a_parts_hash_is_that_of_its_file(micro_lcm: Path):
    data = (micro_lcm / "vae" / f"{FILE}.safetensors").read_bytes()
    assert known(micro_lcm).parts["vae"] == hashlib.sha256(data).hexdigest()


def test_equal_weights_are_one_base_wherever_they_lie(micro_lcm: Path, tmp_path: Path):
    copy = Path(shutil.copytree(micro_lcm, tmp_path / "elsewhere"))
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text() + "\n")
    assert known(copy).digest == known(micro_lcm).digest
    assert known(copy).name == str(copy)


@pytest.mark.parametrize(
    "file", [f"unet/{FILE}.safetensors", f"vae/{FILE}.safetensors", "text_encoder/model.safetensors"]
)
def test_one_bit_makes_another_base(micro_lcm: Path, tmp_path: Path, file: str):
    one, other = known(micro_lcm), known(changed(micro_lcm, tmp_path / "model", file))
    assert one.digest != other.digest
    assert {part for part in one.parts if one.parts[part] != other.parts[part]} == {file.partition("/")[0]}


def test_what_does_not_draw_does_not_count(micro_lcm: Path, tmp_path: Path):
    copy = Path(shutil.copytree(micro_lcm, tmp_path / "model"))
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "safety_checker": ["x", "Y"]}))
    (copy / "safety_checker").mkdir()
    (copy / "safety_checker" / "model.safetensors").write_bytes(b"anything")
    assert known(copy).digest == known(micro_lcm).digest


def test_parts_from_elsewhere_count_in_place_of_the_models_own(micro_lcm: Path, tmp_path: Path):
    other = changed(micro_lcm, tmp_path / "other")
    lora = tmp_path / "lcm.safetensors"
    lora.write_bytes(b"a lora")
    swapped = known(micro_lcm, ModelParts(unet=str(other)))
    assert swapped.digest == known(other).digest
    assert not swapped.whole
    assert known(micro_lcm, ModelParts(unet=str(other / "unet"))) == swapped
    assert known(micro_lcm, ModelParts(vae=str(other))).digest == known(micro_lcm).digest
    assert known(micro_lcm, ModelParts(lcm_lora=str(lora))).parts["lcm_lora"] == file_hash(lora)


@pytest.mark.parametrize(
    ("files", "variant", "loaded"),
    [
        ([f"{FILE}.safetensors", f"{FILE}.fp16.safetensors"], None, [f"{FILE}.safetensors"]),
        ([f"{FILE}.safetensors", f"{FILE}.fp16.safetensors"], "fp16", [f"{FILE}.fp16.safetensors"]),
        ([f"{FILE}.fp16.safetensors"], None, [f"{FILE}.fp16.safetensors"]),
        ([f"{FILE}.safetensors"], "fp16", [f"{FILE}.safetensors"]),
        ([f"{FILE}.bin", f"{FILE}.safetensors"], None, [f"{FILE}.safetensors"]),
        ([f"{FILE}.bin", "openvino_model.bin"], None, [f"{FILE}.bin"]),
        ([f"{FILE}.safetensors", f"{FILE}.non_ema.safetensors"], None, [f"{FILE}.safetensors"]),
        (
            [f"{FILE}-0000{i}-of-00002.safetensors" for i in (2, 1)] + [f"{FILE}.fp16-00001-of-00001.safetensors"],
            None,
            [f"{FILE}-0000{i}-of-00002.safetensors" for i in (1, 2)],
        ),
        ([f"model-0000{i}-of-00002.fp16.safetensors" for i in (1, 2)] + ["model.safetensors"], "fp16", None),
    ],
)
def test_the_files_that_would_be_loaded(tmp_path: Path, files, variant, loaded):
    (tmp_path / "model_index.json").write_text(json.dumps({"unet": ["diffusers", "UNet2DConditionModel"]}))
    (tmp_path / "unet").mkdir()
    for name in files:
        (tmp_path / "unet" / name).write_bytes(name.encode())
    files_by_part = weight_files(tmp_path, ModelParts(variant=variant))
    assert [path.name for path in files_by_part["unet"]] == (loaded or files[:2])


def hub_file(cache: Path, repo: str, name: str, data: bytes, blob: str) -> Path:
    """A file as huggingface_hub keeps it: a blob named by its hash, and a link to it in the snapshot."""
    root = cache / f"models--{repo.replace('/', '--')}"
    for folder in (root / "blobs", root / "refs", (root / "snapshots" / "c0ffee" / name).parent):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text("c0ffee")
    (root / "blobs" / blob).write_bytes(data)
    (root / "snapshots" / "c0ffee" / name).symlink_to(root / "blobs" / blob)
    return root / "snapshots" / "c0ffee" / name


def test_a_hub_models_hashes_are_the_names_of_its_blobs(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    index = {"unet": ["diffusers", "UNet2DConditionModel"]}
    hub_file(tmp_path, "me/model", "model_index.json", json.dumps(index).encode(), "e" * 40)
    hub_file(tmp_path, "me/model", f"unet/{FILE}.safetensors", b"never read", "a" * 64)
    assert known("me/model").parts == {"unet": "a" * 64}
    hub_file(tmp_path, "me/lora", "pytorch_lora_weights.safetensors", b"never read", "b" * 64)
    assert known("me/model", ModelParts(lcm_lora="me/lora")).parts["lcm_lora"] == "b" * 64


@pytest.mark.parametrize("name", ["nobody/nothing", "no such model", "/no/such/folder"])
def test_what_is_not_here_has_no_fingerprint(name):
    assert fingerprint(name) is None


def test_a_small_file_is_read_once_in_a_process_until_it_changes(tmp_path: Path, monkeypatch):
    """A run asks what its base is before it is loaded and after."""
    read: list[Path] = []
    real = module._read_hash
    monkeypatch.setattr(module, "_read_hash", lambda path: read.append(path) or real(path))
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    first = file_hash(file)
    assert file_hash(file) == first
    assert read == [file]
    os.utime(file, ns=(1, 1))
    assert file_hash(file) == first
    (tmp_path / "other").write_bytes(b"changed")  # as long, and moved over it with the same time
    os.utime(tmp_path / "other", ns=(1, 1))
    (tmp_path / "other").replace(file)
    assert file_hash(file) == hashlib.sha256(b"changed").hexdigest()
    assert len(read) == 3


def test_a_large_file_is_read_once_until_it_changes(home: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 4)
    read: list[Path] = []
    monkeypatch.setattr(
        module, "_read_hash", lambda path: read.append(path) or hashlib.sha256(path.read_bytes()).hexdigest()
    )
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    first = file_hash(file)
    assert file_hash(file) == first
    assert len(read) == 1
    file.write_bytes(b"changed")
    os.utime(file, ns=(1, 1))
    assert file_hash(file) != first
    (home / "fingerprints.json").write_text("damaged")
    assert file_hash(file) != first
    assert len(read) == 3


def test_a_home_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 4)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("KEDGE_HOME", str(tmp_path / "file"))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert file_hash(tmp_path / "model.safetensors") == hashlib.sha256(b"weights").hexdigest()


def test_another_base_is_refused_by_name(micro_lcm: Path, tmp_path: Path):
    present, other = known(micro_lcm), known(changed(micro_lcm, tmp_path / "other"))
    check_base(present.to_dict(), present, "runs/my")
    check_base(present.to_dict(), None, "runs/my")
    with pytest.raises(OtherBaseError) as error:
        check_base(present.to_dict(), other, "runs/my")
    message = str(error.value)
    for expected in (
        "runs/my",
        str(present),
        str(other),
        "Different: unet.",
        "model.name",
        "kedge train runs/my --out",
    ):
        assert expected in message


def test_a_bundled_base_is_called_by_its_world():
    present = known("emoji-lcm")
    past = Fingerprint("emoji-lcm", "0" * 64, {**present.parts, "vae": "1" * 64})
    with pytest.raises(OtherBaseError) as error:
        check_base(past.to_dict(), present, "runs/my")
    assert KNOWN[present.digest] in str(error.value)
    assert "emoji-lcm (00000000)" in str(error.value)
    assert "version of Kedge that made the run" in str(error.value)


def test_a_run_without_record_is_taken_at_its_word_unless_its_world_is_gone(micro_lcm: Path, caplog):
    check_base(None, known(micro_lcm), "runs/old")
    assert "runs/old does not record the base" in caplog.text
    gone = Fingerprint("emoji-lcm", "f" * 64)
    with pytest.raises(OtherBaseError, match="trained on emoji-lcm of world 1"):
        check_base(None, gone, "runs/old")
    check_base(None, Fingerprint("emoji-lcm", "f" * 64, whole=False), "runs/old")  # its UNet came from elsewhere
