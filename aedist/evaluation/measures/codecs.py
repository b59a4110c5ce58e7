"""What general-purpose codecs make of an image in so many bytes: JPEG and WebP at the highest quality that still fits.

The quality is found by bisection, as a file grows with it but for a few bytes here and there. Where not even the
lowest quality fits, its result stands, and its size tells so.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LOWEST_QUALITY = {"jpeg": 1, "webp": 0}
_HIGHEST_QUALITY = 100
_JFIF = slice(2, 20)  # the application's segment behind the two bytes that begin a JPEG: density and the like

DEFINITIONS = {
    "jpeg": "Each evaluated image as a baseline JPEG (4:2:0, optimised Huffman tables, without the JFIF segment) at "
    "the highest quality of 1 to 100, by bisection, whose file is no longer than the model's encoding in float32; "
    "where the lowest is longer, the lowest. Grey stays grey.",
    "webp": "The same with lossy WebP (method 4, qualities 0 to 100), which knows colour alone: a grey image is stored "
    "as colour, with hardly a byte for it, and its luminance is compared.",
}


def encode(images_bhwc: Tensor, codec: str, bytes_allowed: int) -> tuple[Tensor, Tensor]:
    """Images as a codec gives them back, and the bytes it took.

    Args:
        images_bhwc: uint8, with 1 or 3 channels, on any device.
        codec: ``jpeg`` or ``webp``.
        bytes_allowed: for each image's file.

    Returns:
        uint8 (B, H, W, C) on the same device, and int64 (B,) on the CPU, above ``bytes_allowed`` where the lowest
        quality is.
    """
    write, lowest = _WRITERS[codec], LOWEST_QUALITY[codec]
    decoded_bhwc, bytes_n = torch.empty(images_bhwc.shape, dtype=torch.uint8), list[int]()
    for row, pixels in zip(decoded_bhwc.numpy(), images_bhwc.cpu().numpy(), strict=True):
        grey = pixels.shape[2] == 1
        image = Image.fromarray(pixels[..., 0] if grey else pixels)
        raw = _smallest_loss(lambda quality, image=image: write(image, quality), lowest, bytes_allowed)
        with Image.open(io.BytesIO(raw), formats=[codec]) as found:
            row[:] = np.asarray(found.convert("L" if grey else "RGB")).reshape(row.shape)
        bytes_n.append(len(raw))
    return decoded_bhwc.to(images_bhwc.device), torch.tensor(bytes_n, dtype=torch.int64)


def _smallest_loss(write: Callable[[int], bytes], lowest: int, bytes_allowed: int) -> bytes:
    """The file of the highest quality that fits, or that of the lowest."""
    best = write(lowest)
    if len(best) > bytes_allowed:
        return best
    fits, too_long = lowest, _HIGHEST_QUALITY + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        raw = write(middle)
        if len(raw) <= bytes_allowed:
            fits, best = middle, raw
        else:
            too_long = middle
    return best


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
    raw = file.getvalue()
    if raw[_JFIF.start : _JFIF.start + 2] == b"\xff\xe0":
        raw = raw[: _JFIF.start] + raw[_JFIF.stop :]  # a decoder needs nothing of it
    return raw


def _webp(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()


_WRITERS: dict[str, Callable[[Image.Image, int], bytes]] = {"jpeg": _jpeg, "webp": _webp}
