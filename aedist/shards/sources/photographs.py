"""One photograph, of any size, to one image of a data set: upright, cropped at its centre, resized, encoded.

The shorter side is resized and the centre cropped, in one pass (Pillow's ``resize`` with ``box``), with a filter that
averages when it shrinks. EXIF orientation is applied; colour profiles are not. Nothing that 8-bit grey or RGB cannot
hold is taken: transparency, 16 bits, CMYK. The bytes of a JPEG depend on the version of the encoder (libjpeg-turbo, in
simplejpeg), those of a PNG on its pixels alone.
"""

import io
import warnings
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from aedist.section import Section, key
from aedist.shards.png import encode_png
from aedist.shards.recipe import ImageRecipe
from aedist.shards.samples import Unreadable
from aedist.shards.sources.files import Files, shown

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_MODES = ("1", "L", "P", "RGB")
_MODES_WITH_ALPHA = ("LA", "PA", "RGBA")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}


class Framing(Section):
    """How a photograph becomes an image of the recipe's height and width."""

    crop: int | None = key(None, "Side of the square at the centre that is taken first; left out, all there is.", ge=1)
    filter: Literal["lanczos", "bicubic"] = key("lanczos", "The filter that resizes; both average when they shrink.")
    quality: int = key(95, "Of JPEG, without chroma subsampling; png ignores it.", ge=1, le=100)
    max_pixels: int = key(80_000_000, "A photograph of more pixels is not opened.", ge=1, le=170_000_000)


def find_problem(files: Files, name: str, framing: Framing) -> str | None:
    """Why a photograph cannot be used, by its first and last bytes; None if nothing is seen.

    It is decoded only where it does not end as such a file should.
    """
    try:
        raw = files.read(name)
        with warnings.catch_warnings(), _open(raw, framing) as image:
            end = _ENDS.get(str(image.format))
            if end is not None and end not in raw[-64:] and end not in raw[-4096:].rstrip(b"\0"):
                if end not in raw:
                    return "it was cut short"
                image.load()  # a telephone may have put more behind the image, a film even: decoding tells
    except Unreadable as error:
        return error.reason
    except Exception as error:  # a decoder given anything may raise anything
        return _reason(error)
    return None


def frame(raw: bytes, name: str, image: ImageRecipe, framing: Framing) -> bytes:
    """The encoded image of a photograph.

    Args:
        raw: the photograph's file.
        name: what to call it.
        image: height, width, channels and encoding of what is made.
        framing: how.

    Raises:
        Unreadable: with the reason, if the bytes are no photograph that can be used.
    """
    try:
        with warnings.catch_warnings(), _open(raw, framing) as opened:
            upright = ImageOps.exif_transpose(opened)
            flat = _without_alpha(upright).convert("L" if image.channels == 1 else "RGB")
            if framing.crop is not None:
                flat = _centre_square(flat, framing.crop)
            box = _centre_box(flat.width, flat.height, image.width / image.height)
            resized = flat.resize((image.width, image.height), _FILTERS[framing.filter], box=box)
            pixels_hwc = np.asarray(resized).reshape(image.height, image.width, image.channels)
    except Exception as error:  # a decoder given anything may raise anything
        raise Unreadable(shown(name), _reason(error)) from error
    if image.encoding == "png":
        return encode_png(pixels_hwc)
    colours, subsampling = ("GRAY", "Gray") if image.channels == 1 else ("RGB", "444")
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels_hwc), quality=framing.quality, colorspace=colours, colorsubsampling=subsampling
    )


def _open(raw: bytes, framing: Framing) -> Image.Image:
    """The photograph, its header read and nothing more."""
    warnings.simplefilter("ignore")  # its size is judged here
    image = Image.open(io.BytesIO(raw), formats=_FORMATS)
    if image.width * image.height > framing.max_pixels:
        raise ValueError(
            f"it is {image.height} x {image.width}, more than the {framing.max_pixels:,} pixels of options.max_pixels"
        )
    if framing.crop is not None and min(image.width, image.height) < framing.crop:
        raise ValueError(f"it is {image.height} x {image.width}, smaller than options.crop, {framing.crop}")
    if image.mode not in _MODES + _MODES_WITH_ALPHA:
        raise ValueError(f"its mode is {image.mode}, but photographs must be 8-bit grey or RGB")
    return image


def _without_alpha(image: Image.Image) -> Image.Image:
    """The same without its alpha channel, if that hides nothing."""
    if image.mode not in _MODES_WITH_ALPHA and "transparency" not in image.info:
        return image
    whole = image.convert("RGBA")
    lowest = whole.getchannel("A").getextrema()[0]
    if lowest != 255:
        raise ValueError("it has transparency, but photographs must be 8-bit grey or RGB")
    return whole.convert("RGB")


def _centre_square(image: Image.Image, side: int) -> Image.Image:
    """The square of whole pixels at the centre; of an odd margin, the smaller half is above and left."""
    left, upper = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, upper, left + side, upper + side))


def _centre_box(width: int, height: int, proportions: float) -> tuple[float, float, float, float]:
    """(left, upper, right, lower) of the largest rectangle of width / height ``proportions`` around the centre."""
    box_width, box_height = min(width, height * proportions), min(height, width / proportions)
    left, upper = (width - box_width) / 2, (height - box_height) / 2
    return left, upper, left + box_width, upper + box_height


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no PNG, JPEG, BMP or WebP"
    text = str(error).splitlines()
    return text[0] if text and text[0] else type(error).__name__
