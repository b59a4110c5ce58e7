"""The pictures a run has left, as data that a page carries within itself.

The strips written at each evaluation hold the same images above their reconstructions. Where the upper
halves truly are the same, the page shows them once and below them one row of reconstructions an evaluation,
so that the eye compares neighbours.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

_COLUMN_PIXELS = 720
_LARGEST_SCALE = 3
_WIDEST = 2 * _COLUMN_PIXELS
_MOST_BYTES, _QUALITY = 250_000, 85
_QUICK = 1  # zlib's level: enough to see about how large a PNG is


@dataclass(frozen=True)
class Picture:
    """A picture to show: its bytes as a ``data:`` address, and its size on the page in CSS pixels."""

    address: str
    width: int
    height: int
    enlarged: bool


def load(path: Path) -> Image.Image | None:
    """The picture in a PNG file, or None where it is damaged (a kill while writing leaves half of one)."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return None


def picture(image: Image.Image) -> Picture:
    """The image for the page, small ones enlarged by a whole number so that their pixels stay square.

    One that is much wider than the page's column is made twice as wide as that, which a fine screen still shows sharp;
    of one that would be large as a PNG, as photographs are, the page has a JPEG: with many large pictures it could not
    be mailed.
    """
    scale = min(_LARGEST_SCALE, max(1, _COLUMN_PIXELS // image.width))
    if image.width > _WIDEST:
        image = image.resize((_WIDEST, max(1, round(image.height * _WIDEST / image.width))), Image.Resampling.LANCZOS)
    buffer, kind = io.BytesIO(), "png"
    image.save(buffer, "PNG", compress_level=_QUICK)
    if buffer.tell() > _MOST_BYTES:
        buffer, kind = io.BytesIO(), "jpeg"
        image.save(buffer, "JPEG", quality=_QUALITY)
    else:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
    address = f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(address, image.width * scale, image.height * scale, scale > 1)


def spread(items: list[Path], most: int) -> list[Path]:
    """At most ``most`` (two or more) of the items, evenly spaced, the first and the last always among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def halve(images: list[Image.Image]) -> tuple[Image.Image, list[Image.Image]] | None:
    """(the upper half that all images share, their lower halves), or None if they share none."""
    if len(images) < 2 or len({(image.size, image.mode) for image in images}) > 1 or images[0].height < 2:
        return None
    width, height = images[0].size
    middle = (height + 1) // 2
    uppers = [image.crop((0, 0, width, middle)) for image in images]
    if any(upper.tobytes() != uppers[0].tobytes() for upper in uppers):
        return None
    return uppers[0], [image.crop((0, height - middle, width, height)) for image in images]
