"""Figures of an evaluation: wide enough for a page, the same bytes for the same numbers, whatever the numbers are."""

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from aedist.evaluation.pictures.chart import save_chart
from aedist.evaluation.pictures.figures import error_maps, histograms, kl_bars
from aedist.evaluation.pictures.showcase import extremes, samples
from aedist.plotstyle import SERIES

WIDE = 1440


def metrics(number=500):
    rng = np.random.default_rng(0)
    return {"mse": rng.lognormal(-4, 0.5, number), "psnr": rng.normal(20, 2, number), "made_up": rng.random(number)}


def test_the_same_numbers_give_the_same_pixels():
    first, second = (histograms(metrics(), "mnist/test, N = 500") for _ in range(2))
    assert first.picture.tobytes() == second.picture.tobytes()
    assert first.svg == second.svg
    assert first.picture.width == WIDE
    kl = np.geomspace(5, 1e-4, 20)
    assert kl_bars(kl) == kl_bars(kl[::-1]), "sorted by themselves"


@pytest.mark.parametrize(
    "values", [[], [np.nan], [0.5], [0.5] * 50, [np.nan, 1, 2, np.inf]], ids=["none", "nan", "one", "constant", "mixed"]
)
def test_any_values_make_a_histogram(values):
    assert histograms({"mse": np.array(values, np.float64)}).picture.width == WIDE


@pytest.mark.parametrize("dim", [1, 20, 512, 5000])
def test_any_number_of_numbers_makes_bars(dim):
    kl = np.geomspace(5, 1e-6, dim)
    picture = kl_bars(kl, kl > 0.01, "a title").picture
    assert picture.width == WIDE
    assert picture.height < WIDE / 2


def test_a_kl_that_is_not_finite_is_drawn_as_nothing():
    assert kl_bars(np.array([np.nan, np.inf, 1.0])) == kl_bars(np.array([0.0, 0.0, 1.0]))


def test_error_maps_share_one_scale_and_are_black_where_nothing_differs():
    """Of two images one is reproduced and one is wrong everywhere: its map has the colour at the scale's end."""
    originals = np.full((2, 80, 80, 1), 100, np.uint8)
    reconstructions = originals.copy()
    reconstructions[1] += 51
    pixels = np.asarray(error_maps(originals, reconstructions, ["same", "off"]))
    black, end = (0, 0, 3), (252, 254, 164)  # the ends of inferno
    for colour in (black, end):
        assert (pixels == colour).all(2).sum() >= 80 * 80
    assert not (np.asarray(error_maps(originals, originals))[:180] == end).all(2).any()


@pytest.mark.parametrize("shape", [(3, 28, 28, 1), (8, 256, 256, 3), (1, 8, 8, 3)])
def test_error_maps_of_any_images(shape):
    originals = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    picture = error_maps(originals, originals[:, ::-1])
    assert picture.height > 3 * min(shape[1], 100)


def test_extremes_are_of_the_best_the_median_and_the_worst_in_order_and_none_twice():
    values = np.random.default_rng(2).permutation(100).astype(np.float64)
    found = extremes(values, 10)
    assert [values[one] for one in found["best"]] == [0, 1, 2]
    assert [values[one] for one in found["median"]] == [48, 49, 50, 51]
    assert [values[one] for one in found["worst"]] == [97, 98, 99]
    for few in range(1, 12):
        ids = [one for ids in extremes(values[:few], 10).values() for one in ids]
        assert len(set(ids)) == len(ids) <= few


def test_samples_stand_in_rows_of_ten_or_of_eight_wide_ones():
    small, large = (samples(np.zeros((20, side, side, 1), np.uint8)) for side in (28, 128))
    assert small.width > small.height * 4
    assert large.width > 8 * 128


def test_a_figure_is_also_an_svg_whose_text_is_text(tmp_path):
    drawn = histograms(metrics(), "mnist/test, N = 500")
    path = save_chart(drawn, tmp_path / "histograms.png")
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(drawn.picture))
    tree = ElementTree.parse(path.with_suffix(".svg"))
    texts = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"mnist/test, N = 500", "MSE", "PSNR (dB)"} <= set(texts)
    assert "date" not in drawn.svg


def luminance(colour):
    """WCAG's relative luminance of ``#rrggbb``."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def seen_without_red_or_green(colour, missing):
    """A colour as it is seen without one kind of cone (Vienot, Brettel and Mollon, 1999), linear RGB."""
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]) ** 2.2
    rows = {"red": (0.1124, 0.8876, 0), "green": (0.2928, 0.7072, 0)}
    blue = {"red": (0.0040, -0.0040, 1), "green": (-0.0223, 0.0223, 1)}[missing]
    return np.array([rows[missing], rows[missing], blue]) @ parts


def test_colours_of_lines_stand_out_from_white_and_from_a_dark_page_and_from_each_other():
    for colour in SERIES[:4]:
        assert 1.05 / (luminance(colour) + 0.05) >= 2.9
        assert (luminance(colour) + 0.05) / (luminance("#16191d") + 0.05) >= 3
    for missing in ("red", "green"):
        seen = [seen_without_red_or_green(colour, missing) for colour in SERIES]
        apart = [np.abs(one - other).sum() for place, one in enumerate(seen) for other in seen[:place]]
        assert min(apart) > 0.1
