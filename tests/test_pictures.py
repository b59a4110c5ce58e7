"""Picture grids show the very pixels they were given, enlarged by whole pixels, each in its row and column."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFont

from aedist.pictures import grid, in_rows, save_picture, wrap


def cells(picture: Image.Image, image: NDArray[np.uint8], times: int) -> list[tuple[int, int]]:
    """The (top, left) corners at which an image stands in a picture, enlarged ``times`` times."""
    pixels = np.asarray(picture)
    colour = np.broadcast_to(image, (*image.shape[:2], 3))
    big = colour.repeat(times, axis=0).repeat(times, axis=1)
    height, width, _ = big.shape
    corners = np.argwhere((pixels == big[0, 0]).all(axis=2))
    return [(y, x) for y, x in corners.tolist() if np.array_equal(pixels[y : y + height, x : x + width], big)]


@pytest.mark.parametrize(("shape", "times"), [((9, 8, 1), 9), ((9, 8, 3), 9), ((20, 80, 3), 1)])
def test_every_image_stands_once_in_its_row_and_column(
    tmp_path: Path, rng: np.random.Generator, shape: tuple[int, int, int], times: int
) -> None:
    rows = [rng.integers(0, 255, (3, *shape), dtype=np.uint8) for _ in range(2)]
    picture = grid(rows, ["inputs", "outputs"], ["a", "b", "c"], "a title")
    read = Image.open(save_picture(picture, tmp_path / "deep" / "folder" / "grid.png"))
    assert read.format == "PNG"
    found = [[cells(read.convert("RGB"), image, times) for image in images] for images in rows]
    assert all(len(corners) == 1 for row in found for corners in row)
    tops = [[corners[0][0] for corners in row] for row in found]
    lefts = [[corners[0][1] for corners in row] for row in found]
    assert lefts[0] == lefts[1] == sorted(set(lefts[0]))
    assert [len(set(row)) for row in tops] == [1, 1]
    assert tops[0][0] + shape[0] * times < tops[1][0]


def test_labels_and_title_take_room_only_where_they_are_given(rng: np.random.Generator) -> None:
    images = [rng.integers(0, 255, (2, 8, 8, 1), dtype=np.uint8)]
    bare = grid(images, [""])
    assert grid(images, ["inputs"]).width > bare.width
    assert grid(images, [""], ["a", "b"]).height > bare.height
    assert grid(images, [""], title="a title").height > bare.height
    long = grid(images, [""], title="a title that is wider than both of the images below it taken together")
    assert long.width > bare.width
    margin = np.asarray(long)[:, -4:]
    assert (margin == 255).all(), "the title ends before the margin"


def test_rows_without_a_label_each_are_refused(rng: np.random.Generator) -> None:
    images = rng.integers(0, 255, (2, 8, 8, 1), dtype=np.uint8)
    with pytest.raises(ValueError, match="shorter"):
        grid([images, images], ["only one"])


def test_a_cells_label_stands_below_it_and_is_wrapped_to_its_width(rng: np.random.Generator) -> None:
    images = [rng.integers(0, 255, (2, 80, 80, 1), dtype=np.uint8) for _ in range(2)]
    bare, labelled = grid(images), grid(images, cell_labels=[["one", "two words that need lines"], []])
    assert labelled.width == bare.width
    assert labelled.height > bare.height + 16, "several lines"
    tops = [cells(labelled, row[0], 1)[0][0] for row in images]
    between = np.asarray(labelled)[tops[0] + 80 : tops[1], :]
    assert (between < 128).any(), "the label stands between the rows"


def test_a_row_may_have_fewer_images_than_another(rng: np.random.Generator) -> None:
    images = rng.integers(0, 255, (5, 80, 80, 3), dtype=np.uint8)
    rows = in_rows(images, 3)
    assert [len(row) for row in rows] == [3, 2]
    picture = grid(rows)
    assert all(len(cells(picture, image, 1)) == 1 for image in images)


@pytest.mark.parametrize(
    ("shape", "count"), [((256, 256, 3), 8), ((256, 256, 3), 12), ((8, 8, 1), 40), ((100, 300, 3), 20)]
)
def test_a_picture_is_no_wider_than_a_screen(rng: np.random.Generator, shape: tuple[int, int, int], count: int) -> None:
    images = rng.integers(0, 255, (count, *shape), dtype=np.uint8)
    picture = grid([images], ["reconstructions"], title="a long title " * 200, cell_labels=[["0.0123"] * count])
    assert picture.width <= 2300
    if shape[0] * count == 8 * 256:
        assert all(len(cells(picture, image, 1)) == 1 for image in images), "eight of them are shown as they are"


def test_images_that_are_made_smaller_keep_their_colours_and_proportions() -> None:
    images = np.full((20, 100, 300, 3), (10, 200, 30), dtype=np.uint8)
    pixels = np.asarray(grid([images]))
    rows, columns = np.nonzero((pixels == (10, 200, 30)).all(axis=2))
    height, width = np.ptp(rows) + 1, np.count_nonzero(rows == rows[0]) / 20
    assert width / height == pytest.approx(3, rel=0.03)
    assert np.unique(columns).size == 20 * width


@pytest.mark.parametrize("text", ["glasses & man\n(100)", "abcdefghijklmnopqrstuvwxyz", "", "a  b", "iiii WWWWWWWWW"])
def test_wrapping_keeps_every_character_but_spaces_at_breaks(text: str) -> None:
    wrapped = wrap(text, 40)
    assert wrapped.replace("\n", "").replace(" ", "") == text.replace("\n", "").replace(" ", "")
    font = ImageFont.load_default(size=13)
    assert all(font.getlength(line) <= 40 or len(line) == 1 for line in wrapped.split("\n"))
