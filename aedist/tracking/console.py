"""What a person sees while a run goes on: a live panel in a terminal, plain timestamped lines elsewhere."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live

from aedist.tracking.memory import own_bytes
from aedist.tracking.outlook import Outlook
from aedist.tracking.panel import PanelOfRun
from aedist.tracking.told import Told
from aedist.tracking.tracker import Record
from aedist.tracking.words import duration, in_words

_FRAMES_A_SECOND = 2
_LEAST_SECONDS, _MOST_SECONDS = 10.0, 600.0
"""Between two lines of a kind in a log."""
_SHARE_OF_TIME = 0.01
"""The time between two lines of a kind grows with the time that the run has been going, so that no log grows long."""


def speaker(console: Console) -> Callable[[str], None]:
    """Prints lines as they are: a path is no markup, and a log wraps its own lines."""
    return lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)


def say_nothing(line: str) -> None:
    """What the processes other than rank zero say."""


def is_lively(console: Console) -> bool:
    """Whether what stands on the console can be drawn over: a terminal that moves its cursor, and no log."""
    return console.is_terminal and not console.is_dumb_terminal


def watched(console: Console, outlook: Outlook) -> "LivePanel | PlainLines":
    """The sink that suits the console."""
    return LivePanel(console, outlook) if is_lively(console) else PlainLines(console, outlook)


class LivePanel:
    """The run's progress in a terminal.

    Frames are drawn by a thread of their own; taking a record draws nothing, so a terminal that stands still does not
    hold up training.
    """

    def __init__(self, console: Console, outlook: Outlook) -> None:
        self._told = Told(outlook)
        panel = PanelOfRun(self._told, own_bytes)
        self._live = Live(panel, console=console, refresh_per_second=_FRAMES_A_SECOND, vertical_overflow="crop")
        self._live.start(refresh=True)

    def record(self, record: Record) -> None:
        self._told.record(record)

    def picture(self, name: str, path: Path, record: Record) -> None:
        """Pictures are named in the closing summary, not as they come."""

    def sync(self) -> None:
        """Nothing is buffered."""

    def close(self, exit_code: int) -> None:
        with suppress(OSError):  # a terminal that is gone
            self._live.stop()


class PlainLines:
    """The run's progress in a log: a line a record, each kind now and then only, and the last of each in the end.

    A line begins with the time of day; the first, and the first of every day, with the date.
    """

    def __init__(
        self,
        console: Console,
        outlook: Outlook,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._say, self._now, self._clock = speaker(console), now, clock
        self._told = Told(outlook, clock)
        self._date = ""
        self._told_at: dict[str, float] = {}
        self._held: dict[str, Record] = {}
        self._num_held: dict[str, int] = {}

    def record(self, record: Record) -> None:
        self._told.record(record)
        kind, now = record["kind"], self._clock()
        between = min(_MOST_SECONDS, max(_LEAST_SECONDS, _SHARE_OF_TIME * self._told.elapsed_seconds))
        self._held[kind] = record
        self._num_held[kind] = self._num_held.get(kind, 0) + 1
        if kind not in self._told_at or now - self._told_at[kind] >= between:
            self._told_at[kind] = now
            self._tell(kind)

    def picture(self, name: str, path: Path, record: Record) -> None:
        """Pictures are named in the closing summary, not as they come."""

    def sync(self) -> None:
        """Nothing is buffered."""

    def close(self, exit_code: int) -> None:
        for kind in sorted(self._held, key=lambda kind: self._held[kind].get("step", 0)):
            self._tell(kind)

    def _tell(self, kind: str) -> None:
        left = self._told.seconds_left
        words = in_words(
            self._held.pop(kind), self._told.outlook.total_epochs, "unknown time" if left is None else duration(left)
        )
        missed = self._num_held.pop(kind) - 1
        if missed and kind == "skipped":  # other kinds tell of how things are, and the last says that
            words += f" (and {missed:,} steps since the last such line)"
        now = self._now()
        date = f"{now:%Y-%m-%d}"
        day = "" if date == self._date else f"{date} "
        self._date = date
        self._say(f"{day}{now:%H:%M:%S}  {words}")
