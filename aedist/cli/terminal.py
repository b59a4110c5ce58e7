"""Where a command speaks: the terminal it was started in, or the log."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def open_console() -> "Console":
    """Where progress and results are shown."""
    from rich.console import Console

    return Console()


def open_speaker() -> Callable[[str], None]:
    """Says a line of what happens."""
    from aedist.tracking.console import speaker

    return speaker(open_console())
