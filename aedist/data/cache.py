"""Shards on the node's own disk: named by their sha256, fetched once, and removed when others need the room.

A file is ``ab/abcd....tar`` after its sha256, so that equal names at two addresses are two files, and equal files at
two addresses are one. It is written beside, as ``SHA256.BYTES.part``, proved, and renamed. Whoever needs a shard takes
its lock and fetches it; every other process of the node waits for that one and then finds the file, or the reason why
there is none. The kernel ends a lock with the process that holds it, and what that one left is taken up where it ends.

Before a download there must be room for all of it within the budget: whatever was used longest ago is removed. A file
that is mapped stays readable for who maps it, and takes its room on the disk until then.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import IO

from aedist.data.download import Expected, FetchFailed, Patience, download
from aedist.shards.index import Shard
from aedist.whole import sync_folder

_POLL_SECONDS = 0.05
_TELL_SECONDS = 10.0


@dataclass(frozen=True)
class Cache:
    """Where shards are kept, how many bytes of them, and how long their servers are waited for."""

    folder: Path
    budget_bytes: int
    patience: Patience

    def path(self, shard: Shard) -> Path:
        """Where a shard lies, if it is here."""
        return self.folder / shard.sha256[:2] / f"{shard.sha256}.tar"

    def has(self, shard: Shard) -> bool:
        """Whether a shard is here."""
        path = self.path(shard)
        return path.is_file() and path.stat().st_size == shard.bytes

    def touch(self, shard: Shard) -> None:
        """Note that a shard is in use, so that others are removed first."""
        with suppress(OSError):
            os.utime(self.path(shard))

    def discard(self, shard: Shard) -> None:
        """Remove a shard whose bytes are not what they were."""
        self.path(shard).unlink(missing_ok=True)

    def obtain(self, shard: Shard, address: str, say: Callable[[str], None] | None = None) -> Path:
        """The file of a shard, fetched from ``address`` unless it is here or another process is fetching it.

        Raises:
            FetchFailed: if it cannot be had, or the cache cannot hold it.
        """
        path = self.path(shard)
        if self.has(shard):
            self.touch(shard)
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _lock(self, shard, address, say):
                if not self.has(shard):
                    self._fetch(shard, address)
        except OSError as error:
            raise FetchFailed(
                f"data.cache: {path.parent}: cannot be used ({error.strerror or error}); make room, or name another"
            ) from error
        return path

    def _fetch(self, shard: Shard, address: str) -> None:
        path = self.path(shard)
        part = path.with_name(f"{shard.sha256}.{shard.bytes}.part")
        note = _note_of(path)
        _make_room(self, shard, part)
        try:
            download(address, part, Expected(shard.bytes, shard.sha256), self.patience)
        except FetchFailed as error:
            note.write_text(str(error), encoding="utf-8")  # for those who wait
            raise
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        self.touch(shard)  # what came with the wait of a download is new, not old
        sync_folder(path.parent)
        note.unlink(missing_ok=True)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".failed")


@contextmanager
def _lock(cache: Cache, shard: Shard, address: str, say: Callable[[str], None] | None) -> Generator[None]:
    """Hold the right to fetch a shard. While another process holds it, wait as long as its download goes on.

    Raises:
        FetchFailed: with the other's reason, if it failed; or if it stands still for longer than any download may.
    """
    path = cache.path(shard)
    note, lock = _note_of(path), path.with_suffix(".lock")
    told_before, seen, since, last_told = _text_of(note), -1, time.monotonic(), time.monotonic()
    has_waited = False
    while True:
        file = lock.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            has_waited = True
            holder = _text_of(lock) or "another process"
            file.close()
            size = _size_of_part(path, shard)
            if size != seen:
                seen, since = size, time.monotonic()
            if time.monotonic() - since > cache.patience.longest_seconds:
                raise FetchFailed(
                    f"{address}: {holder} fetches it, but no byte came in {time.monotonic() - since:.0f} s; end that "
                    f"process and start again"
                ) from None
            if (parent := parent_process()) is not None and not parent.is_alive():
                raise FetchFailed(
                    f"{address}: given up, since the process that wants it has ended; start it again"
                ) from None
            if say is not None and time.monotonic() - last_told > _TELL_SECONDS:
                last_told = time.monotonic()
                say(f"waiting for {holder}, which fetches {address}: {max(size, 0):,} of {shard.bytes:,} bytes")
            time.sleep(_POLL_SECONDS)
            continue
        with file:
            if not lock.exists() or not os.path.samestat(lock.stat(), os.fstat(file.fileno())):
                continue  # its holder was done just now, and removed it
            if has_waited and (text := _text_of(note)) and text != told_before:
                raise FetchFailed(text)
            try:
                _sign(file)
                yield
            finally:
                lock.unlink(missing_ok=True)
                fcntl.flock(file, fcntl.LOCK_UN)  # a process that was forked meanwhile would hold it on
            return


def _sign(file: IO[str]) -> None:
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")[:2000].strip()
    except OSError:
        return ""


def _size_of_part(path: Path, shard: Shard) -> int:
    try:
        return path.with_name(f"{shard.sha256}.{shard.bytes}.part").stat().st_size
    except OSError:
        return -1


def _make_room(cache: Cache, shard: Shard, part: Path) -> None:
    """Remove what was used longest ago until the whole of ``shard`` fits, and reserve it by an empty part.

    Raises:
        FetchFailed: if the shard is larger than the budget, or other downloads leave no room for it.
    """
    if shard.bytes > cache.budget_bytes:
        raise FetchFailed(
            f"data.cache_bytes: {cache.budget_bytes:,} bytes are too few for {shard.file} of {shard.bytes:,}; raise it"
        )
    end = time.monotonic() + cache.patience.longest_seconds
    while True:
        with (cache.folder / ".room.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                others = [entry for entry in _entries(cache.folder) if entry.path != part]
                excess = sum(entry.bytes for entry in others) + shard.bytes - cache.budget_bytes
                for entry in sorted(others, key=lambda entry: entry.used):
                    if excess <= 0:
                        break
                    if _remove(entry.path):
                        excess -= entry.bytes
                if excess <= 0:
                    part.touch()
                    return
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        if time.monotonic() > end:  # all the room is taken by downloads that go on, each of which ends some time
            raise FetchFailed(
                f"data.cache_bytes: {cache.budget_bytes:,} bytes are taken by other downloads; raise it, or start fewer"
            )
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True)
class _Entry:
    path: Path
    bytes: int
    used: int


def _entries(folder: Path) -> list[_Entry]:
    """The files in the cache that count: shards, and downloads by the bytes that they will have."""
    found = list[_Entry]()
    for path in (*folder.glob("??/*.tar"), *folder.glob("??/*.part")):
        with suppress(OSError, ValueError):
            stat = path.stat()
            size = int(path.name.split(".")[1]) if path.suffix == ".part" else stat.st_size
            found.append(_Entry(path, size, stat.st_mtime_ns))
    return found


def _remove(path: Path) -> bool:
    """Remove a shard, or what is left of a download that no process goes on with. Whether it is gone."""
    if path.suffix != ".part":
        path.unlink(missing_ok=True)
        return True
    with path.with_name(path.name.split(".")[0] + ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink(missing_ok=True)
        Path(file.name).unlink(missing_ok=True)
        fcntl.flock(file, fcntl.LOCK_UN)
    return True
