"""From the bytes of an image file to its pixels: exact, of one shape, or refused.

JPEG goes through libjpeg-turbo with its exact transforms (bit-identical to Pillow's), PNG through Pillow's
PNG reader directly, which skips Pillow's guessing of formats. Grey images become colour where the data set
is colour; any other difference in shape is an error, never a silent resize, and so is whatever 8-bit grey or
RGB cannot hold (16 bits, transparency, CMYK).
"""

import io
import math

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import PngImagePlugin

IMAGE_EXTENSIONS = ("png", "jpg", "jpeg")

MOST_EXTRA_BYTES = 2**24
"""Of a file, beside its pixels: remarks, colour profiles, previews."""

_PNG_DEPTH_AT = 24  # in IHDR, which comes first: 8 bytes of signature, 8 of chunk, 4 of width, 4 of height


def decode(raw: bytes, extension: str, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The pixels of one encoded image.

    Args:
        raw: the file's bytes.
        extension: one of ``IMAGE_EXTENSIONS``.
        shape: (height, width, channels) that it must have; channels 1 or 3.

    Returns:
        uint8 of that shape.

    Raises:
        ValueError: with the reason, if the bytes are no such image.
    """
    pixels = _decode_png(raw, shape) if extension == "png" else _decode_jpeg(raw, shape)
    if pixels.shape != shape:
        raise ValueError(f"is {_spell(pixels.shape)}, but the data set's images are {_spell(shape)}")
    return pixels


def check_bytes(size: int, shape: tuple[int, int, int]) -> None:
    """Refuse a file that is absurdly large for its image, before it is read into memory.

    Raises:
        ValueError: naming both numbers.
    """
    most = MOST_EXTRA_BYTES + 4 * math.prod(shape)
    if size > most:
        raise ValueError(f"its file has {size:,} bytes, but one of {_spell(shape)} takes {most:,} at most")


def _decode_jpeg(raw: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
    _check_size(int(height), int(width), shape)
    if colours in ("CMYK", "YCCK"):
        raise ValueError(f"its colours are {colours}, but images must be grey or RGB")
    if shape[2] == 1 and colours != "Gray":
        raise ValueError("is a colour image, but the data set's images are grey")
    return simplejpeg.decode_jpeg(raw, colorspace="GRAY" if shape[2] == 1 else "RGB")


def _decode_png(raw: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(raw)) as image:
            _check_size(image.height, image.width, shape)
            wanted = "L" if shape[2] == 1 else "RGB"
            if image.mode not in ("1", "L", "P", "RGB"):  # 16 bits or alpha: converting would lose something
                raise ValueError(f"its mode is {image.mode}, but images must be 8-bit grey or RGB")
            if raw[_PNG_DEPTH_AT] > 8:  # Pillow cuts 16-bit RGB to 8 bits and calls it RGB
                raise ValueError(f"it has {raw[_PNG_DEPTH_AT]} bits a channel, but images must be 8-bit grey or RGB")
            if "transparency" in image.info:
                raise ValueError("it has transparency, but images must be 8-bit grey or RGB")
            if wanted == "L" and image.mode not in ("1", "L"):
                raise ValueError("is a colour image, but the data set's images are grey")
            pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    except (OSError, SyntaxError, EOFError, IndexError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return pixels.reshape(*pixels.shape[:2], shape[2])


def _check_size(height: int, width: int, shape: tuple[int, int, int]) -> None:
    """Refuse by the header alone, so that no huge image is ever decoded."""
    if (height, width) != shape[:2]:
        raise ValueError(f"is {height} x {width}, but the data set's images are {shape[0]} x {shape[1]}")


def _spell(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
