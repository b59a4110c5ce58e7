"""Being asked to stop: by a signal to any process, at a step that all agree on.

A handler only notes the signal. At the start of every step each process begins to add its note to the others'
over the hosts' network, and at the end of the step reads the sum, so the agreement costs the step nothing.
All processes then stop behind the same step, checkpoint, and exit with 75.
"""

import os
import signal
from types import FrameType, TracebackType
from typing import Any

import torch

from aedist.place import Place

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Interrupts:
    """While entered, signals ask the run to stop instead of ending the process."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._notes = torch.zeros(1, dtype=torch.int32)
        self._work: Any = None

    def __enter__(self) -> "Interrupts":
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin_step(self) -> None:
        """Begin to tell the others whether this process was asked to stop."""
        self._notes[0] = self._asked is not None
        self._work = self._place.start_adding_on_hosts(self._notes)

    def agreed_to_stop(self) -> bool:
        """Whether any process had been asked to stop when it began this step; the same answer on all."""
        if self._work is not None:
            self._work.wait()
        return bool(self._notes[0])

    @property
    def name(self) -> str:
        """The signal that this process received, or that another did."""
        return self._asked.name if self._asked else "a signal to another process"

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked is None:  # written past Python's buffers, which the signal may have interrupted
            os.write(2, f"\n{signal.Signals(number).name}: stopping after this step, with a checkpoint\n".encode())
        self._asked = signal.Signals(number)
