"""Progress of what takes long: a line now and then in a log, in a terminal one that is replaced."""

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

_SECONDS_BETWEEN_LINES = 5.0


@runtime_checkable
class Shows(Protocol):
    """A way to say lines that can also show one that the next one replaces."""

    def __call__(self, line: str, /) -> None:
        """Say a line."""
        ...

    @property
    def shows(self) -> bool:
        """Whether it can, where it is now."""
        ...

    def passing(self, line: str) -> None:
        """Show a line until the next."""
        ...


def now_and_then(say: Callable[[str], None]) -> Callable[[str], None]:
    """Shows every line where it can be replaced; else says one where some seconds have passed since the last."""
    if isinstance(say, Shows) and say.shows:
        return say.passing
    told = time.monotonic()

    def pass_on(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > _SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            say(line)

    return pass_on
