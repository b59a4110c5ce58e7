"""Who may write a data set's folder: one build, or the parts of one, each once. Whoever is too many is told by whom.

A build has the folder's lock, a part has one of its own, and each looks whether the other kind is held, after it took
its own: of two that begin at the same moment at least one sees the other. The locks are ``lease``'s, so that they end
with the process that holds them, however that ends, also where a file system has none.
"""

import re
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from aedist.errors import UserError
from aedist.lease import Held, Hold, hold, holder

LOCK_NAME = ".lock"
"""What the name of every lock in a folder begins with."""

_PART = re.compile(rf"{re.escape(LOCK_NAME)}-part-(\d+)-of-(\d+)")
_GLANCE_SECONDS = 1.0  # for which a lock may be held by who only clears away


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold ``folder``, which is made if it is not there, against every other writer.

    Raises:
        UserError: if another process holds it, naming that process; or if the folder cannot be written.
    """
    with _held(folder / LOCK_NAME, f"{folder}: is being written by", "wait for it, or build into another folder"):
        for path, number, count in _locks_of_parts(folder):
            if (by := _cleared(path)) is not None:
                raise UserError(
                    f"{folder}: is being written by part {number} of {count}, {by}; wait for it, or build into another "
                    f"folder"
                )
        yield


@contextmanager
def locked_part(folder: Path, number: int, count: int) -> Generator[None]:
    """Hold the right to write part ``number`` of ``count`` of a folder, beside the other parts of as many.

    Raises:
        UserError: if another process has it, or builds the folder alone or in another number of parts; or if the folder
            cannot be written.
    """
    own = folder / f"{LOCK_NAME}-part-{number}-of-{count}"
    who = f"{folder}: part {number} of {count} is being written by"
    with _held(own, who, "wait for it, or end it first", glance_seconds=_GLANCE_SECONDS):
        if (by := holder(folder / LOCK_NAME)) is not None:
            raise UserError(
                f"{folder}: is being written by {by}, which builds it alone; wait for it, or build into another folder"
            )
        for path, its_number, its_count in _locks_of_parts(folder):
            if its_count != count and (by := holder(path)) is not None:
                raise UserError(
                    f"--part: {number}/{count} is refused: {by} writes part {its_number} of {its_count} of {folder}; "
                    f"give all parts the same count, or wait for it"
                )
        yield


def clear_locks(folder: Path) -> None:
    """Remove the locks that parts which were killed left in a folder that is finished."""
    for path, _, _ in _locks_of_parts(folder):
        _cleared(path)


@contextmanager
def _held(path: Path, who: str, fix: str, glance_seconds: float = 0.0) -> Generator[None]:
    folder, end = path.parent, time.monotonic() + glance_seconds
    while True:
        try:
            held: Hold | None = _take(path)
        except Held as by:
            if time.monotonic() >= end:
                raise UserError(f"{who} {by}; {fix}") from None
            held = None
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror}); make room or rights") from error
        if held is not None and held.is_current:
            break
        if held is not None:
            held.close()
            if not glance_seconds:
                raise UserError(f"{folder}: was finished by another process just now; run the command again")
        time.sleep(0.05)
    try:
        yield
    finally:
        held.remove()
        with suppress(OSError):
            folder.rmdir()  # if nothing came of it


def _take(path: Path) -> Hold | None:
    """The lock; None if the folder went away as it was opened, since nothing had come of it for another process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return hold(path)
    except FileNotFoundError:
        return None


def _cleared(path: Path) -> str | None:
    """Remove a lock that no process holds; the name of the process if one does."""
    try:
        with suppress(FileNotFoundError):
            hold(path).remove()
    except Held as by:
        return str(by)
    return None


def _locks_of_parts(folder: Path) -> list[tuple[Path, int, int]]:
    found = sorted(folder.iterdir())
    return [(path, int(named[1]), int(named[2])) for path in found if (named := _PART.fullmatch(path.name))]
