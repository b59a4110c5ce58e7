"""What an evaluation costs: the seconds of each of its parts on one process, and the most memory it held.

Clocks are of the machine, so what they show goes into ``costs.json``, apart from the results.
"""

import resource
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class Costs:
    """Seconds by part. A part within another counts for the inner one alone."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun = time.perf_counter()
        self._inner_seconds = [0.0]
        self.seconds = dict[str, float]()

    @contextmanager
    def of(self, part: str) -> Generator[None]:
        """Count what happens within as ``part``."""
        begun = time.perf_counter()
        self._inner_seconds.append(0.0)
        try:
            yield
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)  # else the work would count where its result is first needed
        finally:
            spent = time.perf_counter() - begun
            inner = self._inner_seconds.pop()
            self._inner_seconds[-1] += spent
            self.seconds[part] = self.seconds.get(part, 0.0) + spent - inner

    def of_each(self, part: str, things: Iterable[T]) -> Iterator[T]:
        """The things; the time until each one is there counts as ``part``."""
        iterator = iter(things)
        while True:
            with self.of(part):
                try:
                    thing = next(iterator)
                except StopIteration:
                    return
            yield thing

    def facts(self) -> dict[str, Any]:
        """The seconds of each part and in all, and the peak of memory in bytes, on the host and on the device."""
        # the kernel counts in KiB, but for macOS
        host_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        device_bytes = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None
        return {
            "seconds": {part: round(seconds, 3) for part, seconds in self.seconds.items()},
            "seconds_in_all": round(time.perf_counter() - self._begun, 3),
            "peak_host_bytes": host_bytes,
            "peak_device_bytes": device_bytes,
        }
