"""A folder has one holder: by the kernel's lock, and by a lease that beats where the file system has no locks."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aedist import lease
from aedist.lease import Held, hold

HERE = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks, and leases that beat fast."""

    def refuse(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)


def leave(lock: Path, **record: object) -> Path:
    """A lease that somebody has left."""
    path = lock.with_name(".lock-lease")
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "token": "theirs", "beat": 3, **record}))
    return path


@pytest.fixture
def beating(lock: Path) -> Iterator[None]:
    """A holder elsewhere that lives, and whose clock is a year behind."""
    ended = threading.Event()

    def beat() -> None:
        number = 0
        while not ended.wait(0.02):
            number += 1
            path = lock.with_name("theirs")
            path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "token": "theirs", "beat": number}))
            os.utime(path, (time.time() - 3e7,) * 2)
            path.replace(lock.with_name(".lock-lease"))

    leave(lock)
    thread = threading.Thread(target=beat)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_a_lock_of_the_kernel_needs_no_lease(lock: Path) -> None:
    with hold(lock):
        assert [path.name for path in lock.parent.iterdir()] == [".lock"]
        with pytest.raises(Held, match=HERE):
            hold(lock)
    hold(lock).close()


def test_somebody_who_only_looks_keeps_nobody_from_holding(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.touch()
    looker = lock.open()
    fcntl.flock(looker, fcntl.LOCK_SH)
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: looker.close())  # it is gone within a moment
    with hold(lock):
        assert lease.holder(lock) == HERE
    assert lease.holder(lock) is None


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_second_holder_is_refused_by_the_name_of_the_first(lock: Path) -> None:
    with hold(lock), pytest.raises(Held, match=HERE):
        hold(lock)
    assert not lock.with_name(".lock-lease").exists()
    hold(lock).close()


@pytest.mark.usefixtures("no_locks")
def test_a_lease_of_a_process_here_that_was_killed_is_taken_over_at_once(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEATS_WATCHED", 10**6)
    code = (
        "import errno, fcntl, sys, time, pathlib; from aedist.lease import hold\n"
        "def refuse(*_): raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.flock = refuse; held = hold(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"process {holder.pid} on {socket.gethostname()}"):
            hold(lock)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    hold(lock).close()


@pytest.mark.usefixtures("no_locks", "beating")
def test_a_holder_elsewhere_whose_count_moves_is_alive_whatever_the_clocks_say(lock: Path) -> None:
    with pytest.raises(Held, match="process 7 on elsewhere"):
        hold(lock)


@pytest.mark.usefixtures("no_locks")
def test_a_holder_elsewhere_whose_count_stands_is_dead(lock: Path) -> None:
    path = leave(lock)
    os.utime(path, (time.time() + 3e7,) * 2)
    with hold(lock):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": "x"}', '{"pid": 99999999999999999999999}'])
def test_a_torn_lease_that_nobody_writes_is_taken_over(lock: Path, content: str) -> None:
    lock.with_name(".lock-lease").write_text(content)
    hold(lock).close()


@pytest.mark.usefixtures("no_locks")
def test_the_holder_keeps_beating_and_stops_when_the_lease_is_anothers(lock: Path) -> None:
    def beat() -> int:
        return int(json.loads(lock.with_name(".lock-lease").read_text())["beat"])

    with hold(lock):
        patience = time.monotonic() + 20
        while beat() < 3 and time.monotonic() < patience:
            time.sleep(0.01)
        assert beat() >= 3
        path = leave(lock)
        time.sleep(0.2)
        assert json.loads(path.read_text())["token"] == "theirs"
    assert path.exists(), "another's lease is not removed"


@pytest.mark.usefixtures("no_locks")
def test_of_two_that_take_a_dead_lease_over_one_holds(lock: Path) -> None:
    leave(lock)
    held, refused = list[object](), list[Held]()

    def take() -> None:
        try:
            held.append(hold(lock))
        except Held as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 3)
    for one in held:
        one.close()  # type: ignore[attr-defined]


def test_an_error_that_is_not_about_locks_is_not_taken_for_one(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        hold(lock)
