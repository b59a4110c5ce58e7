"""The end of ``metrics.jsonl``: what a look at a run needs of it, however long the file is."""

import json
from dataclasses import dataclass
from pathlib import Path

from aedist.tracking.tracker import Record

_TAILS_BYTES = (2**16, 2**21)


@dataclass(frozen=True)
class End:
    """What the end of the records tells."""

    last: Record
    best: Record
    """The last evaluation that was the best so far."""


def read_end(path: Path) -> End:
    """From the end of a file of records; a last line that a kill cut short is passed over."""
    last: Record = {}
    for most in _TAILS_BYTES:
        lines, is_whole = _tail(path, most)
        last = next(filter(None, map(_record, reversed(lines))), {})
        evaluations = (_record(line) for line in reversed(lines) if b'"evaluation"' in line and b'"best": true' in line)
        best = next((record for record in evaluations if record.get("best") is True), {})
        if is_whole or (last and best):
            return End(last, best)
    return End(last, {})


def last_evaluations(path: Path, most: int = 2, tail_bytes: int = 2**18) -> tuple[Record, ...]:
    """The last evaluations that a file of records tells of near its end, oldest first."""
    records = (_record(line) for line in _tail(path, tail_bytes)[0] if b'"evaluation"' in line)
    return tuple(record for record in records if record.get("kind") == "evaluation")[-most:]


def _tail(path: Path, most: int) -> tuple[list[bytes], bool]:
    """The lines at the end of a file that are whole in so many bytes, and whether they are all; none of no file."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - most))
            lines = file.read(most).splitlines()
    except FileNotFoundError:
        return [], True
    return lines if length <= most else lines[1:], length <= most


def _record(line: bytes) -> Record:
    """The record in a line; an empty one if it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and type(found.get("step")) is int else {}
