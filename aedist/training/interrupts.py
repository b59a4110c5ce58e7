"""Being asked to stop: by a signal to any process or by time, at a step that all agree on.

A request is only noted (``stop``). At the start of every step each process begins to add its note to the others' over
the hosts' network, and at the end of the step reads the sum, so the agreement costs the step nothing. All processes
then stop behind the same step, checkpoint, and exit with 75. What takes long between two steps, reading images into
memory or an evaluation, looks here now and then and may be left out, by another agreement, until the run goes on.
"""

from typing import Any

import torch

from aedist.place import Place
from aedist.stop import StopRequest


class Interrupts:
    """From here on a request to stop ends nothing by itself."""

    def __init__(self, place: Place, request: StopRequest) -> None:
        self._place, self._request = place, request
        self._notes = torch.zeros(1, dtype=torch.int32)
        self._work: Any = None
        request.from_now_on_note()
        place.watch.pass_on(lambda: request.reason)
        place.watch.begin()

    def begin_step(self, step: int) -> None:
        """Begin to tell the others whether this process was asked to stop. ``step`` is counted from 1."""
        self._place.watch.computes(step)
        self._notes[0] = self._request.reason is not None
        self._work = self._place.start_adding_on_hosts(self._notes)

    def agreed_to_stop(self) -> bool:
        """Whether any process had been asked to stop when it began this step; the same answer on all."""
        if self._work is not None:
            with self._place.watch.waiting("whether one was asked to stop"):
                self._work.wait()
        return bool(self._notes[0])

    def is_asked(self) -> bool:
        """Whether this process was asked to stop, or has heard that another was. To be called while something lasts."""
        self._place.watch.still()
        return self._place.watch.stop_reason is not None

    @property
    def name(self) -> str:
        """What asked for it."""
        return self._place.watch.stop_reason or "a signal to another process"
