"""What a run has told so far, kept as it is shown: the last values, their recent history, the pace, the evaluations.

Taking a record is a few assignments, so a slow terminal never holds up a step: whoever shows it looks here in its own
time, from another thread.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aedist.tracking.outlook import Outlook
from aedist.tracking.tracker import Record
from aedist.tracking.words import HIGHER_IS_BETTER, NEITHER_IS_BETTER, is_number

_LONGEST_HISTORY = 200


@dataclass(frozen=True)
class Measured:
    """A metric in the evaluations so far."""

    name: str
    last: float
    change: float | None
    """Since the evaluation before."""
    best: float
    best_epoch: float | None
    """When that was, if it is known."""

    @property
    def is_better(self) -> bool | None:
        """Whether the change is for the better; None where there is none, or neither is."""
        if not self.change or self.name in NEITHER_IS_BETTER:
            return None
        return (self.change > 0) == (self.name in HIGHER_IS_BETTER)


class Told:
    """The records of this attempt, as far as they are shown."""

    def __init__(self, outlook: Outlook, clock: Callable[[], float] = time.monotonic) -> None:
        self.outlook, self._clock = outlook, clock
        self.train: Record = {}
        self.epoch: Record = {}
        self.evaluation: Record = {}
        self.num_skipped = 0
        self.skipped: Record = {}
        """The last of them."""
        self.loss: deque[float] = deque(maxlen=_LONGEST_HISTORY)
        self.terms: dict[str, deque[float]] = {}
        self._began = clock()
        self._first: tuple[int, float] | None = None
        self._finish: float | None = None
        self._before: Record = {}
        self._best: dict[str, tuple[float, float | None]] = {}
        if outlook.best_error is not None:
            self._best["mse"] = outlook.best_error, None
        for record in outlook.earlier:
            self._take_evaluation(record)

    def record(self, record: Record) -> None:
        """Take a record."""
        kind = record["kind"]
        if kind == "train":
            self._take_train(record)
        elif kind == "evaluation":
            self._take_evaluation(record)
        elif kind == "epoch":
            self.epoch = record
        elif kind == "skipped":
            self.num_skipped += 1
            self.skipped = record

    @property
    def steps_done(self) -> int:
        """The steps done, also since the last record."""
        recorded = self.train.get("step", self.outlook.first_step)
        return min(max(recorded, self.outlook.step() - 1), self.outlook.last_step)

    @property
    def elapsed_seconds(self) -> float:
        """How long this attempt has been going."""
        return self._clock() - self._began

    @property
    def seconds_left(self) -> float | None:
        """How long the run still takes at the pace of this attempt, evaluations included; None if not known yet."""
        return None if self._finish is None else max(0.0, self._finish - self._clock())

    def measured(self) -> list[Measured]:
        """The metrics of the last evaluation that have a value."""
        before = self._before.get("metrics", {})
        found = list[Measured]()
        for name, value in self.evaluation.get("metrics", {}).items():
            if is_number(value):
                change = value - before[name] if is_number(before.get(name)) else None
                found.append(Measured(name, value, change, *self._best[name]))
        return found

    def _take_train(self, record: Record) -> None:
        now = self._clock()
        self.loss.append(_number(record["loss"]))
        for name, value in record["terms"].items():
            self.terms.setdefault(name, deque(maxlen=_LONGEST_HISTORY)).append(_number(value))
        images, rate = record["images"], record["images_per_second"] or 0.0
        if self._first is None:
            self._first = images, now
        elif now > self._first[1] and images > self._first[0]:
            rate = (images - self._first[0]) / (now - self._first[1])
        left = self.outlook.total_images - images
        self._finish = now + left / rate if rate > 0 else None
        self.train = record

    def _take_evaluation(self, record: Record) -> None:
        for name, value in record["metrics"].items():
            if is_number(value):
                best = self._best.get(name)
                if best is None or (value > best[0] if name in HIGHER_IS_BETTER else value <= best[0]):
                    self._best[name] = value, record["epoch"]
        self._before, self.evaluation = self.evaluation, record  # last: a frame being drawn looks up the best of each


def _number(value: float | None) -> float:
    return math.nan if value is None else value
