"""The data plan: which samples every micro-batch of every step holds, as a pure function.

The order of an epoch is a function of (seed, epoch, samples per shard) alone. It permutes the shards, then the
samples inside each block of consecutive shards. A step is M micro-batches of b images, and micro-batch
slot m reads its own contiguous stretch of the order::

    order of an epoch   |---- slot 0 ----|---- slot 1 ----| ... |-- slot M-1 --|- left over -|
    step t of slot m                       [t*b : t*b + b]

so a process, which owns the slots r, r+W, r+2W, ..., touches only its own shards. An epoch has
floor(N / (M*b)) steps; the fewer than M*b samples left over are others in every epoch. The only position a
run has is its step: nothing is skipped through to get there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aedist import keys
from aedist.config import Config
from aedist.errors import UserError
from aedist.shards.index import Index

# A shuffle over everything is cheap while positions fit in memory many times over; above that, shards were
# shuffled when built, so a few of them together are enough. By the data alone, never by the machine.
_SHUFFLE_WHOLE_BELOW_SAMPLES = 2_000_000
_SHUFFLE_SHARDS_ABOVE = 8

_SHARD_ORDER, _BLOCK_ORDER = 1, 2  # what a key is for


class EpochOrder:
    """The order of one epoch. Only the blocks of shards that are asked for are ever permuted."""

    def __init__(
        self, samples_per_shard: Sequence[int], seed: int, epoch: int, shuffle_shards: int, blocks_kept: int
    ) -> None:
        counts = np.array(samples_per_shard, dtype=np.int64)
        self._first_ids = np.concatenate([[0], np.cumsum(counts)])
        self._shards = keys.permutation(len(counts), _SHARD_ORDER, seed, epoch)
        ends = np.cumsum(counts[self._shards])[shuffle_shards - 1 :: shuffle_shards]
        self._block_starts = np.concatenate([[0], ends])
        self._name = (_BLOCK_ORDER, seed, epoch)
        self._shuffle_shards = shuffle_shards
        self._blocks_kept = blocks_kept
        self._blocks: dict[int, NDArray[np.int64]] = {}

    def ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """The sample ids at places ``start`` to ``stop`` of the order."""
        pieces: list[NDArray[np.int64]] = []
        while start < stop:
            number = int(np.searchsorted(self._block_starts, start, side="right")) - 1
            block_start = int(self._block_starts[number])
            piece = self._block(number)[start - block_start : stop - block_start]
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _block(self, number: int) -> NDArray[np.int64]:
        """The permuted ids of one block of consecutive shards; a few are kept, since stretches share them."""
        if number not in self._blocks:
            if len(self._blocks) >= self._blocks_kept:
                self._blocks.pop(next(iter(self._blocks)))
            shards = self._shards[number * self._shuffle_shards : (number + 1) * self._shuffle_shards]
            ids = np.concatenate([np.arange(*self._first_ids[s : s + 2].tolist()) for s in shards.tolist()])
            self._blocks[number] = ids[keys.permutation(len(ids), *self._name, number)]
        return self._blocks[number]


@dataclass(frozen=True)
class Plan:
    """The data plan of a run.

    Sample ids number the samples of all shards in index order: shard 0 holds ids 0..n0-1, and so on.
    """

    samples_per_shard: tuple[int, ...]
    seed: int
    micro: int
    num_micro: int
    shuffle_shards: int
    _orders: dict[int, EpochOrder] = field(default_factory=dict[int, EpochOrder], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.steps_per_epoch < 1:
            raise UserError(
                f"batch.micro x batch.num_micro: {self.micro} x {self.num_micro} = {self.images_per_step} images a "
                f"step, but the split has {self.num_samples}; make the step smaller"
            )

    @cached_property
    def num_samples(self) -> int:
        """N."""
        return sum(self.samples_per_shard)

    @property
    def images_per_step(self) -> int:
        """B = M x b."""
        return self.micro * self.num_micro

    @property
    def steps_per_epoch(self) -> int:
        """floor(N / B)."""
        return self.num_samples // self.images_per_step

    @property
    def left_over(self) -> int:
        """Samples that an epoch does not use, fewer than B and others in every epoch."""
        return self.num_samples % self.images_per_step

    def epoch_of(self, step: int) -> int:
        """The epoch (from 0) that step (from 0) belongs to."""
        return step // self.steps_per_epoch

    def sample_ids(self, step: int, micro_batch: int) -> NDArray[np.int64]:
        """The ids in micro-batch slot ``micro_batch`` of ``step``, shape (b,)."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        start = (micro_batch * self.steps_per_epoch + step_in_epoch) * self.micro
        return self._order(epoch).ids(start, start + self.micro)

    def slot_ids(self, micro_batch: int, first_step: int, last_step: int) -> NDArray[np.int64]:
        """The ids in one slot of the steps ``first_step`` to before ``last_step`` of one epoch, shape (steps, b)."""
        epoch, step_in_epoch = divmod(first_step, self.steps_per_epoch)
        start = (micro_batch * self.steps_per_epoch + step_in_epoch) * self.micro
        count = last_step - first_step
        return self._order(epoch).ids(start, start + count * self.micro).reshape(count, self.micro)

    def step_ids(self, step: int, micro_batches: Sequence[int]) -> NDArray[np.int64]:
        """The ids of several slots of one step, shape (len(micro_batches), b)."""
        return np.stack([self.sample_ids(step, m) for m in micro_batches])

    def epoch_ids(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        """Every micro-batch's ids of an epoch, step by step and slot by slot."""
        first = epoch * self.steps_per_epoch
        for step in range(first, first + self.steps_per_epoch):
            for micro_batch in range(self.num_micro):
                yield self.sample_ids(step, micro_batch)

    def _order(self, epoch: int) -> EpochOrder:
        if epoch not in self._orders:
            while len(self._orders) > 1:  # the one before stays: loader workers run ahead over an epoch's end
                self._orders.pop(next(iter(self._orders)))
            # each slot is in a block of its own, or between two: with fewer kept, every step would permute anew
            blocks_kept = 2 * self.num_micro
            self._orders[epoch] = EpochOrder(self.samples_per_shard, self.seed, epoch, self.shuffle_shards, blocks_kept)
        return self._orders[epoch]


def make_plan(config: Config, index: Index) -> Plan:
    """The plan of a configuration over a split. ``data.shuffle_shards`` left out follows from the index.

    Raises:
        UserError: if the split has fewer samples than a step.
    """
    shuffle_shards = config.data.shuffle_shards
    if shuffle_shards is None:
        whole = index.num_samples <= _SHUFFLE_WHOLE_BELOW_SAMPLES
        shuffle_shards = len(index.shards) if whole else _SHUFFLE_SHARDS_ABOVE
    counts = tuple(shard.samples for shard in index.shards)
    return Plan(counts, config.run.seed, config.batch.micro, config.batch.num_micro, min(shuffle_shards, len(counts)))


def assigned(num_micro: int, rank: int, world: int) -> range:
    """The micro-batch slots that a process runs in each step: rank, rank + world, ...

    Raises:
        UserError: if there are more processes than micro-batches.
    """
    if world > num_micro:
        raise UserError(
            f"batch.num_micro: {num_micro}, but there are {world} processes, and each needs a micro-batch of its own; "
            f"start at most {num_micro}, or split the step into more and smaller micro-batches"
        )
    return range(rank, num_micro, world)


def rounds(num_micro: int, world: int) -> int:
    """Gradient accumulation: the most micro-batches that one process runs in a step, ceil(M / W)."""
    return -(-num_micro // world)
