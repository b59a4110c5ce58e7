"""Which samples of a damaged shard can still be used, each proved by its own bytes; and why the others cannot.

A sha256 says that a shard is damaged, not where. The index also has the CRC-32 of every MiB, so a sample is proved
where every MiB that its headers and members touch is right; without that, a changed pixel would go unnoticed in an
image that still decodes. (A CRC tells accidents; against somebody who means harm only the sha256 helps.)

Samples are numbered by their places in the tar, and damage must not shift them: where headers lead through all of it to
as many samples as there should be, they count; else those before the first wrong MiB are counted from the front, those
behind the last one from the end, and what lies between has no number that is sure. Where every MiB is right and the
sha256 is not, this is not the file that was indexed, or not its index, and no sample is proved.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from mmap import mmap
from pathlib import Path

from aedist.errors import DataDamage, UserError
from aedist.shards.attributes import MAX_JSON_BYTES, Value, parse_attributes
from aedist.shards.damage import explain_damage
from aedist.shards.decode import check_bytes, decode
from aedist.shards.fields import MAX_CLASS_BYTES, class_number, image_extension
from aedist.shards.index import CHUNK_BYTES, Index, Shard, describe_bytes
from aedist.shards.tar import BLOCK, Member, RawSample, TarDamage, group, mapped, members, samples, shown

_MAGIC, _MAGIC_AT = b"ustar", 257


@dataclass(frozen=True)
class Lost:
    """A sample that cannot be used: its number in the shard from 0, its key where that is known, and the reason."""

    number: int
    key: str | None
    why: str


def lost_samples(path: Path, shard: Shard, index: Index) -> list[Lost]:
    """The samples of a shard that cannot be used, in order; every image is decoded.

    Args:
        path: the tar.
        shard: what the index says of it.
        index: what it says of all.
    """
    try:
        _, sha256, _ = describe_bytes(path)
        with mapped(path) as data:
            if sha256 == shard.sha256:
                found, why = dict(enumerate(samples(data, str(path)))), ""
                if len(found) != shard.samples:
                    return _all(shard, f"{path}: holds {len(found)} samples, the index says {shard.samples}")
            else:
                found, why = proved(data, shard), explain_damage(path, shard).rpartition("; ")[0]
            return [
                Lost(number, sample.key if sample else None, problem)
                for number, sample in ((number, found.get(number)) for number in range(shard.samples))
                if (problem := sample_problem(data, sample, index) if sample else why)
            ]
    except OSError as error:
        return _all(shard, f"{path}: cannot be read ({error.strerror})")
    except UserError as error:
        return _all(shard, str(error))


def _all(shard: Shard, why: str) -> list[Lost]:
    return [Lost(number, None, why.partition("; ")[0]) for number in range(shard.samples)]


def proved(data: mmap | bytes, shard: Shard) -> dict[int, RawSample]:
    """The samples of a shard with a wrong sha256 whose bytes are right all the same, by their numbers in it.

    Raises:
        TarDamage: if a key stands in two places.
    """
    data = data[: shard.bytes] if len(data) > shard.bytes else data
    rights = [
        zlib.crc32(data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]) == crc
        for number, crc in enumerate(shard.crc32_per_mib)
    ]
    if all(rights):
        return {}
    wrong_before = [0, *accumulate(not right for right in rights)]

    def is_right(start: int, end: int) -> bool:
        return wrong_before[-(-min(end, shard.bytes) // CHUNK_BYTES)] == wrong_before[start // CHUNK_BYTES]

    total = shard.samples + len(shard.lost)
    try:
        chain = list(members(data, shard.file))
    except TarDamage:
        chain = list[Member]()
    whole = _with_extents(chain, 0, shard.file)
    if len(whole) == total:
        numbered = dict(enumerate(whole))
    else:
        # the last before the damage and the first behind it may have members in it
        front = _with_extents(_front(data, is_right), 0, shard.file)[:-1]
        last_wrong = max(number for number, right in enumerate(rights) if not right)
        back = _with_extents(_back(data, (last_wrong + 1) * CHUNK_BYTES), None, shard.file)[1:]
        if len(front) + len(back) > total:
            return {}  # an index of other samples
        numbered = dict(enumerate(front)) | dict(enumerate(back, total - len(back)))
    return {number: one.sample for number, one in numbered.items() if is_right(one.start, one.end)}


def usable_samples(data: mmap | bytes, shard: Shard, where: str, *, is_whole: bool) -> list[RawSample]:
    """The samples of a shard that are used, in order: all but the lost ones.

    Args:
        data: the tar.
        shard: what the index says of it.
        where: what to call it in messages.
        is_whole: whether its sha256 is right.

    Raises:
        DataDamage: if one of them is damaged, or there are others than the index says.
    """
    found = dict(enumerate(samples(data, where))) if is_whole else proved(data, shard)
    total, lost = shard.samples + len(shard.lost), set(shard.lost)
    if is_whole and len(found) != total:
        raise DataDamage(f"{where}: holds {len(found)} samples, the index says {total}; index the folder anew")
    damaged = [number for number in range(total) if number not in lost and number not in found]
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise DataDamage(
            f"{where}: sample {damaged[0]} of it{more} cannot be proved, but could when the run looked for damage; "
            f"copy the shard again, or name another run.dir, whose run looks again"
        )
    return [found[number] for number in range(total) if number not in lost]


def sample_problem(data: mmap | bytes, sample: RawSample, index: Index) -> str | None:
    """What is wrong with a sample whose bytes are those that were indexed; None if nothing is."""
    field = ""
    try:
        field = image_extension(sample.fields)
        offset, size = sample.fields[field]
        check_bytes(size, index.image_shape)
        decode(data[offset : offset + size], field, index.image_shape)
        if "cls" in sample.fields:
            field = "cls"
            offset, size = sample.fields[field]
            number = class_number(data[offset : offset + min(size, MAX_CLASS_BYTES + 1)])
            if number >= len(index.classes):
                raise ValueError(f"class {number}, but the index names {len(index.classes)}")
        if "json" in sample.fields and index.attributes:  # where the index names none, others' .json may hold anything
            field = "json"
            offset, size = sample.fields[field]
            _check_attributes(parse_attributes(data[offset : offset + min(size, MAX_JSON_BYTES + 1)]), index)
    except ValueError as error:
        name = f"{sample.key}.{field}" if field else sample.key
        return f"{shown(name)} at byte {sample.header_offset}: {error}"
    return None


def _check_attributes(attributes: dict[str, Value], index: Index) -> None:
    for name, value in attributes.items():
        kind = index.attributes.get(name)
        if value not in kind if isinstance(kind, tuple) else type(value).__name__ != kind:
            raise ValueError(f"attribute {shown(repr(name))} is {shown(repr(value))}, which the index does not name")


@dataclass(frozen=True)
class _Extent:
    """A sample, and from where to where its headers and members lie."""

    sample: RawSample
    start: int
    end: int


def _with_extents(chain: list[Member], start: int | None, where: str) -> list[_Extent]:
    """The samples of consecutive members. ``start``: where the first one's headers begin, if that is known."""
    places, begin = dict[int, tuple[int, int]](), start
    for member in chain:
        end = member.offset + -(-member.size // BLOCK) * BLOCK
        places[member.offset] = (member.header_offset if begin is None else begin, end)
        begin = end
    return [
        _Extent(sample, min(places[at][0] for at, _ in fields), max(places[at][1] for at, _ in fields))
        for sample in group(chain, where)
        if (fields := list(sample.fields.values()))
    ]


def _front(data: mmap | bytes, is_right: Callable[[int, int], bool]) -> list[Member]:
    """The members from the first on, as long as all headers before them are right."""
    chain, begin = list[Member](), 0
    with suppress(TarDamage):
        for member in members(data, ""):
            if not is_right(begin, member.offset):
                break
            chain.append(member)
            begin = member.offset + -(-member.size // BLOCK) * BLOCK
    return chain


def _back(data: mmap | bytes, start: int) -> list[Member]:
    """The members from the first header behind ``start`` on that a chain of headers joins to the tar's end."""
    at = start
    while (found := data.find(_MAGIC, at + _MAGIC_AT)) != -1:
        header = found - _MAGIC_AT
        if header % BLOCK:
            at = header + 1
            continue
        try:
            return list(members(data, "", header))
        except TarDamage as damage:
            at = max(damage.offset, header + 1)
    return []
