"""Costs that survive a busy machine: CPU seconds, children included, beside a calibration of the same moment.

Every repeat runs the calibration and then every way once, one behind another, so that what else the machine does meets
all of them. A ratio is taken within a repeat; what is told is the median of the repeats and their range.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

Work = Callable[[], int]
"""Does the work once; returns how many images, or steps, it was."""


@dataclass(frozen=True)
class Cost:
    """What one piece of work took."""

    done: int
    """Images or steps."""
    cpu_seconds: float
    """User and system time of this process and of those it started and saw end."""
    wall_seconds: float

    @property
    def per_cpu_second(self) -> float:
        """Images, or steps, a CPU-second."""
        return self.done / self.cpu_seconds

    @property
    def per_second(self) -> float:
        """Images, or steps, a second by the clock."""
        return self.done / self.wall_seconds


@dataclass(frozen=True)
class Repeat:
    """One repeat of one way, and of the calibration just before it."""

    cost: Cost
    calibration: Cost

    @property
    def ratio(self) -> float:
        """Its speed as a part of the calibration's, both by CPU time."""
        return self.cost.per_cpu_second / self.calibration.per_cpu_second

    @property
    def wall_ratio(self) -> float:
        """Its speed as a part of the calibration's, both by the clock."""
        return self.cost.per_second / self.calibration.per_second


def cost_of(work: Work) -> Cost:
    """Do it once, and measure."""
    gc.collect()
    cpu, wall = _cpu_seconds(), time.perf_counter()
    done = work()
    return Cost(done, _cpu_seconds() - cpu, time.perf_counter() - wall)


def _cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def interleaved(calibration: Work, ways: Mapping[str, Work], repeats: int) -> dict[str, list[Repeat]]:
    """Every way ``repeats`` times, each behind a calibration of its own. One more calibration warms up."""
    cost_of(calibration)
    found: dict[str, list[Repeat]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            before = cost_of(calibration)
            found[name].append(Repeat(cost_of(work), before))
            print(f"{name}: {found[name][-1].ratio:.2f} of its calibration", file=sys.stderr)
    return found


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median and the range of some numbers, as a table has them."""
    middle, least, most = (f"{value:,.{digits}f}" for value in (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least} to {most})"


def to_plain(repeats: Sequence[Repeat]) -> list[dict[str, dict[str, float]]]:
    """Repeats for JSON, as a process in another environment hands them over."""
    return [asdict(repeat) for repeat in repeats]


def from_plain(plain: Sequence[Mapping[str, Mapping[str, float]]]) -> list[Repeat]:
    """What ``to_plain`` spelt."""
    return [Repeat(Cost(**one["cost"]), Cost(**one["calibration"])) for one in plain]  # type: ignore[arg-type]
