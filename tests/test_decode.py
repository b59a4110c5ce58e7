"""Decoding is exact or refused: the same pixels as Pillow bit for bit, and never pixels that were not in the file."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from aedist.shards.decode import decode

HEIGHT, WIDTH = 18, 23
GREY, COLOUR = (HEIGHT, WIDTH, 1), (HEIGHT, WIDTH, 3)
NOISE = np.random.default_rng(0).integers(0, 256, COLOUR, dtype=np.uint8)
Y, X = np.mgrid[:HEIGHT, :WIDTH]
SMOOTH = np.stack([Y * 9, X * 8, Y * 5 + X * 4], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def by_pillow(raw: bytes, mode: str) -> NDArray[np.uint8]:
    pixels = np.asarray(Image.open(io.BytesIO(raw)).convert(mode))
    return pixels.reshape(HEIGHT, WIDTH, 3 if mode == "RGB" else 1)


def raw_png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file by the letter of its specification, without Pillow."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


COLOURED, GREYED = Image.fromarray(SMOOTH), Image.fromarray(NOISE[..., 0])
FILES = {
    "png grey": (encoded(GREYED, "PNG"), "png", "L"),
    "png black and white": (encoded(GREYED.convert("1"), "PNG"), "png", "L"),
    "png RGB": (encoded(Image.fromarray(NOISE), "PNG"), "png", "RGB"),
    "png palette": (encoded(COLOURED.quantize(64), "PNG"), "png", "RGB"),
    "png palette of 4 bits": (encoded(COLOURED.quantize(9), "PNG", bits=4), "png", "RGB"),
    "jpeg grey": (encoded(GREYED, "JPEG"), "jpg", "L"),
    "jpeg 4:2:0": (encoded(COLOURED, "JPEG", quality=75, subsampling=2), "jpeg", "RGB"),
    "jpeg 4:2:2": (encoded(Image.fromarray(NOISE), "JPEG", quality=90, subsampling=1), "jpg", "RGB"),
    "jpeg 4:4:4": (encoded(Image.fromarray(NOISE), "JPEG", quality=95, subsampling=0), "jpg", "RGB"),
    "jpeg progressive": (encoded(COLOURED, "JPEG", progressive=True), "jpg", "RGB"),
}
every_file = pytest.mark.parametrize("name", FILES)


@every_file
def test_pixels_are_pillows_bit_for_bit(name: str) -> None:
    raw, extension, mode = FILES[name]
    pixels = decode(raw, extension, COLOUR if mode == "RGB" else GREY)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, by_pillow(raw, mode))
    assert len(np.unique(pixels)) > 1


@pytest.mark.parametrize("name", [name for name, (*_, mode) in FILES.items() if mode == "L"])
def test_grey_images_become_colour_where_the_data_set_is_colour(name: str) -> None:
    raw, extension, _ = FILES[name]
    pixels = decode(raw, extension, COLOUR)
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., [channel]], decode(raw, extension, GREY))


@pytest.mark.parametrize("name", [name for name, (*_, mode) in FILES.items() if mode == "RGB"])
def test_colour_images_never_become_grey(name: str) -> None:
    raw, extension, _ = FILES[name]
    with pytest.raises(ValueError, match="is a colour image, but the data set's images are grey"):
        decode(raw, extension, GREY)


@every_file
def test_another_size_is_refused_and_both_sizes_named(name: str) -> None:
    raw, extension, _ = FILES[name]
    with pytest.raises(ValueError, match="is 18 x 23, but the data set's images are 23 x 18"):
        decode(raw, extension, (WIDTH, HEIGHT, 3))


@every_file
def test_a_truncated_file_is_refused_or_has_every_pixel(name: str) -> None:
    """A PNG may lose its checksums and its closing chunk, in which no pixel is; any other byte is missed."""
    raw, extension, mode = FILES[name]
    shape = COLOUR if mode == "RGB" else GREY
    whole = decode(raw, extension, shape)
    needed = len(raw) - (4 + 4 + 12 + 4 if extension == "png" else 0)  # checksums of stream and chunk, IEND, padding
    for length in (*range(0, needed, 7), *range(needed, len(raw))):
        try:
            pixels = decode(raw[:length], extension, shape)
        except ValueError:
            continue
        assert length >= needed
        np.testing.assert_array_equal(pixels, whole)


ALPHA = Image.fromarray(np.dstack([SMOOTH, NOISE[..., :1]]))
NOT_WHAT_8_BITS_HOLD = {
    "RGBA": (encoded(ALPHA, "PNG"), "png"),
    "grey and alpha": (encoded(ALPHA.convert("LA"), "PNG"), "png"),
    "a transparent grey": (encoded(GREYED, "PNG", transparency=7), "png"),
    "a transparent colour": (encoded(COLOURED, "PNG", transparency=(1, 2, 3)), "png"),
    "a transparent palette entry": (encoded(COLOURED.quantize(16), "PNG", transparency=0), "png"),
    "16-bit grey": (encoded(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257), "PNG"), "png"),
    "16-bit RGB": (raw_png(WIDTH, HEIGHT, 16, 2, bytes(HEIGHT * (1 + WIDTH * 6))), "png"),
    "CMYK": (encoded(COLOURED.convert("CMYK"), "JPEG"), "jpg"),
}


@pytest.mark.parametrize("name", NOT_WHAT_8_BITS_HOLD)
@pytest.mark.parametrize("shape", [GREY, COLOUR], ids=["grey", "colour"])
def test_what_8_bit_grey_or_rgb_cannot_hold_is_refused(name: str, shape: tuple[int, int, int]) -> None:
    raw, extension = NOT_WHAT_8_BITS_HOLD[name]
    with pytest.raises(ValueError, match=r"must be (8-bit )?grey or RGB"):
        decode(raw, extension, shape)


def test_a_huge_header_is_refused_before_anything_is_allocated() -> None:
    bombs = {"png": raw_png(50_000, 50_000, 8, 2, bytes(100))}
    jpeg = bytearray(FILES["jpeg grey"][0])
    frame = jpeg.index(b"\xff\xc0")  # start of frame: marker, length, precision, height, width
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    bombs["jpg"] = bytes(jpeg)
    for extension, raw in bombs.items():
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=r"0000 x .0000, but the data set's images are 18 x 23"):
                decode(raw, extension, COLOUR)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("extension", ["png", "jpg"])
@pytest.mark.parametrize(
    "raw", [b"", b"\0", b"not an image at all", bytes(5000), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
)
def test_garbage_is_refused(raw: bytes, extension: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(raw, extension, COLOUR)


@settings(max_examples=300, deadline=None, database=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    length=st.integers(0, 2000),
)
def test_whatever_the_bytes_pixels_of_the_shape_or_a_value_error(
    name: str, changes: list[tuple[int, int]], length: int
) -> None:
    """Damage never shows as another kind of error, which would not be told as damage."""
    raw, extension, mode = FILES[name]
    body, shape = bytearray(raw), COLOUR if mode == "RGB" else GREY
    for place, value in changes:
        body[place % len(body)] = value
    try:
        pixels = decode(bytes(body[: len(body) - length % 3]), extension, shape)
    except ValueError:
        return
    assert pixels.shape == shape
