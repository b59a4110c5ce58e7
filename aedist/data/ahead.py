"""Fetching shards ahead of need: what the next steps read is known, so that it can be here before they do.

One process a node walks ahead of the training, along the plan of all of the node's slots, and fetches each shard when
it first occurs, a few at a time, as long as what is in use and what is fetched ahead fit the budget together. Now and
then it notes that those shards are in use, so that what others fetch does not displace them. Whatever it fetches late,
or not at all, the reader that needs it fetches for itself, and tells what is wrong if it cannot.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Event, Thread

import numpy as np

from aedist.data.plan import Plan
from aedist.data.remote import FETCHED_AT_ONCE, RemoteFolder
from aedist.errors import UserError
from aedist.progress import now_and_then
from aedist.shards.index import Index

MOST_AHEAD = 16
"""So many shards are fetched at most before the readers come to them."""
_IMAGES_AT_ONCE = 2**14
_POLL_SECONDS = 0.05
_TOUCH_SECONDS = 5.0


@dataclass
class _Use:
    """From which step a shard is used to which, as far as is known."""

    first: int
    last: int


def uses(
    plan: Plan, slots: Sequence[int], first_step: int, last_step: int
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """The shards that steps read, a few steps at a time.

    Args:
        plan: which samples.
        slots: the micro-batch slots.
        first_step: where to begin.
        last_step: where to end, not included.

    Returns:
        for each few steps the first, the one behind the last, and each shard's number with the step of its first use in
        them, in the order of those.
    """
    ends, few = np.cumsum(plan.samples_per_shard), max(1, _IMAGES_AT_ONCE // (plan.micro * len(slots)))
    step = first_step
    while step < last_step:
        stop = min(step + few, (plan.epoch_of(step) + 1) * plan.steps_per_epoch, last_step)
        ids = np.stack([plan.slot_ids(slot, step, stop) for slot in slots], axis=1)  # (steps, slots, b)
        shards, places = np.unique(np.searchsorted(ends, ids.ravel(), side="right"), return_index=True)
        first_uses = step + places // ids[0].size
        order = np.argsort(places)
        yield step, stop, list(zip(shards[order].tolist(), first_uses[order].tolist(), strict=True))
        step = stop


class FetchAhead:
    """Fetches what the steps from ``steps[0]`` to before ``steps[1]`` need, on a thread, until it is closed."""

    def __init__(
        self,
        folder: RemoteFolder,
        index: Index,
        plan: Plan,
        slots: Sequence[int],
        steps: tuple[int, int],
        readers_ahead: int,
        say: Callable[[str], None],
    ) -> None:
        """``readers_ahead``: how many steps before their use the readers come for images."""
        self._folder, self._index, self._slots, self._steps = folder, index, slots, steps
        self._plan = replace(plan)  # of its own: a plan keeps the orders it has made, for one thread
        self._readers_ahead, self._say = readers_ahead, now_and_then(say)
        self._step, self._ended, self._touched = steps[0], Event(), time.monotonic()
        self._uses: dict[int, _Use] = {}
        self._going: list[Thread] = []
        Thread(target=self._run, name="fetch-ahead", daemon=True).start()

    def at(self, step: int) -> None:
        """Training has come to ``step``."""
        self._step = step

    def close(self) -> None:
        """Fetch no more; what is being fetched goes on until it is here or the process ends."""
        self._ended.set()

    @property
    def _reach(self) -> int:
        """The last step for which readers may be at work."""
        return self._step + self._readers_ahead

    def _run(self) -> None:
        for step, stop, shards in uses(self._plan, self._slots, *self._steps):
            for number, first_use in shards:
                use = self._uses.get(number)
                if use is not None:
                    use.last = stop
                elif self._wait_for_room(number, first_use):
                    self._uses[number] = _Use(first_use, stop)
                    self._start(number)
                else:
                    return
            # an epoch ahead is enough; with all shards here there is nothing more to find
            while step > self._reach + self._plan.steps_per_epoch or self._has_all():
                if self._ended.wait(_POLL_SECONDS):
                    return
                self._look_after()

    def _has_all(self) -> bool:
        """Whether all shards were fetched and may stay until the end."""
        if len(self._uses) < len(self._index.shards):
            return False
        for use in self._uses.values():
            use.last = self._steps[1]
        return True

    def _wait_for_room(self, number: int, first_use: int) -> bool:
        """Wait until a shard may be fetched. False if nothing is to be fetched any more."""
        size, budget_bytes = self._index.shards[number].bytes, self._folder.cache.budget_bytes
        while not self._ended.is_set():
            self._look_after()
            is_urgent = first_use <= self._reach
            ahead = sum(use.first > self._reach for use in self._uses.values())
            held = sum(self._index.shards[other].bytes for other in self._uses)
            if held + size <= budget_bytes and (is_urgent or ahead < MOST_AHEAD) and len(self._going) < FETCHED_AT_ONCE:
                return True
            self._ended.wait(_POLL_SECONDS)
        return False

    def _start(self, number: int) -> None:
        shard = self._index.shards[number]
        if self._folder.cache.has(shard):
            self._folder.cache.touch(shard)
            return

        def fetch() -> None:
            with suppress(UserError):  # the reader that needs the shard finds the same, and tells it
                self._folder.obtain(shard, self._say)
                self._say(f"{self._folder}: {shard.file} is here")

        thread = Thread(target=fetch, name="fetch", daemon=True)
        thread.start()
        self._going.append(thread)

    def _look_after(self) -> None:
        """Forget what is done with, and note what is in use."""
        self._going = [thread for thread in self._going if thread.is_alive()]
        self._uses = {number: use for number, use in self._uses.items() if use.last > self._step}
        if time.monotonic() - self._touched > _TOUCH_SECONDS:
            self._touched = time.monotonic()
            for number in self._uses:
                self._folder.cache.touch(self._index.shards[number])
