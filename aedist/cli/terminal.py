"""Where a command speaks: the terminal it was started in, or the log.

In a terminal, what takes long shows at once that it is at work, and since when: a line that is drawn over and gone in
the end. The cursor is never hidden, so nothing is left to put back, however a process ends. Where nobody reads any
more, a command goes on in silence. Colours, size and kind of the terminal are as the environment says: NO_COLOR, TERM,
COLUMNS, LINES.
"""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

_SECONDS_BEFORE_IT_SHOWS = 0.3
_FRAMES_A_SECOND = 4


class GoesOn:
    """A stream whose reader may go away, or whose disk may fill up: what it does not take is lost, and no more."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def open_console() -> "Console":
    """Where progress and results are shown."""
    from rich.console import Console

    class CursorStays(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False

    return CursorStays(file=GoesOn(sys.stdout))  # pyright: ignore[reportArgumentType] (all that a stream needs)


class Work:
    """What takes long. Called with a line, it says it; ``passing`` shows a line that the next one replaces."""

    def __init__(self, console: "Console", doing: str) -> None:
        from aedist.tracking.console import is_lively, speaker

        self._say, self._doing, self._console = speaker(console), doing, console
        self._began, self._live = time.monotonic(), None
        if is_lively(console):
            self._live = self._start()

    def __call__(self, line: str) -> None:
        self._say(line)

    @property
    def shows(self) -> bool:
        """Whether there is a terminal where a line can be replaced."""
        return self._live is not None

    def passing(self, line: str) -> None:
        """What it is at."""
        self._doing = line

    def end(self) -> None:
        """Nothing is at work any more; what was shown of it is gone."""
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()
            self._live = None

    def _start(self) -> "Live":
        from rich.live import Live
        from rich.spinner import Spinner
        from rich.text import Text

        from aedist.tracking.words import duration

        spinner = Spinner("line" if self._console.options.ascii_only else "dots")

        def frame() -> Any:
            gone = time.monotonic() - self._began
            if gone < _SECONDS_BEFORE_IT_SHOWS:
                return Text("")
            words = f" {self._doing}  {duration(gone)}"
            spinner.update(text=Text(words, style="dim", no_wrap=True, overflow="ellipsis"))
            return spinner

        live = Live(get_renderable=frame, console=self._console, transient=True, refresh_per_second=_FRAMES_A_SECOND)
        live.start()
        return live


@contextmanager
def at_work(doing: str, console: "Console | None" = None) -> Generator[Work]:
    """While it lasts, a terminal shows what is at work. Results are printed after it."""
    work = Work(console or open_console(), doing)
    try:
        yield work
    finally:
        work.end()
