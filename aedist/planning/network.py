"""How long sums over all processes take, and how much of that a backward pass hides: the alpha-beta model.

A message costs a start (alpha) and its bytes over a bandwidth (beta). Within a node of g GPUs a ring moves
2 (g - 1) / g of the bytes; the first of them at half the bandwidth, which is reached smoothly with size. Between nodes
each of the g GPUs sums its own share, so all of a node's network cards are used together::

    within   = start + 2 (g - 1) / g * (S + h (1 - exp(-S / h))) / bandwidth
    between  = start + 2 log2(nodes) hops + 2 (nodes - 1) / nodes * S / rate of a node
    together = the longer of both + a share of the shorter, since chunks of a message follow one another

All is predicted: nothing here has seen the machine. R. Hockney, "The communication challenge for MPP", 1994, for
alpha and beta; R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of collective communication operations in
MPICH", 2005, for the ring.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log2

from aedist.planning.constants import Constants


@dataclass(frozen=True)
class Machines:
    """Where a run would run: ``nodes`` with ``per_node`` processes each, one a GPU or none."""

    nodes: int
    per_node: int
    has_gpus: bool

    @property
    def world(self) -> int:
        """W, the processes."""
        return self.nodes * self.per_node


@dataclass(frozen=True)
class Bucket:
    """Gradients that are summed in one message."""

    num_bytes: int
    ready: float
    """The share of the backward pass that is done when the last of them is there."""


def all_reduce_seconds(num_bytes: float, machines: Machines, constants: Constants) -> float:
    """Predicted time to sum ``num_bytes`` over all processes; 0 for a lone one."""
    if machines.world == 1:
        return 0.0
    if not machines.has_gpus:
        world = machines.world
        start = 2 * (world - 1) * constants.gloo_start_us * 1e-6
        return start + _ring(world) * num_bytes / (constants.gloo_gbytes * 1e9)
    within, between = _within(num_bytes, machines, constants), _between(num_bytes, machines, constants)
    return max(within, between) + constants.level_unhidden * min(within, between)


def _ring(members: int) -> float:
    """How many times its bytes a ring of so many moves through each of them."""
    return 2 * (members - 1) / members


def _within(num_bytes: float, machines: Machines, constants: Constants) -> float:
    if machines.per_node == 1:
        return 0.0
    half = constants.nvlink_half_mbytes * 1e6
    slow_bytes = half * (1 - exp(-num_bytes / half))
    bandwidth = constants.nvlink_gbytes * 1e9
    return constants.nvlink_start_us * 1e-6 + _ring(machines.per_node) * (num_bytes + slow_bytes) / bandwidth


def _between(num_bytes: float, machines: Machines, constants: Constants) -> float:
    if machines.nodes == 1:
        return 0.0
    cards = min(constants.nics, machines.per_node)
    rate = cards * constants.nic_gbits / 8 * 1e9 * constants.nic_share
    start_us = constants.net_start_us + 2 * log2(machines.nodes) * constants.net_hop_us
    return start_us * 1e-6 + _ring(machines.nodes) * num_bytes / rate


def exposed_seconds(
    buckets: Sequence[Bucket], backward_seconds: float, machines: Machines, constants: Constants
) -> float:
    """Predicted time that a step waits for sums after its backward pass, which hides the rest.

    The sums of the buckets follow one another, each not before it is full. From every bucket on, what is left to sum
    takes the time of one message of its size; the longest of these that ends last counts.

    Args:
        buckets: in the order in which they fill.
        backward_seconds: the last backward pass of a step.
        machines: where.
        constants: with what.
    """
    exposed, left = 0.0, 0
    for bucket in reversed(buckets):
        left += bucket.num_bytes
        hidden = constants.overlap * (1 - bucket.ready) * backward_seconds
        exposed = max(exposed, all_reduce_seconds(left, machines, constants) - hidden)
    return exposed
