"""What whoever started a process asks of it: which one among how many it is, and how they meet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aedist.meeting import Meeting


@dataclass(frozen=True)
class Asked:
    """What the launcher asked for."""

    rank: int = 0
    world: int = 1
    local_world: int = 1
    """How many of the processes share this machine."""
    local_rank: int = 0
    """This process among those of this machine."""
    cache: Path | None = None
    """Where this machine keeps what was fetched."""
    threads: int | None = None
    """How many CPU threads a process is to compute with, where the launcher says so."""
    parent: int | None = None
    """The process of a launcher that stays: when it ends, so does this one."""
    meets_at: str = ""
    """The host of rank zero."""
    meeting: Meeting | None = None
    """How the processes find each other where the launcher does not see to it."""
    job: Mapping[str, str] = field(default_factory=dict[str, str])
    """The scheduler's job that the process is part of, for the record."""
