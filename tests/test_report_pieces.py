"""The pieces of a report: pictures, curves, settings, numbers in words."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aedist.pictures import grid
from aedist.plotstyle import DOT
from aedist.report import figures, panels, pictures, zoomable
from aedist.report.read import number, read_run
from aedist.report.settings import settings
from aedist.report.words import duration, planned_steps, significant
from reportpage import EPOCHS, STEPS_PER_EPOCH, make_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "shapes_ae")


def test_strips_share_their_images_only_where_they_truly_do(run_dir, tmp_path):
    paths = sorted((run_dir / "images" / "reconstructions").iterdir())
    images = [pictures.load(path) for path in paths]
    upper, lowers = pictures.halve(images)
    assert np.array_equal(np.asarray(upper), np.asarray(images[0])[:11])
    assert [int(np.asarray(lower)[5, 5]) for lower in lowers] == [40, 80, 120]
    pixels = np.asarray(images[1]).copy()
    pixels[3, 3] ^= 1
    assert pictures.halve([images[0], Image.fromarray(pixels)]) is None
    assert pictures.halve(images[:1]) is None


def test_a_picture_much_wider_than_the_page_is_embedded_smaller():
    noise = np.random.default_rng(0).integers(0, 255, (500, 2200, 3), dtype=np.uint8)
    large, small = (pictures.picture(Image.fromarray(pixels)) for pixels in (noise, noise[:, :1400]))
    assert (large.width, large.height, large.enlarged) == (1440, 327, False)
    assert (small.width, small.height) == (1400, 500)
    for noisy in (large, small):
        assert noisy.address.startswith("data:image/jpeg;base64,"), "as a PNG it would be large"
    plain = pictures.picture(Image.new("RGB", (1400, 500), "red"))
    assert plain.address.startswith("data:image/png;base64,"), "others keep their very pixels"


def test_the_pictures_of_the_evaluation_fold_at_the_gap_between_their_rows():
    """What ``aedist.pictures`` draws without a title: each half is one row of images, whole."""
    originals = np.full((3, 8, 8, 1), 200, np.uint8)
    pages = [grid([originals, np.full_like(originals, value)], ["original", "reconstruction"]) for value in (10, 20)]
    upper, lowers = pictures.halve(pages)
    enlarged = (np.asarray(lowers[1])[:, :, 0] == 20).sum()
    assert enlarged == (np.asarray(upper)[:, :, 0] == 200).sum() >= 3 * 64
    assert not (np.asarray(lowers[1])[:, :, 0] == 200).any()


def test_long_runs_show_a_bounded_number_of_strips_first_and_last_among_them():
    paths = [Path(f"step-{step:09d}.png") for step in range(1000)]
    chosen = pictures.spread(paths, 12)
    assert len(chosen) == 12
    assert (chosen[0], chosen[-1]) == (paths[0], paths[-1])
    assert chosen == sorted(set(chosen))


def test_curves_are_thinned_by_means_and_keep_their_area():
    points = [(float(x), float(x % 7)) for x in range(100_000)]
    thinned = panels.thin(points, 1000)
    assert len(thinned) == 1000
    assert thinned.mean(axis=0) == pytest.approx(np.array(points).mean(axis=0))
    assert panels.thin(points[:50], 1000).tolist() == [list(point) for point in points[:50]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([50, 5], True), ([5, 4], False), ([50, 0], False), ([], False), ([float("nan"), 9], False)],
)
def test_axis_is_logarithmic_where_values_span_much(values, expected):
    assert panels.suits_log(values) is expected


def test_figures_take_the_pages_colours():
    series = (panels.Series([(0, 1), (1, 0.5)]), panels.Series([(0.5, 0.7)], DOT, line=False, dots=True))
    svg = figures.draw(panels.Figure("x", "what it shows", (panels.Panel("loss <a>", series),)))
    assert "var(--line)" in svg
    assert "var(--dot)" in svg
    assert not re.search("#[0-9a-f]{6}", svg), "no colour that dark mode could not change"
    assert "loss &lt;a&gt;" in svg


def test_a_run_may_be_called_as_the_plotting_library_calls_its_parts():
    """Ids are numbered anew, so that a page is the same whenever it is made; names are not."""

    def made(name):
        series = panels.Series([(0.0, 1.0), (1.0, 2.0)], name=name)
        return zoomable.document([panels.Figure("loss", "", (panels.Panel("loss", (series,)),))])

    ids = sorted(set(re.findall(r'"(b\d+)"', made("a"))), key=lambda found: int(found[1:]))
    assert ids == [f"b{number}" for number in range(len(ids))]
    names = [f"p{number}" for number in range(1000, 1010)]
    assert [made(name).replace(f'"{name}"', '"a"') for name in names] == [made("a")] * len(names)
    (items,) = json.loads(made("p7"))["items"]
    assert items["roots"] == {items["root_ids"][0]: "loss-0"}


def test_settings_tell_choices_from_defaults():
    found = {
        setting.key: setting
        for setting in settings({"data": {"shards": "s", "memory": 4 * 2**30}, "optim": {"lr": 0.1, "old": 1}})
    }
    assert not found["data.memory"].differs, "a size written as bytes is the default 4GiB"
    assert (found["optim.lr"].value, found["optim.lr"].default, found["optim.lr"].differs) == ("0.1", "0.001", True)
    assert found["data.shards"].default is None
    assert found["optim.old"].differs, "a key of another version is shown"


def test_planned_steps_leave_out_the_last_incomplete_batch(run_dir):
    assert planned_steps(read_run(run_dir)) == EPOCHS * STEPS_PER_EPOCH


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.04, "7.0 s"), (59.99, "1 min 0 s"), (61, "1 min 1 s"), (7261, "2 h 1 min")]
)
def test_durations_read_well(seconds, text):
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_number_is_nan_where_there_is_none():
    assert number({"a": {"b": 2}}, "a", "b") == 2
    assert np.isnan(number({"a": 1}, "a", "b"))
    assert np.isnan(number({"a": None}, "a"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7943, "0.794"), (112.4758, "112"), (0, "0.00"), (0.01234, "0.0123"), (2e-6, "2.00e\N{MINUS SIGN}06"),
        (1234.5, "1,234"),
    ],
)  # fmt: skip
def test_numbers_keep_the_digits_that_mean_something(value, text):
    assert significant(value) == text
