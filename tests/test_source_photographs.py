"""One photograph to one image: centred, upright, every channel told; and any bytes at all are told or taken."""

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces import PNG8, glasses, opened
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aedist.errors import UserError
from aedist.shards.decode import decode
from aedist.shards.recipe import ImageRecipe
from aedist.shards.samples import Unreadable
from aedist.shards.sources.files import FolderFiles
from aedist.shards.sources.photographs import Framing, find_problem, frame


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(raw: bytes, image: ImageRecipe = PNG8, **framing: Any) -> np.ndarray:
    made = frame(raw, "test", image, Framing(**framing))
    return decode(made, image.encoding, (image.height, image.width, image.channels))


def test_the_centre_is_taken_and_resized_as_pillow_does_it():
    """Against resizing the shorter side and cropping then, where that falls on whole pixels; ``crop`` comes first."""
    pixels = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    expected = Image.fromarray(pixels).resize((12, 8), Image.Resampling.LANCZOS).crop((2, 0, 10, 8))
    np.testing.assert_array_equal(pixels_of(encoded(pixels)), np.asarray(expected))
    cropped = Image.fromarray(pixels[8:24, 16:32]).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels_of(encoded(pixels), crop=16, filter="bicubic"), np.asarray(cropped))
    same = pixels[:8, :8].copy()
    np.testing.assert_array_equal(pixels_of(encoded(same)), same)


def test_what_a_telephone_puts_behind_a_photograph_does_not_spoil_it(tmp_path: Path):
    """A film, say; but a photograph that was cut short within is told, though its thumbnail ends."""
    glasses(tmp_path, each=4)
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "glasses" / "film.jpg")
    whole = (tmp_path / "glasses" / "film.jpg").read_bytes()
    assert len(whole) > 5000, "its end is not among the bytes that are looked at first"
    (tmp_path / "glasses" / "film.jpg").write_bytes(whole + bytes(range(255)) * 100)
    found = opened(tmp_path, test_fraction=0)
    assert len(found) == 9
    assert set(found[list(found.files).index("glasses/film.jpg")]) == {"png", "cls"}
    cut = whole[:2] + b"\xff\xfe\x00\x04\xff\xd9" + whole[2:-300]  # a comment that holds an end
    (tmp_path / "glasses" / "film.jpg").write_bytes(cut)
    with pytest.raises(UserError, match=r"glasses/film\.jpg \(.*[Tt]runcated"):
        opened(tmp_path, test_fraction=0)


def test_photographs_stand_upright_and_lose_no_channel_unseen():
    pixels = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    np.testing.assert_array_equal(pixels_of(encoded(pixels, exif=exif)), np.rot90(pixels, -1))
    opaque = np.dstack([pixels, np.full((8, 8), 255, np.uint8)])
    np.testing.assert_array_equal(pixels_of(encoded(opaque)), pixels)
    opaque[3, 3, 3] = 254
    with pytest.raises(Unreadable, match="it has transparency"):
        pixels_of(encoded(opaque))
    grey = ImageRecipe(height=8, width=8, channels=1, encoding="jpg")
    assert pixels_of(encoded(pixels), grey).shape == (8, 8, 1)
    np.testing.assert_array_equal(pixels_of(encoded(pixels[..., 0])), np.repeat(pixels[..., :1], 3, axis=2))


def test_of_an_animated_image_the_first_picture_is_taken():
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ((200, 10, 10), (10, 200, 10)))
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=[second], lossless=True)
    np.testing.assert_array_equal(pixels_of(stream.getvalue()), np.asarray(first))


SMOOTH = np.clip(np.add.outer(np.arange(40) * 3, np.arange(30) * 2)[..., None] + np.array([0, 20, 40]), 0, 255)
WHOLE = [encoded(SMOOTH.astype(np.uint8), kind) for kind in ("JPEG", "PNG", "WEBP", "BMP")]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_are_a_photograph_or_are_told(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """Arbitrary bytes, and whole files cut short or with bits flipped: an image of the right shape, or Unreadable."""
    raw = bytearray(data.draw(st.one_of(st.binary(max_size=200), st.sampled_from(WHOLE))))
    if raw and data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw)))]
    for place in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=6)) if raw else []:
        raw[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "fuzzed.png"
    path.write_bytes(raw)
    problem = find_problem(FolderFiles(path.parent), path.name, Framing())
    assert problem is None or "\n" not in problem
    with suppress(Unreadable):
        assert pixels_of(bytes(raw)).shape == (8, 8, 3)
