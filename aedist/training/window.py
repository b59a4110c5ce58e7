"""The steps since the last record: their terms, kept on the device until somebody asks, and what each process spent.

Each process writes the terms of its micro-batches into its own places of a table that is zero elsewhere; the sum
over processes is then the whole table, exactly, and everything reduced from it is the same for any number of
processes. Nothing waits for the device between two records.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aedist.place import Place
from aedist.tracking.memory import own_bytes


@dataclass(frozen=True)
class Spent:
    """What a process spent on a window."""

    seconds: float
    """On its steps, without what came between them, such as an evaluation."""
    waited_seconds: float
    """Of these, waiting for data."""
    micro_batches: int
    """That it ran."""
    memory_bytes: int
    """The most that the allocator took of a GPU until now; on a CPU, what the process has in memory now."""


@dataclass(frozen=True)
class Drained:
    """What a window held."""

    terms: NDArray[np.float64]
    """(steps, M, T): each term's mean over the images of each micro-batch."""
    skipped: tuple[int, ...]
    """The steps, by their place in the window, whose update was left out."""
    processes: tuple[Spent, ...]
    """By rank."""

    @property
    def good_steps(self) -> list[int]:
        """The steps, by their place in the window, that were taken and in which every term was finite."""
        bad = {*self.skipped, *(step for step, _, _ in self.bad())}
        return [step for step in range(len(self.terms)) if step not in bad]

    @property
    def good(self) -> NDArray[np.float64]:
        """The terms of the good steps, (steps, M, T)."""
        return self.terms[self.good_steps]

    def bad(self) -> list[tuple[int, int, int]]:
        """(step in the window, slot, term) of every number that is not finite."""
        return [(int(s), int(m), int(t)) for s, m, t in np.argwhere(~np.isfinite(self.terms))]


class Window:
    """Collects up to ``capacity`` steps."""

    def __init__(self, place: Place, capacity: int, num_micro: int, num_terms: int) -> None:
        self._place = place
        self._table = torch.zeros(capacity, num_micro, num_terms, dtype=torch.float64, device=place.device)
        self.steps = 0
        self._skipped: list[int] = []
        self._micro_batches = 0
        self._waited_seconds = 0.0
        self._away_seconds = 0.0
        self._since = time.monotonic()

    def add_terms(self, slots: Sequence[int], terms: Tensor) -> None:
        """Note the terms (len(slots), T) of some micro-batches of the current step."""
        for slot, values in zip(slots, terms, strict=True):
            self._table[self.steps, slot] = values
        self._micro_batches += len(slots)

    def end_step(self, waited_seconds: float, *, skipped: bool = False) -> None:
        """The current step is over; it waited so long for data; whether its update was left out."""
        if skipped:
            self._skipped.append(self.steps)
        self.steps += 1
        self._waited_seconds += waited_seconds

    def away(self, seconds: float) -> None:
        """Time that was spent on something else than steps, such as an evaluation."""
        self._away_seconds += seconds

    def drain(self) -> Drained:
        """What the window held, the same on every process; it is empty afterwards."""
        table = self._table[: self.steps].to("cpu", copy=True)
        now = time.monotonic()
        spent = torch.zeros(self._place.world, len(fields(Spent)), dtype=torch.float64)
        seconds = now - self._since - self._away_seconds
        own = (seconds, self._waited_seconds, self._micro_batches, _memory_bytes(self._place.device))
        spent[self._place.rank] = torch.tensor(own, dtype=torch.float64)
        everything = torch.cat([table.flatten(), spent.flatten()])
        self._place.add_on_hosts(everything)
        terms, spent_n4 = everything[: table.numel()].view_as(table), everything[table.numel() :].view_as(spent)
        processes = tuple(Spent(one[0], one[1], int(one[2]), int(one[3])) for one in spent_n4.tolist())
        drained = Drained(terms.numpy(), tuple(self._skipped), processes)
        self._table.zero_()
        self._skipped.clear()
        self.steps, self._micro_batches = 0, 0
        self._waited_seconds, self._away_seconds, self._since = 0.0, 0.0, now
        return drained


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return own_bytes() or 0
