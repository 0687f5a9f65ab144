from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kedge.evaluation.image_folder import is_image_folder, read_image_folder, write_image_folder

PROMPTS = ["a cat", "two «foxes»", "a dog"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(["2.png", "10.jpg", "1.PNG"]):
        Image.new("RGB", (4, 4), (i * 50, 0, 0)).save(tmp_path / name)
    return tmp_path


def test_written_folders_read_back(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    paths, prompts = read_image_folder(write_image_folder(tmp_path / "out", images, PROMPTS))
    assert prompts == PROMPTS
    assert all((np.asarray(Image.open(p)) == image).all() for p, image in zip(paths, images, strict=True))
    assert is_image_folder(tmp_path / "out")
    assert not is_image_folder(tmp_path)


def test_names_are_in_natural_order(folder: Path) -> None:
    paths, prompts = read_image_folder(folder, PROMPTS)
    assert [p.name for p in paths] == ["1.PNG", "2.png", "10.jpg"]
    assert prompts == PROMPTS


def test_prompts_from_a_list_from_neighbours_and_from_metadata(folder: Path) -> None:
    for name, prompt in zip(["1", "2", "10"], PROMPTS, strict=True):
        (folder / f"{name}.txt").write_text(prompt + "\n", encoding="utf-8")
    assert read_image_folder(folder)[1] == PROMPTS
    (folder / "prompts.txt").write_text("x\n\ny\nz\n")
    assert read_image_folder(folder)[1] == ["x", "y", "z"]
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "10.jpg", "text": "ten"}\n{"file_name": "1.PNG", "text": "one"}\n'
        '{"file_name": "2.png", "text": "two"}\n'
    )
    assert read_image_folder(folder)[1] == ["one", "two", "ten"]


def test_what_is_missing_is_named(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ValueError, match=r"add prompts\.txt"):
        read_image_folder(folder)
    with pytest.raises(ValueError, match="3 images, but there are 1 prompts"):
        read_image_folder(folder, ["a"])
    (folder / "metadata.jsonl").write_text('{"file_name": "1.PNG", "text": "one"}\n')
    with pytest.raises(ValueError, match=r"no prompt for 2\.png \(2 missing\)"):
        read_image_folder(folder)
    (folder / "metadata.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="line 1: expected file_name"):
        read_image_folder(folder)
    with pytest.raises(ValueError, match="holds no images"):
        read_image_folder(tmp_path_factory.mktemp("empty"))
