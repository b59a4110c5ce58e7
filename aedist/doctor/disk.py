"""Folders that are written or read much: their room, their speed, and whether the file system has locks.

The speed is of one small file, written through to the disk and read back past the system's memory: a hint, not a
benchmark. The file goes at once.
"""

import errno
import fcntl
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aedist.doctor.finding import Finding, Verdict, judged, spell_bytes

_GROUP = "disk"
_PIECE, _PIECES = 2**20, 8
_SECONDS = 2.0
"""How long either direction may take; then it is left at what was moved."""


@dataclass(frozen=True)
class Disk:
    """What was read of one folder."""

    purpose: str
    """What is kept there."""
    folder: str
    kind: str
    """The file system."""
    free: int
    """Bytes."""
    problem: str = ""
    """Why nothing could be written, in the system's words."""
    write: float | None = None
    """Bytes a second."""
    read: float | None = None
    locks: bool = True
    """Whether flock works."""
    must_write: bool = True
    """Whether it is of no use where nothing can be written."""


def read_disk(purpose: str, folder: Path, mounts: Path = Path("/proc/mounts"), *, must_write: bool = True) -> Disk:
    """Look at a folder or, where it is not there yet, at the one in which it would be made."""
    place = folder.expanduser().absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    size = os.statvfs(place)
    free, kind = size.f_bavail * size.f_frsize, _kind(place, mounts)
    if size.f_files and not size.f_favail:
        return Disk(purpose, str(folder), kind, free, "no room for more files", must_write=must_write)
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".aedist-doctor-") as file:
            write, read = _speed(file.fileno())
            return Disk(purpose, str(folder), kind, free, "", write, read, _has_locks(file.fileno()), must_write)
    except OSError as error:
        return Disk(purpose, str(folder), kind, free, error.strerror or str(error), must_write=must_write)


def judge_disk(read: Disk) -> Finding:
    """The verdict."""
    value = f"{read.folder} ({read.kind}): {spell_bytes(read.free)} free"
    if read.problem:
        value += f", cannot be written ({read.problem})"
        fix = f"make {read.folder} writable, or name another folder"
        return judged(_GROUP, read.purpose, value, "broken" if read.must_write else "good", fix, same=False)
    speed = f"writes {spell_bytes(read.write or 0)}/s, reads {spell_bytes(read.read or 0)}/s"
    value = f"{value}, {speed}{'' if read.locks else ', no locks'}"
    verdict, fix = _verdict(read)
    return judged(_GROUP, read.purpose, value, verdict, fix, same=False)


def _verdict(read: Disk) -> tuple[Verdict, str]:
    """Of a folder that can be written."""
    if read.free < 2 * 2**30:
        return "broken" if read.free < 200 * 2**20 else "look here", f"make room in {read.folder}, or name another"
    if read.kind in ("tmpfs", "ramfs"):
        return "look here", f"{read.folder} is in memory and goes with it; name another folder for what is to last"
    if (read.write or 0) < 10 * 2**20:
        return "look here", "slow: name a folder on a faster disk, or checkpoint less often (train.checkpoint_every)"
    if not read.locks:
        return "look here", "a file that is renewed stands in for the lock; mount with flock, or name another disk"
    return "good", ""


def _speed(file: int) -> tuple[float, float]:
    """Bytes a second, written and read."""
    piece = os.urandom(_PIECE)  # nothing that a file system could compress
    start, moved = time.monotonic(), 0
    for _ in range(_PIECES):
        moved += os.write(file, piece)
        os.fsync(file)
        if time.monotonic() - start > _SECONDS:
            break
    write = moved / (time.monotonic() - start)
    with suppress(OSError):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.lseek(file, 0, os.SEEK_SET)
    start, moved = time.monotonic(), 0
    while (got := len(os.read(file, _PIECE))) and time.monotonic() - start < _SECONDS:
        moved += got
    return write, moved / max(time.monotonic() - start, 1e-9)


def _has_locks(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
    return True


def _kind(place: Path, mounts: Path) -> str:
    """The file system that a folder lies on."""
    longest, kind = -1, "unknown"
    with suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if len(words) < 3:
                continue
            point = words[1].replace("\\040", " ")
            if place.resolve().is_relative_to(point) and len(point) >= longest:
                longest, kind = len(point), words[2]
    return kind
