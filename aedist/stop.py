"""Being asked to stop, for as long as a process lives: by a signal, or because its time is up.

A signal is heard by a thread of its own, also while the main thread waits in a library. Before there is anything to
save it ends the process at once with exit code 75; after ``from_now_on_note`` it is only noted, however often it
comes, and whoever has something to save looks here. This module imports nothing heavy, so that signals are heard
before the libraries are there. Loader workers, which are forked, leave signals to the process that they read for.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock, Thread
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_EXIT_INTERRUPTED = 75


class StopRequest:
    """What this process was asked. Made in the main thread, at the beginning of the process."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = Lock()
        self._notes = False
        self._signal: str | None = None
        self._limit_minutes: float | None = None
        self._last_words: Callable[[], None] = lambda: None
        self._told: socket.socket | None = None
        self.tell: Callable[[str], None] = tell_past_buffers
        """How a person is told what a signal brings about; called in a thread of its own."""

    def listen(self) -> None:
        """Hear signals from now on, until the process ends."""
        heard, told = socket.socketpair()
        told.setblocking(False)
        for number in SIGNALS:
            signal.signal(number, _leave_it_to_the_thread)  # without a handler, a signal would end the process
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=_leave_signals_to_the_parent)
        self._told = told  # kept open
        Thread(target=self._hear, args=(heard,), name="signals", daemon=True).start()

    @contextmanager
    def deaf_in_the_end(self) -> Generator[None]:
        """After this, signals are not heard any more: what has been saved is said by the exit code that follows."""
        try:
            yield
        finally:
            for number in SIGNALS:  # Python puts back what ends a process, but not what ignores
                signal.signal(number, signal.SIG_IGN)

    def limit(self, minutes: float | None) -> None:
        """Stop when the process has lived so long, by the monotonic clock."""
        self._limit_minutes = minutes

    def before_leaving(self, last_words: Callable[[], None]) -> None:
        """What to do if a signal ends the process at once."""
        self._last_words = last_words

    def from_now_on_note(self) -> None:
        """From here on there is something to save: signals are noted, and end nothing by themselves."""
        with self._lock:
            self._notes = True

    @property
    def reason(self) -> str | None:
        """Why this process is to stop; None if it is not."""
        if self._signal is not None:
            return self._signal
        if self._limit_minutes is not None and time.monotonic() - self._began >= self._limit_minutes * 60:
            return f"train.max_minutes: {self._limit_minutes:g}"
        return None

    def _hear(self, heard: socket.socket) -> None:
        while True:
            for byte in heard.recv(64):
                if byte in SIGNALS:
                    self._act(signal.Signals(byte).name)

    def _act(self, name: str) -> None:
        with self._lock:
            if not self._notes:
                self.tell(f"{name}: stopped before training went on; the same command starts it")
                self._last_words()
                os._exit(_EXIT_INTERRUPTED)
            if self._signal is None:
                self._signal = name  # before anything is told: a terminal may stand still
                self.tell(f"{name}: stopping, with a checkpoint")


def tell_past_buffers(line: str) -> None:
    """Past Python's buffers, which another thread may be writing."""
    try:
        os.write(2, f"\naedist: {line}\n".encode())
    except OSError:  # whoever read our output is gone
        return


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """The system has told the thread already."""


def _leave_signals_to_the_parent() -> None:
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
