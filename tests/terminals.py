"""A real terminal for tests: a command at the other end of a pseudo-terminal, and the keys that a person presses."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE_SECONDS = 180
_CONTROLS = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass
class Terminal:
    """A command in a terminal."""

    pid: int
    master: int
    shown: bytearray = field(default_factory=bytearray)
    """All that was written to the terminal so far."""
    code: int | None = None

    def press(self, keys: bytes) -> None:
        """What a person types; Ctrl-C is ``\\x03``."""
        os.write(self.master, keys)

    def wait_for(self, is_there: Callable[[], bool]) -> None:
        """Read on until something is there; fail if the command ends before."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_there():
            assert time.monotonic() < end, self.text()
            assert self._read(), f"it ended: {self.text()}"

    def wait(self) -> int:
        """Read to the end, and return the exit code; negative for a signal."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self._read():
            assert time.monotonic() < end, self.text()
        os.close(self.master)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def text(self) -> str:
        """What was written, without what moves the cursor or colours."""
        return _CONTROLS.sub(b"", bytes(self.shown)).decode(errors="replace").replace("\r", "")

    def _read(self) -> bool:
        """Read what is there now, and return whether there may be more."""
        if select.select([self.master], [], [], 0.05)[0]:
            try:
                piece = os.read(self.master, 65_536)
            except OSError:  # the command has closed its end
                return False
            self.shown += piece
            return bool(piece)
        return True


def in_terminal(*words: object, columns: int = 80, lines: int = 24, **environment: str) -> Terminal:
    """``aedist WORDS`` in a terminal of its own."""
    pid, master = pty.fork()
    if pid == 0:
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM"):
            os.environ.pop(name, None)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.execve(
            sys.executable,
            [sys.executable, "-m", "aedist", *map(str, words)],
            os.environ | {"TERM": "xterm-256color", **environment},
        )
    return Terminal(pid, master)
