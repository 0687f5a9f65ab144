from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kedge.evaluation.grid import DARK, LARGEST, LIGHT, SMALLEST, _font, _measure, as_image, enlarge, image_grid, wrap
from kedge.evaluation.picture_files import description_of, save_picture
from kedge.workflows.sample import Samples


def picture(size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))


def find(grid: Image.Image, image: Image.Image) -> tuple[int, int]:
    """Where ``image`` stands in ``grid``, exactly."""
    canvas, target = np.asarray(grid).astype(int), np.asarray(image).astype(int)
    h, w = target.shape[:2]
    for y, x in np.argwhere((canvas == target[0, 0]).all(-1)):
        window = canvas[y : y + h, x : x + w]
        if window.shape == target.shape and (window == target).all():
            return int(x), int(y)
    raise AssertionError("the picture is not in the grid")


def test_every_picture_is_there_crisp_and_in_its_place() -> None:
    columns = {
        name: torch.stack([picture(seed=10 * j + i) for i in range(3)]) for j, name in enumerate(["base", "tuned"])
    }
    grid = image_grid(columns, ["a", "b", "c"], title="t", note="n")
    where = {
        name: [find(grid, as_image(p).resize((160, 160), Image.Resampling.NEAREST)) for p in column]
        for name, column in columns.items()
    }
    assert len({x for x, _ in where["base"]}) == len({x for x, _ in where["tuned"]}) == 1
    assert [y for _, y in where["base"]] == [y for _, y in where["tuned"]] == sorted(y for _, y in where["base"])
    assert where["base"][0][0] < where["tuned"][0][0]


def test_the_kinds_of_picture_are_equal() -> None:
    pixels = (picture() * 255).round().byte().permute(1, 2, 0).numpy()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    images = [as_image(kind) for kind in (pixels, tensor, Image.fromarray(pixels))]
    assert images[0].tobytes() == images[1].tobytes() == images[2].tobytes()


@pytest.mark.parametrize(("size", "cell"), [(32, 160), (64, 192), (100, 200), (160, 160), (512, 512), (768, LARGEST)])
def test_cells_are_a_whole_multiple_or_at_most_the_largest(size: int, cell: int) -> None:
    grid = image_grid({"": [picture(size)]}, theme=LIGHT)
    margin = (grid.width - cell) // 2
    assert grid.size == (cell + 2 * margin, cell + 2 * margin)
    assert cell >= SMALLEST


def test_enlarging_by_a_whole_factor_repeats_pixels() -> None:
    image = as_image(picture(8))
    big = np.asarray(enlarge(image, (40, 40)))
    assert (big == np.asarray(image).repeat(5, 0).repeat(5, 1)).all()
    assert enlarge(image, (8, 8)) is image
    assert enlarge(image, (20, 20)).size == (20, 20)


def test_empty_cells_captions_and_the_dark_theme() -> None:
    columns = {"base": [picture(), None], "tuned": [picture()]}
    grid = image_grid(columns, captions={"base": ["0.1"]}, theme=DARK)
    assert grid.getpixel((0, 0)) == (0x16, 0x17, 0x1B)
    assert grid.height > image_grid(columns).height


def test_pictures_of_different_shape_share_a_cell_size() -> None:
    assert image_grid({"a": [picture(32)], "b": [torch.zeros(3, 16, 32)]}).width > 2 * 160


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="1 prompts for 2 rows"):
        image_grid({"": [picture(), picture()]}, ["a"])
    with pytest.raises(ValueError, match="at least one picture"):
        image_grid({})


@given(text=st.text(max_size=200), width=st.integers(30, 300), most=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_wrapped_lines_fit(text: str, width: int, most: int) -> None:
    lines = wrap(text, _font(14), width, most)
    assert 1 <= len(lines) <= most
    assert all(_font(14).getlength(line) <= width for line in lines)
    if not any("…" in line for line in lines):
        assert "".join(lines).split() == "".join(text.split()).split() or " ".join(lines).split() == text.split()


@pytest.mark.parametrize("label", ["monkey", "cat", "a fox", "il", "WWW"])
def test_a_short_label_is_whole(label: str) -> None:
    """Its width is no whole number of pixels, and cut off it would be one too narrow for itself."""
    size = (64, 64)
    layout = _measure(size, [label], column_labels=[], captions=False, title="", note="")
    assert wrap(label, _font(layout.text), layout.label - layout.text, 2) == [label]


def test_a_grid_says_in_words_what_it_shows(tmp_path) -> None:
    grid = image_grid({"base": picture()[None], "tuned": picture()[None]}, ["ein Fuchs im Übermut – 夜"])
    words = "Columns: base, tuned. Rows: 1. ein Fuchs im Übermut – 夜"
    assert description_of(save_picture(grid, tmp_path / "grid.png")) == words
    save_picture(grid, tmp_path / "grid.jpg")  # has no place for it
    assert description_of(tmp_path / "grid.jpg") == ""
    plain = image_grid({"": picture()[None]})
    assert description_of(save_picture(plain, tmp_path / "plain.png")) == ""


def test_a_single_tiny_picture_is_large_enough_to_see(tmp_path) -> None:
    tiny, usual = (Samples(picture(size)[None], ("a fox",), (7,)) for size in (32, 256))
    with Image.open(tiny.save(tmp_path / "tiny.png")) as image:
        assert image.size == (SMALLEST, SMALLEST)
        assert image.info["Description"] == "a fox"
        again = image.resize((32, 32), Image.Resampling.NEAREST)
    assert (np.asarray(again) == np.asarray(as_image(tiny.images[0]))).all()  # not a pixel is lost
    with Image.open(usual.save(tmp_path / "usual.png")) as image:
        assert (np.asarray(image) == np.asarray(as_image(usual.images[0]))).all()
