"""PNG whose bytes follow from the pixels alone: lossless, and not compressed unless that is asked for.

A compressor may give other bytes in every version and build of it, and shards of other bytes are other data to a
run. Deflate's stored blocks leave no such freedom, cost next to nothing to write and to read, and any PNG reader
takes them. For small images little is lost, since a tar rounds every member up to 512 bytes anyway. Where it would
cost too much, as for large drawn images, zlib's compression can be asked for.
(PNG: ISO/IEC 15948; zlib and deflate: RFC 1950 and RFC 1951, section 3.2.4.)
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}
_STORED_BLOCK_BYTES = 2**16 - 1


def encode_png(pixels_hwc: NDArray[np.uint8], compression: int = 0) -> bytes:
    """The PNG file of an image, uint8 (height, width, 1 or 3).

    Args:
        pixels_hwc: the image.
        compression: 0 for stored blocks, the same bytes everywhere; 1 to 9 for zlib's level of that number, whose
            bytes depend on the zlib that Python was built with (the pixels never do).
    """
    height, width, channels = pixels_hwc.shape
    rows = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels_hwc.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    stream = zlib.compress(rows.tobytes(), compression) if compression else _stored(rows.tobytes())
    return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def broken_chunk(png: bytes) -> str | None:
    """What is wrong with the structure of a PNG file, by the CRC-32 that ends each of its chunks; None if nothing."""
    if not png.startswith(_SIGNATURE):
        return "its first bytes are not a PNG's"
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(png):
            return "it was cut short"
        size, kind = struct.unpack_from(">I4s", png, position)
        body_end = position + 8 + size
        if body_end + 4 > len(png):
            return "it was cut short"
        if zlib.crc32(png[position + 4 : body_end]) != int.from_bytes(png[body_end : body_end + 4], "big"):
            return f"the checksum of its {kind.decode('ascii', 'backslashreplace')} chunk is wrong"
        position = body_end + 4
    return None if position == len(png) else "bytes follow its end"


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _stored(raw: bytes) -> bytes:
    """A zlib stream of stored blocks."""
    stream = [b"\x78\x01"]
    for start in range(0, len(raw), _STORED_BLOCK_BYTES):
        block = raw[start : start + _STORED_BLOCK_BYTES]
        is_last = start + _STORED_BLOCK_BYTES >= len(raw)
        stream.append(struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF) + block)
    return b"".join(stream) + struct.pack(">I", zlib.adler32(raw))
