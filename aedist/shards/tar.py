"""Reading the structure of a tar: which sample's which field lies where.

``tarfile`` spends about 100 microseconds a member and ends silently at a damaged header. This scanner reads
the 512-byte headers straight from a memory map, understands ustar, GNU long names, PAX headers and base-256
sizes, checks every header's checksum and the end-of-archive mark, and names the offset of what is wrong.
A tar is read whole or refused: whatever it holds that is not understood is damage, never fewer samples.
Members are grouped to samples as webdataset does: the key is the path up to the first dot of its base name.
"""

import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from aedist.errors import DataDamage, UserError

BLOCK = 512
_ZERO = bytes(BLOCK)
_REGULAR, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _FOLDER = b"0\0", b"L", b"K", b"x", b"g", b"5"
_MAX_EXTENSION_BYTES = 2**20
_LONGEST_SHOWN = 200
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*")
_DECIMAL = re.compile(r"[0-9]{1,18}", re.ASCII)


class TarDamage(DataDamage):
    """A tar whose structure is broken, at a byte offset."""

    def __init__(self, where: str, offset: int, problem: str) -> None:
        super().__init__(f"{where}: damaged at byte {offset}: {problem}; build or copy the shard again")
        self.where, self.offset, self.problem = where, offset, problem

    def __reduce__(self) -> tuple[type["TarDamage"], tuple[str, int, str]]:
        return TarDamage, (self.where, self.offset, self.problem)  # so that it survives the way out of a worker


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar: its name, where its header starts, where its bytes lie."""

    name: str
    header_offset: int
    offset: int
    size: int


@dataclass(slots=True)
class RawSample:
    """The members that share a key: extension to (offset, size)."""

    key: str
    header_offset: int
    fields: dict[str, tuple[int, int]]


@contextmanager
def mapped(path: Path) -> Generator[mmap]:
    """The bytes of a shard as a read-only memory map.

    Raises:
        UserError: if it cannot be opened.
        TarDamage: if it is empty.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a shard that is there") from error
    with file:
        if path.stat().st_size == 0:
            raise TarDamage(str(path), 0, "the file is empty")
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            yield data


def members(data: mmap | bytes, where: str, first: int = 0) -> Iterator[Member]:
    """The regular files of a tar in order.

    Args:
        data: the whole tar.
        where: what to call it in messages.
        first: the offset of the header to begin with.

    Raises:
        TarDamage: at a wrong checksum, a member that runs past the end, a kind of member that shards do not
            hold, a missing end-of-archive mark, or bytes behind that mark.
    """
    position, end = first, len(data)
    long_name: str | None = None
    pax: dict[str, str] = {}
    while True:
        header = data[position : position + BLOCK]
        if header == _ZERO:
            _check_only_zeros(data, where, position)
            return
        if len(header) < BLOCK:
            raise TarDamage(
                where, min(position, end), "the file ends without the end-of-archive mark, so it was cut short"
            )
        size = _check_header(header, where, position)
        kind = header[156:157]
        extends_next = kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL)
        if "size" in pax and not extends_next:
            size = _pax_size(pax["size"], where, position)
        start = position + BLOCK
        following = start + (size + BLOCK - 1) // BLOCK * BLOCK
        if start + size > end:
            raise TarDamage(where, position, f"a member of {size} bytes runs past the end, so it was cut short")
        if extends_next:
            body = _extension_body(data[start : start + min(size, _MAX_EXTENSION_BYTES)], size, where, position)
            if kind == _LONG_NAME:
                long_name = _text(body.split(b"\0", 1)[0])
            elif kind == _PAX:
                pax = _pax_records(body, where, position)
            elif kind == _PAX_GLOBAL:
                _check_global(_pax_records(body, where, position), where, position)
        else:
            name = pax.get("path") or long_name or _ustar_name(header)
            if kind in _REGULAR and not name.endswith("/"):  # the first tars marked a folder so
                yield Member(name, position, start, size)
            elif kind not in _REGULAR + _FOLDER:
                raise TarDamage(where, position, f"a member of type {kind!r}; shards hold plain files only")
            long_name, pax = None, {}
        position = following


def samples(data: mmap | bytes, where: str) -> list[RawSample]:
    """The samples of a tar in order.

    Raises:
        TarDamage: as ``members``; also where one key has the same extension twice or stands in two places.
    """
    return group(members(data, where), where)


def group(found_members: Iterable[Member], where: str) -> list[RawSample]:
    """The samples that members make up, in order.

    Raises:
        TarDamage: where one key has the same extension twice or stands in two places.
    """
    found: list[RawSample] = []
    seen: set[str] = set()
    current: RawSample | None = None
    for member in found_members:
        folder, slash, base = member.name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if not dot or not stem:
            continue  # README files and the like, which webdataset passes over too
        sample_key = folder + slash + stem
        if current is None or sample_key != current.key:
            if sample_key in seen:
                raise TarDamage(where, member.header_offset, f"key {shown(repr(sample_key))} stands in two places")
            seen.add(sample_key)
            current = RawSample(sample_key, member.header_offset, {})
            found.append(current)
        extension = extension.lower()
        if extension in current.fields:
            raise TarDamage(where, member.header_offset, f"key {shown(repr(sample_key))} has .{shown(extension)} twice")
        current.fields[extension] = (member.offset, member.size)
    return found


def shown(name: str) -> str:
    """A name or key as a message shows it: it may hold anything, also what would move a terminal's cursor."""
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _check_header(header: bytes, where: str, position: int) -> int:
    """The size field of a header whose checksum is right."""
    # sum of all bytes, the checksum's own eight counted as spaces
    if _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
        raise TarDamage(where, position, "a header's checksum is wrong")
    field = header[124:136]
    if field[0] & 0x80:  # GNU base-256, for sizes of 8 GiB and more
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    size = _octal(field)
    if size is None:
        raise TarDamage(where, position, f"a header's size is {field!r}")
    return size


def _octal(field: bytes) -> int | None:
    """A header's number, 0 where it is blank, None where it is none. ``int(field, 8)`` would take 0o17 and 1_7."""
    match = _OCTAL.fullmatch(field)
    return int(match[1] or b"0", 8) if match else None


def _check_only_zeros(data: mmap | bytes, where: str, position: int) -> None:
    """Behind the end-of-archive mark a tar is zero; anything else was a member before a header was zeroed."""
    end = len(data)
    for start in range(position, end, _MAX_EXTENSION_BYTES):
        piece = data[start : min(start + _MAX_EXTENSION_BYTES, end)]
        if piece.count(0) != len(piece):
            raise TarDamage(where, position, "the end-of-archive mark, with more bytes behind it")


def _ustar_name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0]
        if prefix:
            return _text(prefix) + "/" + _text(name)
    return _text(name)


def _extension_body(body: bytes, size: int, where: str, position: int) -> bytes:
    """The bytes of an extended header, unless they are absurdly many."""
    if len(body) != size:
        raise TarDamage(where, position, f"an extended header of {size} bytes")
    return body


def _check_global(pax: dict[str, str], where: str, position: int) -> None:
    """A global PAX header may carry remarks, but not names or sizes, which no writer of shards puts there."""
    if "path" in pax or "size" in pax:
        raise TarDamage(where, position, "a global PAX header that names or sizes the members after it")


def _pax_records(body: bytes, where: str, position: int) -> dict[str, str]:
    """The records of a PAX header: each is ``LENGTH KEY=VALUE`` and a line feed."""
    records: dict[str, str] = {}
    while body:
        length, _, rest = body.partition(b" ")
        end = int(length) if length.isdigit() and len(length) < 8 else 0
        if not 5 <= end <= len(body) or body[end - 1 : end] != b"\n":
            raise TarDamage(where, position, "a PAX record's length is wrong")
        name, _, value = rest[: end - len(length) - 2].partition(b"=")
        records[_text(name)] = _text(value)
        body = body[end:]
    if any(name.startswith("GNU.sparse.") for name in records):
        raise TarDamage(where, position, "a sparse member; shards hold plain files only")
    return records


def _pax_size(text: str, where: str, position: int) -> int:
    if not _DECIMAL.fullmatch(text):
        raise TarDamage(where, position, f"a PAX size is {shown(repr(text))}")
    return int(text)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
