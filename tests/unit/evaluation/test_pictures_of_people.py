"""Pictures as people have them: turned, grey, deep, transparent, beside hidden files, of any proportions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kedge.evaluation.grid import fit
from kedge.evaluation.image_folder import read_image_folder
from kedge.pixels import as_rgb
from kedge.study.create import _save_alike
from kedge.study.sources import FolderSource

LEVELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As a camera stores it that notes ``orientation``: the inverse of what a viewer does."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a[:, ::-1].transpose(1, 0, 2)[:, :],
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a[::-1].transpose(1, 0, 2),
    }
    return np.ascontiguousarray(undo[orientation](pixels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_seen_the_right_way_up(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = turned(LEVELS, orientation)
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(np.asarray(as_rgb(tmp_path / "x.png")), LEVELS)


def test_modes_of_pillow_are_shown_as_they_look(tmp_path):
    grey = np.array([[0, 128, 255]], np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=-1)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for name, image in {"deep": deep, "grey": Image.fromarray(grey)}.items():
        image.save(tmp_path / f"{name}.png")
        assert np.array_equal(np.asarray(as_rgb(tmp_path / f"{name}.png")), expected), name
    assert np.array_equal(np.asarray(as_rgb(Image.fromarray(grey.astype(np.int32) * 257))), expected)
    for mode in ("1", "L", "P", "LA", "La", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I;16", "I"):
        assert as_rgb(Image.new(mode, (2, 2))).mode == "RGB", mode
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert as_rgb(half).getpixel((0, 0)) == (127, 127, 127)
    assert as_rgb(half.convert("RGBa")).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "x.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(ValueError, match=r"x\.jpg cannot be read as a picture"):
        as_rgb(path)
    with pytest.raises(ValueError, match="floating-point"):
        as_rgb(Image.new("F", (2, 2)))


def test_hidden_files_are_no_pictures(tmp_path):
    for name in ("1.png", "._1.png", ".hidden.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "prompts.txt").write_text("a cat\n")
    assert [path.name for path in read_image_folder(tmp_path)[0]] == ["1.png"]


def ball(size: tuple[int, int]) -> Image.Image:
    """A white disc of a quarter of the shorter side on black."""
    width, height = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(size) / 4) ** 2
    return Image.fromarray((inside * 255).astype(np.uint8)).convert("RGB")


@pytest.mark.parametrize(("size", "into"), [((96, 192), (128, 192)), ((64, 64), (96, 192)), ((200, 100), (64, 64))])
def test_a_ball_stays_round(size, into):
    fitted = np.asarray(fit(ball(size), into, "#808080").convert("L"))
    assert fitted.shape == into[::-1]
    white = fitted > 200
    across, down = white.any(0).sum(), white.any(1).sum()
    assert abs(int(across) - int(down)) <= 1
    assert across >= 8


def test_both_pictures_of_a_pair_keep_their_proportions(tmp_path):
    names = _save_alike(tmp_path, ball((128, 128)), ball((96, 192)))
    sizes = []
    for name in names:
        image = Image.open(tmp_path / name)
        white = np.asarray(image.convert("L")) > 200
        sizes.append(image.size)
        assert abs(int(white.any(0).sum()) - int(white.any(1).sum())) <= 1
    assert sizes == [(128, 192)] * 2


def test_every_picture_of_a_prompt_takes_its_turn(tmp_path: Path):
    for i in range(4):
        Image.new("RGB", (2, 2), (i, i, i)).save(tmp_path / f"{i}.png")
    (tmp_path / "prompts.txt").write_text("a cat\na dog\na cat\na dog\n")
    source = FolderSource(tmp_path)
    drawn = source.pictures(["a cat", "a dog"] * 3, [0] * 6, [0, 0, 1, 1, 2, 2])
    assert [picture.getpixel((0, 0))[0] for picture in drawn] == [0, 1, 2, 3, 0, 1]
