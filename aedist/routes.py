"""Routes to an original file: a folder of the user's, a place on the web (``packages`` has those of the package index).

A route yields files one by one and ends at the first that it cannot give, with the reason, so that a place that
does not answer costs a few seconds once, not once a file. Routes judge nothing: that the bytes are the right ones,
``assets`` checks. Lengths are bounded on the way, so that a wrong answer cannot fill the memory.
"""

import hashlib
import queue
import tempfile
import threading
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

Say = Callable[[str], None]

_ANSWER_SECONDS = 5.0  # a route that does not answer by then is left for the next
_PIECE_BYTES = 2**18
_COMPRESSION_SLACK_BYTES = 2**16  # a compressed file is at most so much longer than what is in it


@dataclass(frozen=True)
class Asset:
    """A file, uncompressed: its name, what its bytes hash to, and how many there are."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Route:
    """One way to get assets. ``contents`` yields each with its bytes, or raises ``RouteError`` with the reason.

    What may be large comes in pieces instead, which must be taken before the next asset is asked for.
    """

    name: str
    contents: Callable[[Sequence[Asset], Say], Iterator[tuple[Asset, bytes | Iterator[bytes]]]]


class RouteError(Exception):
    """A route did not lead to the asset; the message says why."""


def from_folder(folder: Path) -> Route:
    """The route to files that the user has put into a folder, raw or gzipped."""

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes]]:
        for asset in assets:
            raw, packed = folder / asset.name, folder / f"{asset.name}.gz"
            path = raw if raw.is_file() else packed
            say(f"reading {path}")
            try:
                with path.open("rb") as file:
                    content = file.read(asset.bytes + _COMPRESSION_SLACK_BYTES)
            except OSError as error:
                raise RouteError(f"{raw} cannot be read, nor with .gz ({error.strerror})") from error
            yield asset, content if path == raw else gunzip(content, asset.bytes)

    return Route(str(folder), contents)


def from_web(base: str, suffix: str) -> Route:
    """The route to ``base + NAME + suffix``. The first URL that fails ends the route."""

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes | Iterator[bytes]]]:
        for asset in assets:
            url = f"{base}{asset.name}{suffix}"
            say(f"downloading {url} ({asset.bytes:,} bytes)")
            pieces = _pieces(url, asset.bytes + _COMPRESSION_SLACK_BYTES)
            yield asset, gunzip(b"".join(pieces), asset.bytes) if suffix == ".gz" else pieces

    return Route(base, contents)


def from_file_on_web(
    url: str, sha256_start: str, limit_bytes: int, unpack: Callable[[Path], Mapping[str, bytes]]
) -> Route:
    """The route through one large file, kept on disk while it is unpacked.

    Args:
        url: where it lies.
        sha256_start: what its sha256 begins with, such as torchvision writes into a file's name.
        limit_bytes: more are not taken.
        unpack: from the file to the bytes of each asset by name; raises ValueError with the reason.
    """

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes | Iterator[bytes]]]:
        with tempfile.TemporaryDirectory(prefix="aedist-") as scratch:
            path = Path(scratch) / url.rpartition("/")[2]
            say(f"downloading {url}")
            with path.open("wb") as file:
                for piece in _pieces(url, limit_bytes):
                    file.write(piece)
            yield from from_file(path, sha256_start, unpack).contents(assets, say)

    return Route(url, contents)


def from_file(path: Path, sha256_start: str, unpack: Callable[[Path], Mapping[str, bytes]]) -> Route:
    """The route through a file that is here, known by the start of its sha256; ``unpack`` as on the web."""

    def contents(assets: Sequence[Asset], say: Say) -> Iterator[tuple[Asset, bytes]]:
        say(f"unpacking {path.name}")
        try:
            check_sha256(path, sha256_start)
            unpacked = unpack(path)
        except OSError as error:
            raise RouteError(f"{path} cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise RouteError(f"{path.name}: {error}") from error
        yield from pick(assets, unpacked, path.name)

    return Route(str(path), contents)


def check_sha256(path: Path, start: str) -> None:
    """Refuse a file whose sha256 does not begin so, before anything in it is looked at.

    Raises:
        RouteError: saying what it is.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(start):
        raise RouteError(f"{path.name} has sha256 {found}, not {start}, so it was not opened")


def pick(assets: Sequence[Asset], unpacked: Mapping[str, bytes], where: str) -> Iterator[tuple[Asset, bytes]]:
    """The assets out of what was unpacked.

    Raises:
        RouteError: if one is not in it.
    """
    for asset in assets:
        if asset.name not in unpacked:
            raise RouteError(f"{where} holds no {asset.name}")
        yield asset, unpacked[asset.name]


def gunzip(packed: bytes, limit_bytes: int) -> bytes:
    """The content of a gzip file of one member, at most ``limit_bytes`` long.

    Raises:
        RouteError: if it is longer, cut short or not gzip.
    """
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        content = inflate.decompress(packed, limit_bytes + 1)
    except zlib.error as error:
        raise RouteError(f"is not a gzip file ({error})") from error
    if len(content) > limit_bytes:
        raise RouteError(f"unpacks to more than the {limit_bytes:,} bytes it should hold")
    if not inflate.eof:
        raise RouteError("the gzip file was cut short")
    return content


def _pieces(url: str, limit_bytes: int) -> Iterator[bytes]:
    """The body of a URL that answers within ``_ANSWER_SECONDS``, never pauses for longer, and is not too long."""
    length = 0
    try:
        with _open_url(url) as response:
            while piece := response.read(_PIECE_BYTES):
                length += len(piece)
                if length > limit_bytes:
                    raise RouteError(f"{url} is longer than {limit_bytes:,} bytes")
                yield piece
            stated = response.headers.get("Content-Length")
    except HTTPError as error:
        raise RouteError(f"{url} answers {error.code} {error.reason}") from error
    except (URLError, OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise RouteError(f"{url} cannot be reached ({reason})") from error
    if stated is not None and length != int(stated):
        raise RouteError(f"{url} ended after {length:,} of {stated} bytes")


def _open_url(url: str) -> Any:
    """``urlopen`` within ``_ANSWER_SECONDS`` in all, whatever the name server does and however many addresses it
    gives: the socket's own timeout bounds neither, so it is done on a thread that may be left behind.
    """
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=_ANSWER_SECONDS))  # noqa: S310 (URLs are ours)
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        got = answer.get(timeout=_ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {_ANSWER_SECONDS:.0f} s") from None
    if isinstance(got, Exception):
        raise got
    return got
