"""Where a shard whose sha256 is wrong is damaged, as closely as its bytes tell.

The index has the CRC-32 of every MiB, which finds the stretch; a tar header's checksum finds the member; where the
headers are whole, the images of that stretch are read, and the one that cannot be is named.
"""

import math
import zlib
from itertools import takewhile
from pathlib import Path

from aedist.shards.decode import IMAGE_EXTENSIONS, decode
from aedist.shards.fields import class_number, image_size
from aedist.shards.index import CHUNK_BYTES, Shard, describe_bytes
from aedist.shards.png import broken_chunk
from aedist.shards.tar import Member, TarDamage, mapped, members, shown

_FIX = "build or copy the shard again"
_MAX_IMAGE_BYTES = 2**26


def explain_damage(path: Path, shard: Shard) -> str:
    """One line that says how the file at ``path`` differs from what the index says of it, and where first.

    It is a sentence for a user even if the file is missing, or is what the index says after all.
    """
    try:
        size, sha256, crcs = describe_bytes(path)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); {_FIX}"
    if size == 0:
        return f"{path}: is empty, the index says {shard.bytes} bytes; {_FIX}"
    if sha256 == shard.sha256:
        return f"{path}: is what the index says"
    if size > shard.bytes:
        crcs = (*crcs[: len(shard.crc32_per_mib) - 1], _last_crc(path, shard))
    wrong = [number for number, crc in enumerate(shard.crc32_per_mib) if crcs[number : number + 1] != (crc,)]
    length = f"is {size} bytes long, not {shard.bytes}, and " if size != shard.bytes else ""
    if not wrong:
        what = "more bytes follow its end" if length else "every MiB is right, so the index itself is wrong"
        return f"{path}: {length}{what}; {_FIX}"
    start, end = wrong[0] * CHUNK_BYTES, min((wrong[0] + 1) * CHUNK_BYTES, shard.bytes)
    more = f" (and in {len(wrong) - 1} more MiB)" if len(wrong) > 1 else ""
    return f"{path}: {length}is damaged between bytes {start} and {end}{more}: {_narrow(path, start, end)}; {_FIX}"


def member_problem(raw: bytes, extension: str) -> str | None:
    """What is wrong with a member by its own bytes alone; None if nothing can be told."""
    try:
        if extension == "cls":
            class_number(raw)
        elif extension == "png" and (broken := broken_chunk(raw)):
            return broken
        elif extension in IMAGE_EXTENSIONS:
            shape = image_size(raw, extension)
            if math.prod(shape) > _MAX_IMAGE_BYTES:  # a damaged header may say anything
                raise ValueError(f"its header says {shape[0]} x {shape[1]}")
            decode(raw, extension, shape)
    except ValueError as error:
        return str(error)
    return None


def _last_crc(path: Path, shard: Shard) -> int:
    """The CRC-32 of the last of the MiB that the index knows, in a file that goes on behind it."""
    start = (len(shard.crc32_per_mib) - 1) * CHUNK_BYTES
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(shard.bytes - start))


def _narrow(path: Path, start: int, end: int) -> str:
    """What lies between two offsets of a tar, and which member of it is broken, if that can be told."""
    there: list[Member] = []
    with mapped(path) as data:
        try:
            for member in takewhile(lambda member: member.header_offset < end, members(data, str(path))):
                if member.offset + member.size > start:
                    there.append(member)  # noqa: PERF401 (what came before a broken header is kept)
        except TarDamage as damage:
            behind = f", behind {shown(there[-1].name)}" if there else ""
            if damage.offset < end:  # before start: a member that begins there and was cut short here
                return f"at byte {damage.offset}{behind}: {damage.problem}"
        for member in there:
            extension = member.name.rpartition("/")[2].partition(".")[2].lower()
            if member.size > _MAX_IMAGE_BYTES:
                continue
            problem = member_problem(data[member.offset : member.offset + member.size], extension)
            if problem:
                return f"{shown(member.name)} at byte {member.offset}: {problem}"
    if not there:
        return "no member's bytes lie there"
    return f"one of the members {shown(there[0].name)} to {shown(there[-1].name)}, or the filling between them"
