"""Progress of what takes long: a line now and then, whatever is said how often."""

import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 5.0


def now_and_then(say: Callable[[str], None]) -> Callable[[str], None]:
    """Passes on a line where some seconds have passed since the last, or since this was called."""
    told = time.monotonic()

    def pass_on(line: str) -> None:
        nonlocal told
        if time.monotonic() - told > _SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            say(line)

    return pass_on
