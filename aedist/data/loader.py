"""Micro-batches for one process, read ahead by worker processes, in the order of the plan.

A worker is handed a stretch of steps and returns the process's uint8 images of all of them, so that little
crosses between processes, and that as bytes. Which worker reads what, and how far ahead, changes nothing but
speed: each stretch is a pure function of its steps, and stretches come back in order. A worker returns a
user's error as a value, so that it arrives as one line and not inside another process's traceback.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from aedist.data.plan import Plan
from aedist.data.remote import RemoteFolder
from aedist.data.store import ShardStore
from aedist.errors import DataDamage
from aedist.shards.index import Index

IMAGES_A_STRETCH = 256
STRETCHES_AHEAD = 4
"""So many stretches each worker reads before they are needed."""

Stretch = tuple[int, int]
"""From the first to before the last: of steps, or of sample ids."""


@dataclass(frozen=True)
class StepBatch:
    """What one process runs in one step: its micro-batch slots, the samples in them, and their images."""

    step: int
    slots: tuple[int, ...]
    sample_ids: Tensor
    """int64 (rounds, b), as read from the shards."""
    images: Tensor
    """uint8 (rounds, b, H, W, C)."""


@dataclass(frozen=True)
class Split:
    """Where a split lies, in a folder here or at an address, and what its index says."""

    folder: Path | RemoteFolder
    index: Index


def stream(
    split: Split, plan: Plan, slots: Sequence[int], first_step: int, last_step: int, workers: int, pin: bool
) -> Iterator[StepBatch]:
    """The batches of steps ``first_step`` to ``last_step`` (not included), decoded as they are needed.

    Args:
        split: the data.
        plan: which samples.
        slots: the micro-batch slots of this process.
        first_step: where to begin; nothing before it is read.
        last_step: where to end.
        workers: loader processes; 0 reads in this one.
        pin: whether to put images into page-locked memory, for copies to a GPU.

    Raises:
        DataDamage: if a shard or an image is damaged.
    """
    length = steps_a_stretch(plan, slots)
    stretches = cut(first_step, last_step, length)
    reader = _Reader(split, partial(_ids_of_steps, plan, slots))
    for (start, stop), (ids, images) in zip(stretches, _load(reader, stretches, workers, pin), strict=True):
        for offset in range(stop - start):
            yield StepBatch(start + offset, tuple(slots), ids[offset], images[offset])


def steps_a_stretch(plan: Plan, slots: Sequence[int]) -> int:
    """How many steps a worker reads together."""
    return max(1, IMAGES_A_STRETCH // (plan.micro * len(slots)))


def read_stretches(split: Split, stretches: Sequence[Stretch], workers: int) -> Iterator[tuple[Stretch, Tensor]]:
    """Stretches of consecutive sample ids, each with its images, uint8 (n, H, W, C), in the given order.

    Raises:
        DataDamage: if a shard or an image is damaged.
    """
    for stretch, (_, images) in zip(
        stretches, _load(_Reader(split, torch.arange), stretches, workers, pin=False), strict=True
    ):
        yield stretch, images


def cut(first: int, last: int, length: int) -> list[Stretch]:
    """The range ``first`` to ``last`` (not included) in stretches of ``length``, the last one perhaps shorter."""
    return [(start, min(start + length, last)) for start in range(first, last, length)]


def _ids_of_steps(plan: Plan, slots: Sequence[int], first_step: int, last_step: int) -> Tensor:
    """The sample ids of some steps, int64 (steps, rounds, b)."""
    return torch.stack([torch.from_numpy(plan.step_ids(step, slots)) for step in range(first_step, last_step)])


class _Reader(Dataset[tuple[Tensor, Tensor] | DataDamage]):
    """A split seen from a worker: a stretch in; its sample ids and their images, or what is wrong with them, out."""

    def __init__(self, split: Split, ids_of: Callable[[int, int], Tensor]) -> None:
        self._split, self._ids_of = split, ids_of
        self._verified = torch.zeros(len(split.index.shards), dtype=torch.uint8).share_memory_()
        self._store: ShardStore | None = None  # opened where it is used: memory maps do not travel

    def __getitem__(self, stretch: Stretch) -> tuple[Tensor, Tensor] | DataDamage:
        if self._store is None:
            self._store = ShardStore(self._split.folder, self._split.index, self._verified)
        ids = self._ids_of(*stretch)
        try:
            images = self._store.read_images(ids.reshape(-1).numpy())
        except DataDamage as error:
            return error
        return ids, images.reshape(*ids.shape, *images.shape[1:])


def _load(reader: _Reader, stretches: Sequence[Stretch], workers: int, pin: bool) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(
        reader,
        sampler=cast("Sampler[Stretch]", stretches),
        batch_size=None,
        num_workers=min(workers, len(stretches)),
        prefetch_factor=STRETCHES_AHEAD if workers and stretches else None,
        pin_memory=pin,
        # forked, so that they inherit that signals ask the run to stop and do not end them
        multiprocessing_context="fork" if workers and stretches and sys.platform == "linux" else None,
        collate_fn=_as_it_is,
        worker_init_fn=partial(_end_with_parent, os.getpid()),
    )
    for read in _each(loader):
        if isinstance(read, DataDamage):
            raise read
        yield read


def _each(loader: DataLoader[tuple[Tensor, Tensor] | DataDamage]) -> Iterator[tuple[Tensor, Tensor] | DataDamage]:
    """What the loader reads. A worker that dies is one error, also where it was just handing over what it had read."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # which workers inherit, and all their threads
    reading = iter(loader)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    while True:
        try:
            yield next(reading)
        except StopIteration:
            return
        except (ConnectionError, EOFError) as error:
            dead = [worker.pid for worker in getattr(reading, "_workers", ()) if not worker.is_alive()]
            pids = ", ".join(str(pid) for pid in dead) or "0"
            raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly while it handed over") from error


def _end_with_parent(parent: int, worker: int) -> None:
    """In a worker: be killed when the process that it reads for dies.

    It would else read on for no one, and hold open the connections whose end tells the others of that death. Where the
    system cannot promise it, torch's workers look for their parent every few seconds.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
        _end_with_reader_alone()
    if os.getppid() != parent:  # it died before
        os._exit(1)


def _end_with_reader_alone() -> None:
    """In a worker: end by SIGTERM only if it comes from the process that this one reads for.

    A scheduler may send it to every process of a job. torch lets a worker die of it, whatever was inherited; but a job
    that is to stop still reads what it needs to get to the end of its step. The signal was blocked as it was forked.
    """

    def hear() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    Thread(target=hear, name="signals", daemon=True).start()


def _as_it_is(read: object) -> object:
    return read
