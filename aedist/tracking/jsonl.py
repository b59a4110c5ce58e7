"""``metrics.jsonl``: the truth about a run, one JSON object a line, in the order of steps.

A record reaches the operating system at once, and so outlives the process whatever ends it. It is on the disk, and so
outlives the machine, with the next evaluation, the next checkpoint or the next record after half a minute, whichever
comes first. When a run resumes at a step, records of later steps are taken out first: those steps are done again.
Numbers that JSON cannot hold are null.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from aedist.errors import CannotWrite
from aedist.tracking.tracker import Record

_SYNC_SECONDS = 30.0


class JsonLines:
    """Appends to the file."""

    def __init__(self, path: Path, from_step: int, *, owes_evaluation: bool = False) -> None:
        """``from_step``: the step the run (re)starts at; records of later steps are taken out.

        So is that step's evaluation where the run begins with it.
        """
        keep_until(path, from_step, owes_evaluation=owes_evaluation)
        self._file = path.open("a", encoding="utf-8")
        self._synced = time.monotonic()

    def record(self, record: Record) -> None:
        with self._told():
            self._file.write(json.dumps(finite(record), allow_nan=False) + "\n")
            self._file.flush()
        if record.get("kind") == "evaluation" or time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def picture(self, name: str, path: Path, record: Record) -> None:
        """Pictures are files of their own."""

    def sync(self) -> None:
        with self._told():
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self, exit_code: int) -> None:
        with self._told():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _told(self) -> AbstractContextManager[None]:
        """A run that cannot keep its records stops."""
        return CannotWrite.instead_of_os_errors(self._file.name)


def keep_until(path: Path, step: int, *, owes_evaluation: bool = False) -> None:
    """Take out the records of steps after ``step``, and a last line cut short by a kill; whole or not at all.

    Where the step's evaluation is owed, a record of it is taken out too.
    """
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    kept = "".join(f"{line}\n" for line in text.splitlines() if _is_kept(line, step, owes_evaluation=owes_evaluation))
    if kept != text:  # also where the last line lacks its end alone, which the next record would run into
        beside = path.with_name(path.name + ".part")
        with beside.open("w", encoding="utf-8") as file:
            file.write(kept)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


def _is_kept(line: str, step: int, *, owes_evaluation: bool) -> bool:
    try:
        record = json.loads(line)
        found = int(record["step"])
    except (ValueError, KeyError, TypeError):
        return False
    return found < step or (found == step and not (owes_evaluation and record.get("kind") == "evaluation"))


def finite(value: Any) -> Any:
    """Plain values, with null for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
