"""The steps since the last record: their terms, kept on the device until somebody asks, and their time.

Each process writes the terms of its micro-batches into its own places of a table that is zero elsewhere; the sum
over processes is then the whole table, exactly, and everything reduced from it is the same for any number of
processes. Nothing waits for the device between two records.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aedist.place import Place


@dataclass(frozen=True)
class Drained:
    """What a window held."""

    terms: NDArray[np.float64]
    """(steps, M, T): each term's mean over the images of each micro-batch."""
    busy_seconds: float
    waited_seconds: float

    @property
    def good(self) -> NDArray[np.float64]:
        """The terms of the steps in which every term was finite, (steps, M, T)."""
        return self.terms[np.isfinite(self.terms).all(axis=(1, 2))]

    def bad(self) -> list[tuple[int, int, int]]:
        """(step in the window, slot, term) of every number that is not finite."""
        return [(int(s), int(m), int(t)) for s, m, t in np.argwhere(~np.isfinite(self.terms))]


class Window:
    """Collects up to ``capacity`` steps."""

    def __init__(self, place: Place, capacity: int, num_micro: int, num_terms: int) -> None:
        self._place = place
        self._table = torch.zeros(capacity, num_micro, num_terms, dtype=torch.float64, device=place.device)
        self.steps = 0
        self._waited_seconds = 0.0
        self._away_seconds = 0.0
        self._since = time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether it must be drained before the next step."""
        return self.steps == len(self._table)

    def add_terms(self, slot: int, terms: Tensor) -> None:
        """Note the terms (T,) of one micro-batch of the current step."""
        self._table[self.steps, slot] = terms

    def end_step(self, waited_seconds: float) -> None:
        """The current step is over; it waited so long for data."""
        self.steps += 1
        self._waited_seconds += waited_seconds

    def away(self, seconds: float) -> None:
        """Time that was spent on something else than steps, such as an evaluation."""
        self._away_seconds += seconds

    def drain(self) -> Drained:
        """What the window held, the same on every process but for the times; it is empty afterwards."""
        table = self._table[: self.steps].to("cpu", copy=True)
        self._place.add_on_hosts(table)
        now = time.monotonic()
        drained = Drained(table.numpy(), now - self._since - self._away_seconds, self._waited_seconds)
        self._table.zero_()
        self.steps, self._waited_seconds, self._away_seconds, self._since = 0, 0.0, 0.0, now
        return drained
