"""What a sample may hold: exactly one image, and beside it plain text such as its class. Judged without decoding.

Nothing that a reader could be made to run (pickles, arrays of objects, tensors) is a field of a sample, so what may
stand in a shard is listed here, not what may not.
"""

import struct
from collections.abc import Iterable

import simplejpeg

from aedist.shards.decode import IMAGE_EXTENSIONS

EXTENSIONS = (*IMAGE_EXTENSIONS, "cls", "json", "txt")
MAX_CLASSES = 100_000
MAX_CLASS_BYTES = 32

_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3}  # colour type: grey, RGB, palette


def image_extension(extensions: Iterable[str]) -> str:
    """The extension of a sample's one image.

    Raises:
        ValueError: with the reason, if it has no image or several, or a field that samples do not hold.
    """
    found: list[str] = []
    for extension in extensions:
        if extension not in EXTENSIONS:
            raise ValueError(
                f".{_shown(extension)} is not read; fields are {', '.join('.' + name for name in EXTENSIONS)}"
            )
        if extension in IMAGE_EXTENSIONS:
            found.append(extension)
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} images, but each sample must have one ({', '.join(IMAGE_EXTENSIONS)})")
    return found[0]


def _shown(extension: str) -> str:
    return extension[:40] if extension.isprintable() else ascii(extension)[1:41]


def class_number(raw: bytes) -> int:
    """The class that a ``.cls`` field names, from 0.

    Raises:
        ValueError: if it is not a whole number below ``MAX_CLASSES``.
    """
    text = raw[:MAX_CLASS_BYTES].strip()
    if not text.isdigit() or len(raw) > MAX_CLASS_BYTES or int(text) >= MAX_CLASSES:
        raise ValueError(
            f".cls holds {raw[:MAX_CLASS_BYTES]!r}, but a class is a whole number from 0 to {MAX_CLASSES - 1}"
        )
    return int(text)


def image_size(raw: bytes, extension: str) -> tuple[int, int, int]:
    """(height, width, channels) by an image's header alone; channels 1 or 3.

    Raises:
        ValueError: if it is not such an image, or one whose pixels would lose something as 8-bit grey or RGB.
    """
    if extension != "png":
        height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
        if colours in ("CMYK", "YCCK"):
            raise ValueError(f"its colours are {colours}, but images must be grey or RGB")
        return int(height), int(width), 1 if colours == "Gray" else 3
    if not raw.startswith(_PNG_START) or len(raw) < 33:
        raise ValueError("it does not begin as a PNG file does")
    width, height, depth, colour_type = struct.unpack_from(">IIBB", raw, len(_PNG_START))
    if depth > 8 or colour_type not in _PNG_CHANNELS:
        raise ValueError("it has 16 bits or transparency, but images must be 8-bit grey or RGB")
    return height, width, _PNG_CHANNELS[colour_type]
