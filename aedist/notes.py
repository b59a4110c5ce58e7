"""What a process of a run is at, what is known of the others, and the words for it when it is the end."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from aedist.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USER_ERROR

AGAIN = "start again with the same command"
OWN, SHARED, OTHERS = range(3)
"""Whose matter it is if it takes too long: the process's own, its own or the others', the others'."""
_MOST_NAMED = 3


class Note(NamedTuple):
    """What the main thread is at."""

    step: int
    doing: str | Callable[[], str]
    whose: int


@dataclass
class Known:
    """What is known of a process: where it is, since when, and when that was heard, by this process's clock."""

    where: str
    whose: int
    since: float
    heard: float


@dataclass(frozen=True)
class End:
    """Why the run cannot go on, and the exit code that this gives."""

    line: str
    code: int


def tell(rank: int, line: str) -> None:
    """A line as the command line tells it, past Python's buffers, which the main thread may hold."""
    try:
        os.write(2, (f"aedist: {line}\n" if rank == 0 else f"aedist: process {rank}: {line}\n").encode())
    except OSError:  # whoever read our output is gone
        return


def spell(note: Note, *, in_full: bool = True) -> str:
    """A note in words; which data a process waits for takes some work to say, so only ``in_full``."""
    doing = note.doing if isinstance(note.doing, str) else note.doing() if in_full else "waits for data"
    return f"step {note.step:,} ({doing})" if note.step else f"the beginning ({doing})"


def departed(rank: int, code: int | None, where: str) -> tuple[str, int]:
    """Of a process that left, the line and the exit code for the others."""
    if code is None:
        return f"process {rank} is gone without a word, killed or cut off; last heard of in {where}", EXIT_FAULT
    if code == EXIT_INTERRUPTED:
        return f"process {rank} was asked to stop before training went on", code
    line = f"process {rank} ended with exit code {code}, and says why itself"
    return line, code if code == EXIT_USER_ERROR else EXIT_FAULT


def stalled(seconds: float, limit: str, silent: dict[int, Known], stuck: dict[int, Known]) -> str:
    """Of processes that say nothing, and of others that do not move; ``limit`` names what allows so many seconds."""
    named = [f"process {rank} gives no sign of life since it was in {known.where}" for rank, known in silent.items()]
    named += [f"process {rank} is in {known.where}" for rank, known in stuck.items()]
    more = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    told = "; ".join(named[:_MOST_NAMED])
    allowed = f" ({limit})" if limit else ""
    return f"nothing moved for {seconds / 60:g} minutes{allowed}: {told}{more}"
