"""What the readers of remote files have in common: what they give, and the two ways in which they fail."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Body:
    """What came back: bytes from ``start`` on, piece by piece, each as soon as it is there."""

    start: int
    """Where the first byte lies in the file: as asked for, or 0 where the server gives whole files only."""
    total: int | None
    """How long the whole file is, where the server says so."""
    pieces: Iterator[bytes]
    """Raises ``Broken`` where the connection breaks or stalls; may end early without a word."""


class Refused(Exception):
    """Asking again will not help: there is no such file, or no right to it. The message says what was answered."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


class Broken(Exception):
    """Asking again may help: a server in trouble, a connection that was cut, a stall. The message says which."""
