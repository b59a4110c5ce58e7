"""Which shards each node reads in an epoch, by the plan that the training follows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aedist.data.plan import Plan, assigned
from aedist.shards.index import Index

_MOST_IMAGES = 2**22


@dataclass(frozen=True)
class Reading:
    """What nodes read of a split in one epoch: shards and bytes by node, of the nodes that were looked at."""

    nodes: tuple[int, ...]
    shards: tuple[int, ...]
    num_bytes: tuple[int, ...]


def slots_of_node(num_micro: int, node: int, per_node: int, world: int) -> list[int]:
    """The micro-batch slots of a node, whose ranks follow one another."""
    ranks = range(node * per_node, (node + 1) * per_node)
    return [slot for rank in ranks for slot in assigned(num_micro, rank, world)]


def streamed(index: Index, plan: Plan, nodes: int, per_node: int, epoch: int = 0) -> Reading:
    """Reading shards as they are needed, epoch by epoch.

    Every shard that a node's slots touch counts whole, since it is proved by its sha256 when it is opened. Where an
    epoch has very many images only some of the nodes are looked at, evenly chosen.
    """
    most = max(1, min(nodes, nodes * _MOST_IMAGES // plan.num_samples))
    chosen = sorted({nodes * number // most for number in range(most)})
    touched = [
        shards_of_slots(plan, slots_of_node(plan.num_micro, node, per_node, nodes * per_node), epoch) for node in chosen
    ]
    return _reading(index, chosen, touched)


def shards_of_slots(plan: Plan, slots: Sequence[int], epoch: int = 0) -> NDArray[np.bool_]:
    """Whether slots read each shard in an epoch, bool (shards,)."""
    ends = np.cumsum(plan.samples_per_shard)
    touched = np.zeros(len(ends), dtype=np.bool_)
    first = epoch * plan.steps_per_epoch
    for slot in slots:
        ids = plan.slot_ids(slot, first, first + plan.steps_per_epoch).ravel()
        touched[np.searchsorted(ends, ids, side="right")] = True
    return touched


def resident(index: Index, nodes: int, per_node: int) -> Reading:
    """Reading all images once into memory: each process its share of the sample ids, one behind another."""
    counts = np.array([shard.samples for shard in index.shards])
    ends, total = np.cumsum(counts), index.num_samples
    bounds = [total * node * per_node // (nodes * per_node) for node in range(nodes + 1)]
    touched = [(ends > bounds[node]) & (ends - counts < bounds[node + 1]) for node in range(nodes)]
    return _reading(index, range(nodes), touched)


def _reading(index: Index, nodes: Sequence[int], touched: Sequence[NDArray[np.bool_]]) -> Reading:
    sizes = np.array([shard.bytes for shard in index.shards])
    return Reading(
        tuple(nodes), tuple(int(one.sum()) for one in touched), tuple(int(sizes[one].sum()) for one in touched)
    )
