"""JPEG and WebP take the bytes that are allowed and no more, and the quality is the highest that does."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from aedist.evaluation.measures.codecs import DEFINITIONS, encode
from aedist.evaluation.measures.metrics import mse
from samples import image

CODECS = ("jpeg", "webp")


def pictures(channels: int, count: int = 4, side: int = 48) -> Tensor:
    """Blobs with some noise, each channel with its own, so that more bytes show more."""
    rng = np.random.default_rng(5)
    blobs = np.stack([image(5, number, (side, side, channels)) for number in range(count)]).astype(np.int64)
    return torch.from_numpy(np.clip(blobs + rng.integers(-30, 31, blobs.shape), 0, 255).astype(np.uint8))


def file_sizes(pixels: Tensor, codec: str) -> list[int]:
    """Of every quality, as Pillow writes it."""
    found = Image.fromarray(pixels.squeeze(2).numpy() if codec == "jpeg" else pixels.expand(-1, -1, 3).numpy())
    sizes = list[int]()
    for quality in range(1 if codec == "jpeg" else 0, 101):
        file = io.BytesIO()
        options: dict[str, Any] = {"optimize": True} if codec == "jpeg" else {"method": 4}
        found.save(file, codec, quality=quality, **options)
        sizes.append(len(file.getvalue()) - (18 if codec == "jpeg" else 0))  # without the JFIF segment
    return sizes


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_file_fits_and_is_the_largest_that_does(codec: str, channels: int) -> None:
    """By trying every quality: larger ones than the chosen fit by a few bytes at most, where sizes are not monotone."""
    images, allowed = pictures(channels), 700
    decoded, taken = encode(images, codec, allowed)
    assert decoded.shape == images.shape
    assert decoded.dtype == torch.uint8
    assert (taken <= allowed).all()
    for pixels, size in zip(images, taken.tolist(), strict=True):
        best = max(s for s in file_sizes(pixels, codec) if s <= allowed)
        assert best - 30 <= size <= best


@pytest.mark.parametrize("codec", CODECS)
def test_more_bytes_show_more(codec: str) -> None:
    images = pictures(1)
    errors = [mse(images, encode(images, codec, allowed)[0]).mean() for allowed in (400, 700, 1400, 2800)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


@pytest.mark.parametrize("codec", CODECS)
def test_where_nothing_fits_the_lowest_quality_stands_and_tells_its_bytes(codec: str) -> None:
    images = pictures(1, side=28)
    decoded, taken = encode(images, codec, 20)
    for pixels, size in zip(images, taken.tolist(), strict=True):
        assert size == file_sizes(pixels, codec)[0] > 20
    assert (mse(images, decoded) < 0.2).all(), "it still looks like the image"


@pytest.mark.parametrize("codec", CODECS)
def test_with_all_the_bytes_the_highest_quality_is_nearly_the_image(codec: str) -> None:
    images = torch.from_numpy(np.stack([image(5, number, (32, 32, 1)) for number in range(3)]))
    decoded, _ = encode(images, codec, 10**6)
    assert (mse(images, decoded) < 1e-4).all()


@pytest.mark.parametrize("codec", CODECS)
def test_an_image_is_coded_by_itself(codec: str) -> None:
    images = pictures(3)
    together, sizes = encode(images, codec, 600)
    alone, size = encode(images[2:3], codec, 600)
    assert torch.equal(together[2:3], alone)
    assert sizes[2] == size[0]
    nothing, no_sizes = encode(images[:0], codec, 600)
    assert (nothing.shape, no_sizes.shape) == ((0, 48, 48, 3), (0,))


def test_the_definitions_say_what_becomes_of_grey() -> None:
    assert "Grey stays grey" in DEFINITIONS["jpeg"]
    assert "a grey image is stored as colour" in DEFINITIONS["webp"]
