"""From a configuration's ``data`` section to the batches of a process: which split, which tier, where it is kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from aedist.config import Data
from aedist.data.address import check_address, is_address
from aedist.data.ahead import FetchAhead
from aedist.data.cache import Cache
from aedist.data.download import Patience
from aedist.data.loader import STRETCHES_AHEAD, Split, StepBatch, steps_a_stretch, stream
from aedist.data.plan import Plan
from aedist.data.remote import RemoteFolder, check_reachable, open_remote
from aedist.data.resident import Exchange, gather, read_all
from aedist.errors import UserError
from aedist.shards.index import check_present, read_index

Say = Callable[[str], None]
_MOST_NAMED = 4


def _say_nothing(_: str) -> None:
    """Nobody listens."""


def shard_cache(data: Data, folder: Path | None) -> Cache | None:
    """Where fetched shards are kept: the configuration's ``data.cache``, else below ``folder``, aedist's own cache."""
    chosen = Path(data.cache).expanduser() if data.cache else folder / "shards" if folder else None
    return Cache(chosen, data.cache_bytes, Patience(data.stall_seconds)) if chosen else None


def open_split(shards: str, name: str, cache: Cache | None = None, say: Say = _say_nothing) -> Split:
    """The split ``name`` of the shards in a folder or at an address.

    Args:
        shards: the folder, or the address.
        name: the split.
        cache: where shards from an address are kept.
        say: told if a server cannot be reached, and what is done instead.

    Raises:
        UserError: if it is not there or has no index, or the address is refused.
    """
    if is_address(shards):
        check_address(shards)
        if cache is None:
            raise UserError(f"data.cache: is empty, but the shards of {shards} must be kept somewhere; name a folder")
        return Split(*open_remote(shards, name, cache, say))
    folder = Path(shards)
    if not folder.is_dir():
        raise UserError(f"data.shards: there is no folder {shards}; build it with 'aedist shards build {folder.name}'")
    if not (folder / name).is_dir():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())) or "none"
        raise UserError(f"data.shards: {shards} has no split {name!r} (it has {there}); name one of them")
    return Split(folder / name, read_index(folder / name))


def check_split(split: Split) -> None:
    """Refuse, before any work, shards that are missing, or of another length than the index says.

    Raises:
        UserError: naming the first such shard, and how many there are.
    """
    if isinstance(split.folder, RemoteFolder):
        check_reachable(split.folder, split.index)
    else:
        check_present(split.folder, split.index)


def check_budget(data: Data, split: Split, readers: int, plan: Plan | None = None, num_slots: int = 0) -> None:
    """Refuse a cache that is too small for what one node reads at once of a split, so that it would fetch for ever.

    Args:
        data: tier and budget.
        split: the data.
        readers: the processes of this node that read, loader workers included.
        plan: of the training split: which shards are read together; of others, every reader reads one after another.
        num_slots: the micro-batch slots of this node.

    Raises:
        UserError: saying how much it must be.
    """
    if not isinstance(split.folder, RemoteFolder):
        return
    index, budget_bytes = split.index, split.folder.cache.budget_bytes
    largest = max(shard.bytes for shard in index.shards)
    streams = plan is not None and not is_resident(data, split)
    together = num_slots * plan.shuffle_shards if plan is not None and streams else readers
    needed = min(index.num_bytes, together * largest)
    if needed > budget_bytes:
        why = (
            f"{num_slots} micro-batch slots of {plan.shuffle_shards} shards each"
            if plan is not None and streams
            else f"{readers} readers of a shard each"
        )
        instead = ", lower data.shuffle_shards, or take data.mode=resident, which needs less" if streams else ""
        raise UserError(
            f"data.cache_bytes: {budget_bytes:,} bytes, but a node reads {needed:,} of {split.folder} at once ({why}); "
            f"raise it{instead}"
        )


def is_resident(data: Data, split: Split) -> bool:
    """Whether the split's images are kept in memory.

    Raises:
        UserError: if they must be and do not fit the budget.
    """
    needed = split.index.decoded_bytes
    if data.mode == "resident" and needed > data.memory:
        raise UserError(
            f"data.mode: resident needs {needed / 2**20:,.0f} MiB for {split.index.num_samples:,} images, but "
            f"data.memory is {data.memory / 2**20:,.0f} MiB; raise data.memory or use data.mode=stream"
        )
    return data.mode == "resident" or (data.mode == "auto" and needed <= data.memory)


def resident_device(split: Split, device: torch.device) -> torch.device:
    """Where resident images are kept: on the accelerator if they take less than half of its free memory."""
    if device.type == "cuda" and split.index.decoded_bytes < torch.cuda.mem_get_info(device)[0] // 2:
        return device
    return torch.device("cpu")


def open_batches(
    data: Data,
    split: Split,
    plan: Plan,
    slots: Sequence[int],
    steps: tuple[int, int],
    rank: int,
    world: int,
    device: torch.device,
    exchange: Exchange,
    say: Say,
    slots_of_node: Sequence[int] = (),
    is_asked: Callable[[], bool] = lambda: False,
) -> Iterator[StepBatch]:
    """The batches of a process for the steps ``steps[0]`` to ``steps[1]`` (not included).

    Args:
        data: tier, workers and budget.
        split: the data.
        plan: which samples.
        slots: the micro-batch slots of this process.
        steps: from which step to which.
        rank: this process.
        world: how many there are.
        device: where the model computes.
        exchange: how the shares of resident images are brought together.
        say: told what is read.
        slots_of_node: on the first process of a node, the slots of all its processes: their shards are fetched ahead of
            need, if they lie at an address.
        is_asked: whether to stop reading into memory.

    Raises:
        LeftOut: on every process, if one was asked to stop while images were read into memory.
        UserError: if a shard or an image is damaged or cannot be had, or images do not fit.
    """
    if not is_resident(data, split):
        batches = stream(split, plan, slots, *steps, workers=data.workers, pin=device.type == "cuda")
        if not isinstance(split.folder, RemoteFolder) or not slots_of_node:
            return batches
        readers_ahead = steps_a_stretch(plan, slots) * (1 + STRETCHES_AHEAD * data.workers)
        ahead = FetchAhead(split.folder, split.index, plan, slots_of_node, steps, readers_ahead, say)
        return _telling(batches, ahead)
    keep = resident_device(split, device)
    needed = f"{split.index.decoded_bytes / 2**20:,.0f} MiB on {keep}"
    say(f"reading {split.index.num_samples:,} images into memory ({needed})")
    images = read_all(split, keep, rank, world, exchange, data.workers, is_asked)
    return gather(images, plan, slots, *steps)


def _telling(batches: Iterator[StepBatch], ahead: FetchAhead) -> Iterator[StepBatch]:
    """The batches, while whoever fetches ahead is told how far they are."""
    try:
        for batch in batches:
            ahead.at(batch.step)
            yield batch
    finally:
        ahead.close()


def shards_awaited(split: Split, plan: Plan, slots: Sequence[int], first_step: int) -> Callable[[int], str]:
    """What to say of a process that waits for the batch of a step, counted from ``first_step``: its shards."""
    own = replace(plan)  # a plan keeps the orders it has made, for one thread; this one is the watch's

    def what(number: int) -> str:
        ids = own.step_ids(first_step + number, slots).ravel()
        shards = np.unique(np.searchsorted(np.cumsum(own.samples_per_shard), ids, side="right")).tolist()
        named = ", ".join(split.index.shards[shard].file for shard in shards[:_MOST_NAMED])
        more = f" and {len(shards) - _MOST_NAMED} more" if len(shards) > _MOST_NAMED else ""
        return f"waits for its images, from {named}{more} of {split.folder}"

    return what
