"""What a run tells the outside: records and pictures, handed to every sink.

Rank zero has a tracker with sinks, the other processes one without any. A sink takes plain dictionaries; what a
record means is decided where it is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Record = dict[str, Any]


class Sink(Protocol):
    """A place that records go to."""

    def record(self, record: Record) -> None:
        """Take one record; its ``kind`` says what it is."""
        ...

    def picture(self, name: str, path: Path, record: Record) -> None:
        """Take a picture file that belongs to a record."""
        ...

    def sync(self) -> None:
        """Make everything taken so far durable, where that means something."""
        ...

    def close(self, exit_code: int) -> None:
        """The run ends."""
        ...


@dataclass(frozen=True)
class Tracker:
    """Hands everything to all sinks, in their order, as part of one attempt of the run."""

    sinks: Sequence[Sink] = ()
    attempt: int = 1

    def record(self, record: Record) -> None:
        """Tell every sink a record."""
        for sink in self.sinks:
            sink.record({**record, "attempt": self.attempt})

    def picture(self, name: str, path: Path, record: Record) -> None:
        """Tell every sink of a picture that was written to ``path``."""
        for sink in self.sinks:
            sink.picture(name, path, record)

    def sync(self) -> None:
        """Make everything told so far durable."""
        for sink in self.sinks:
            sink.sync()

    def close(self, exit_code: int) -> None:
        """Take leave of every sink."""
        for sink in self.sinks:
            sink.close(exit_code)
