"""Getting a remote file whole, whatever happens on the way: ranges, pauses, and a limit to both.

What came is kept. An attempt that brought new bytes is followed by another that asks for the rest. One that brought
none is followed by a pause, each longer than the last and by a random part shorter, so that many nodes do not come back
together. After so many in vain, or so many in all, it is given up, in one line. A file is whole when its length and
sha256 are those of the index; if they are not, it is fetched once more from its start, since a rest that belongs to an
older version, or a flipped bit, ends so.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import TypeVar

from aedist.data.address import is_on_web
from aedist.data.clouds import open_cloud
from aedist.data.transport import Body, Broken, Refused
from aedist.data.web import open_web
from aedist.errors import DataDamage

T = TypeVar("T")

MOST_ATTEMPTS = 100
_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for: by default about a minute if it answers with errors, and at most about 5 if it
    does not answer at all.
    """

    stall_seconds: float = 30.0
    """Without a byte for so long, a connection is given up."""
    in_vain: int = 8
    """So many attempts in a row without a new byte are the last."""
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0

    @property
    def longest_seconds(self) -> float:
        """No download is without a new byte for longer."""
        return self.in_vain * (self.stall_seconds + self.longest_pause_seconds)


class FetchFailed(DataDamage):
    """A remote file that could not be had."""


class Unreachable(FetchFailed):
    """A remote file that could not be had now, since its server was not reached, or is in trouble."""


@dataclass(frozen=True)
class Expected:
    """What a file must be."""

    bytes: int
    sha256: str


def download(address: str, part: Path, expected: Expected, patience: Patience) -> None:
    """Make ``part``, which may hold the beginning, the whole file at ``address``.

    Raises:
        FetchFailed: if it cannot be had, or is not what is expected; what came of a file that may be had later is kept.
        OSError: if ``part`` cannot be written.
    """
    attempts = _Attempts(address, patience)
    if _append(address, part, expected, attempts) is None:
        return
    part.write_bytes(b"")
    problem = _append(address, part, expected, attempts)
    if problem is None:
        return
    part.write_bytes(b"")
    raise FetchFailed(
        f"{address}: {problem}, also when fetched anew; put the file there that its index.json describes, or index the "
        f"folder anew"
    )


def read_whole(address: str, limit_bytes: int, patience: Patience) -> bytes:
    """The bytes of a small file.

    Raises:
        FetchFailed: if it cannot be had, or is longer than ``limit_bytes``.
    """

    def read() -> bytes:
        body, content = open_body(address, 0, patience), bytearray()
        for piece in body.pieces:
            content += piece
            if len(content) > limit_bytes:
                raise FetchFailed(f"{address}: is longer than {limit_bytes:,} bytes; correct data.shards")
        # without a stated length, a JSON text that was cut short is known by its end
        if len(content) < body.total if body.total is not None else not content.rstrip().endswith(b"}"):
            raise Broken(f"ended after {len(content):,} bytes")
        return bytes(content)

    return again_and_again(address, read, patience)


def again_and_again(address: str, work: Callable[[], T], patience: Patience) -> T:
    """What ``work`` returns once it is not ``Broken``.

    Raises:
        FetchFailed: if it is refused, or was in vain too often.
    """
    attempts = _Attempts(address, patience)
    while True:
        try:
            return work()
        except Refused as error:
            raise attempts.refused(error) from error
        except Broken as error:
            attempts.failed(error, with_progress=False)


def open_body(address: str, start: int, patience: Patience) -> Body:
    """A file from byte ``start`` on, by whichever reader its scheme asks for.

    Raises:
        Refused, Broken: as they do.
    """
    read = open_web if is_on_web(address) else open_cloud
    return read(address, start, patience.stall_seconds)


class _Attempts:
    """Counts what was tried, and pauses or gives up."""

    def __init__(self, address: str, patience: Patience) -> None:
        self._address, self.patience = address, patience
        self._began, self._count, self._in_vain = time.monotonic(), 0, 0

    def refused(self, error: Refused) -> FetchFailed:
        """The end of it, where the server has said its last word."""
        return FetchFailed(f"{self._address}: {error}; {error.fix}")

    def failed(self, error: Broken, *, with_progress: bool) -> None:
        """Pause before the next attempt.

        Raises:
            Unreachable: if there shall be none.
        """
        self._count += 1
        self._in_vain = 0 if with_progress else self._in_vain + 1
        if self._in_vain >= self.patience.in_vain or self._count >= MOST_ATTEMPTS:
            took = f"{self._count} attempts in {time.monotonic() - self._began:.0f} s"
            raise Unreachable(
                f"{self._address}: {error} ({took}); start again when it can be reached: what came is kept"
            ) from error
        pause = min(self.patience.first_pause_seconds * 2**self._in_vain, self.patience.longest_pause_seconds)
        time.sleep(pause * SystemRandom().uniform(0.5, 1.0))


def _append(address: str, part: Path, expected: Expected, attempts: _Attempts) -> str | None:
    """Fetch what ``part`` lacks. Returns what is wrong with the whole, None if nothing is."""
    digest, have = hashlib.sha256(), 0
    with part.open("a+b") as file:
        file.seek(0)
        while chunk := file.read(_PIECE_BYTES):
            digest.update(chunk)
            have += len(chunk)
        furthest = have
        while have < expected.bytes:
            try:
                body = open_body(address, have, attempts.patience)
                if body.total is not None and body.total != expected.bytes:
                    return f"is {body.total:,} bytes long, not {expected.bytes:,} as its index says"
                if body.start != have:  # a server that gives no ranges
                    file.truncate(0)
                    digest, have = hashlib.sha256(), 0
                for piece in body.pieces:
                    file.write(piece)
                    digest.update(piece)
                    have += len(piece)
                    if have > expected.bytes:
                        return f"is longer than the {expected.bytes:,} bytes that its index says"
                if have < expected.bytes:
                    raise Broken(f"ended after {have:,} of {expected.bytes:,} bytes")
            except Refused as error:
                raise attempts.refused(error) from error
            except Broken as error:
                file.flush()
                attempts.failed(error, with_progress=have > furthest)
                furthest = max(furthest, have)
    if have > expected.bytes:
        return f"is longer than the {expected.bytes:,} bytes that its index says"
    found = digest.hexdigest()
    return (
        None if found == expected.sha256 else f"has sha256 {found[:12]}, not {expected.sha256[:12]} as its index says"
    )
