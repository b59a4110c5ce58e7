"""Who holds a folder: the kernel's lock where the file system has one, else a lease that is seen to be alive.

A lock of the kernel (flock) ends with the process that holds it, however that ends. Some file systems of clusters
refuse it. There a file beside names the holder and a count that the holder raises every few seconds. Whoever finds
such a file watches it for several of those times, by its own monotonic clock: a count that moves belongs to a living
holder, one that stands to a dead one, whose file is replaced. A dead process of this machine is known at once. No
clocks of two machines are compared. What a lease cannot do: a holder that was stopped for longer than it is watched
(suspended, or cut off from the file system) loses its folder without learning it.

What is held for good is refused to others (``hold``); what is held for a moment is waited for (``in_turn``); and
``holder`` only looks.
"""

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
BEAT_SECONDS = 5.0
BEATS_WATCHED = 4
_POLL_SECONDS = 0.05
_LOOKS, _LOOK_SECONDS = 3, 0.01
_TELL_SECONDS = 10.0


class Held(Exception):
    """Another process holds the folder; the message names it."""


class Hold:
    """A folder that this process holds, until it is closed or the process ends."""

    def __init__(self, file: IO[str], lease: "_Lease | None") -> None:
        self._file, self._lease = file, lease
        os.register_at_fork(after_in_child=self._forget)  # else a loader worker would hold it on after this process

    def __enter__(self) -> "Hold":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder back."""
        if self._lease is not None:
            self._lease.end()
        self._file.close()

    @property
    def is_current(self) -> bool:
        """Whether the file that is held is the one at its place: who held it before may have removed it just then."""
        try:
            return os.path.samestat(Path(self._file.name).stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Remove the file while it is held, which whoever opened it meanwhile sees, and give the folder back."""
        if self.is_current:
            Path(self._file.name).unlink()
        self.close()

    def _forget(self) -> None:
        self._lease = None
        self._file.close()


def hold(lock: Path) -> Hold:
    """Take the folder in which ``lock`` lies, or is made.

    Raises:
        Held: naming the process that has it.
        OSError: if the file cannot be written.
    """
    file = lock.open("a+", encoding="utf-8")
    lease: _Lease | None = None
    try:
        try:
            _lock(file)
        except BlockingIOError:
            file.seek(0)
            raise Held(file.read(200).strip() or "another process") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lease = _Lease(lock.with_name(lock.name + "-lease"))
            lease.take()
        file.truncate(0)
        file.write(_name(os.getpid(), socket.gethostname()))
        file.flush()
    except BaseException:
        file.close()
        raise
    return Hold(file, lease)


def _lock(file: IO[str]) -> None:
    """The kernel's lock; one that goes within a moment was of somebody who only looked (``holder``)."""
    for _ in range(_LOOKS):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_LOOK_SECONDS)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def in_turn(lock: Path, say: Callable[[str], None], what: str) -> Generator[None]:
    """Hold what each holder gives back soon. Whoever has it is waited for, and its death noticed; the file goes then.

    Args:
        lock: the file.
        say: told now and then for whom one waits.
        what: what the holder does, for that.

    Raises:
        OSError: if the file cannot be written.
    """
    told = time.monotonic()
    while True:
        try:
            held = hold(lock)
        except Held as other:
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                say(f"waiting for {other}, which {what}")
            time.sleep(_POLL_SECONDS)
            continue
        if held.is_current:
            break
        held.close()
    try:
        yield
    finally:
        held.remove()


def holder(lock: Path) -> str | None:
    """The process that holds a folder, by its lock; None if none does. Two that look do not disturb each other."""
    try:
        with lock.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(200).strip() or "another process"
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return _Lease(lock.with_name(lock.name + "-lease")).living()
    except FileNotFoundError:
        pass
    return None


class _Lease:
    """A file that names its holder and is written again and again."""

    def __init__(self, path: Path) -> None:
        self._path, self._token, self._ended = path, uuid.uuid4().hex, Event()
        self._beside = path.with_name(f"{path.name}-{self._token}")
        self._thread = Thread(target=self._beat, name="lease", daemon=True)

    def take(self) -> None:
        """Make the file, over one that no living process writes.

        Raises:
            Held: if one does.
        """
        if not self._make():
            first = self._read()
            found = self._watch(first)
            if found is None and not self._clear_away(first):  # another process came first
                found = self._holder(self._read())
            if found is not None or not self._make():
                raise Held(found or self._holder(self._read()))
        self._thread.start()

    def living(self) -> str | None:
        """The name of whoever has the folder, if it lives."""
        return self._watch(self._read()) if self._path.exists() else None

    def end(self) -> None:
        """Remove the file, if it is still this process's."""
        self._ended.set()
        self._thread.join()
        if self._read().get("token") == self._token:
            self._path.unlink(missing_ok=True)

    def _make(self) -> bool:
        try:
            with self._path.open("x", encoding="utf-8") as file:
                file.write(self._text(0))
        except FileExistsError:
            return False
        return True

    def _clear_away(self, dead: dict[str, object]) -> bool:
        """Remove the file that was found dead; of several processes that found it, one does. Returns whether it did."""
        try:
            self._path.rename(self._beside)
        except FileNotFoundError:
            return False
        is_dead = self._read(self._beside) == dead
        if not is_dead:  # it was another's already: that one gets it back
            with suppress(OSError):
                os.link(self._beside, self._path)
        self._beside.unlink()
        return is_dead

    def _text(self, beat: int) -> str:
        return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": self._token, "beat": beat})

    def _beat(self) -> None:
        beat = 0
        while not self._ended.wait(BEAT_SECONDS):
            beat += 1
            with suppress(OSError):  # a full disk; what stands there is looked at again next time
                if self._read().get("token") != self._token:
                    return
                self._beside.write_text(self._text(beat), encoding="utf-8")
                self._beside.replace(self._path)

    def _watch(self, first: dict[str, object]) -> str | None:
        """The name of the holder if it lives, None if it does not."""
        pid = first.get("pid")
        if first.get("host") == socket.gethostname() and isinstance(pid, int):
            return self._holder(first) if _lives(pid) else None
        end = time.monotonic() + BEAT_SECONDS * BEATS_WATCHED
        while time.monotonic() < end:
            time.sleep(BEAT_SECONDS / 5)
            now = self._read()
            if now != first:
                return self._holder(now)
        return None

    def _read(self, path: Path | None = None) -> dict[str, object]:
        try:
            record = json.loads((path or self._path).read_text(encoding="utf-8")[:1000])
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def _holder(self, record: dict[str, object]) -> str:
        return _name(record.get("pid"), record.get("host")) if record else "another process"


def _name(pid: object, host: object) -> str:
    return f"process {pid} on {host}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
