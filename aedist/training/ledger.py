"""The ledger: which samples every micro-batch really held, kept by every run as its proof.

Each process appends a fixed-size record for each micro-batch that went into a step: the step, the slot, and
the ids of the samples as they were read from the shards. A file a process and attempt, flushed to the disk
before each checkpoint. An attempt that resumes at a step supersedes what earlier ones wrote from there on.
"""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aedist.data.loader import StepBatch
from aedist.errors import CannotWrite


def record_type(micro: int) -> np.dtype[Any]:
    """The record of one micro-batch of ``micro`` images."""
    return np.dtype([("step", "<i8"), ("slot", "<i8"), ("sample_ids", "<i8", (micro,))])


class Ledger:
    """The ledger file of one process in one attempt."""

    def __init__(self, folder: Path, attempt: int, rank: int, micro: int) -> None:
        self._path = folder / f"attempt-{attempt:04d}-rank-{rank:05d}.bin"
        self._type = record_type(micro)
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")

    def add(self, batch: StepBatch) -> None:
        """Note what a step's micro-batches on this process held."""
        records = np.empty(len(batch.slots), dtype=self._type)
        records["step"], records["slot"], records["sample_ids"] = batch.step, batch.slots, batch.sample_ids.numpy()
        with self._told():
            self._file.write(records.tobytes())

    def flush(self) -> None:
        """Make everything noted so far durable."""
        with self._told():
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        with self._told():
            self._file.close()

    def _told(self) -> AbstractContextManager[None]:
        """A run that cannot keep its proof stops."""
        so = ", and a run without its proof does not go on"
        return CannotWrite.instead_of_os_errors(self._path, "the ledger", so)


@dataclass(frozen=True)
class Attempt:
    """One start of a run: its number from 1, and the step it began at."""

    number: int
    first_step: int


def read_ledger(folder: Path, attempts: list[Attempt], micro: int) -> NDArray[Any]:
    """The records that stand, in the order of step and slot.

    Args:
        folder: the run's ledger.
        attempts: the run's attempts in order; each one's first step ends what stood before it.
        micro: images in a micro-batch.

    Returns:
        An array of ``record_type(micro)``. A last record cut short by a kill is left out.
    """
    kind, standing = record_type(micro), list[NDArray[Any]]()
    for attempt in attempts:
        end = min((later.first_step for later in attempts if later.number > attempt.number), default=None)
        for path in sorted(folder.glob(f"attempt-{attempt.number:04d}-rank-*.bin")):
            body = path.read_bytes()
            records = np.frombuffer(body[: len(body) // kind.itemsize * kind.itemsize], dtype=kind)
            standing.append(records if end is None else records[records["step"] < end])
    records = np.concatenate(standing) if standing else np.empty(0, dtype=kind)
    return records[np.lexsort((records["slot"], records["step"]))]
