"""Work on several threads at a time, for which a process that ends does not wait: a server may never answer."""

import queue
from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def as_done(work: Callable[[T], R], items: Sequence[T], at_once: int) -> Iterator[tuple[T, R]]:
    """Each item with what ``work``, which must not raise, makes of it; whichever is done first comes first."""
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[T, R]] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def take_one_after_another() -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((item, work(item)))

    for _ in range(min(at_once, len(items))):
        Thread(target=take_one_after_another, name="as-done", daemon=True).start()
    for _ in items:
        yield done.get()
