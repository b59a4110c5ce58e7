"""``ending.json``: how the last attempt of a run ended, for whoever looks at the run later.

An attempt that was killed leaves none; that of an earlier attempt says so by its number.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aedist.tracking.tracker import Record
from aedist.whole import write_whole


class Ending:
    """Writes the file when the run ends."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._path, self._attempt = path, attempt

    def record(self, record: Record) -> None:
        """Records have their own file."""

    def picture(self, name: str, path: Path, record: Record) -> None:
        """So have pictures."""

    def sync(self) -> None:
        """Nothing is buffered."""

    def close(self, exit_code: int) -> None:
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError):  # a full disk; the run tells of that itself
            write_whole(
                self._path, json.dumps({"attempt": self._attempt, "exit_code": exit_code, "ended": ended}) + "\n"
            )
