"""From a configuration's ``data`` section to the batches of a process: which split, which tier, where it is kept."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from aedist.config import Data
from aedist.data.loader import Split, StepBatch, stream
from aedist.data.plan import Plan
from aedist.data.resident import Exchange, gather, read_all
from aedist.errors import UserError
from aedist.shards.index import read_index


def open_split(shards: str, name: str) -> Split:
    """The split ``name`` of the shards in a folder.

    Raises:
        UserError: if it is not there or has no index.
    """
    folder = Path(shards)
    if not folder.is_dir():
        raise UserError(f"data.shards: there is no folder {shards}; build it with 'aedist shards build {folder.name}'")
    if not (folder / name).is_dir():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir() if entry.is_dir())) or "none"
        raise UserError(f"data.shards: {shards} has no split {name!r} (it has {there}); name one of them")
    return Split(folder / name, read_index(folder / name))


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
    say: Callable[[str], None],
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

    Raises:
        UserError: if a shard or an image is damaged, or images do not fit.
    """
    if not is_resident(data, split):
        return stream(split, plan, slots, *steps, workers=data.workers, pin=device.type == "cuda")
    keep = resident_device(split, device)
    needed = f"{split.index.decoded_bytes / 2**20:,.0f} MiB on {keep}"
    say(f"reading {split.index.num_samples:,} images into memory ({needed})")
    images = read_all(split, keep, rank, world, exchange, data.workers)
    return gather(images, plan, slots, *steps)
