"""Whoever watches over a run: a thread in every process that knows what all are at, and ends what cannot go on.

The main thread notes what it is about to do, at the cost of an assignment. Every process tells rank zero its note now
and then; rank zero judges, and tells all. A process that died shows by its connection, at once, whatever the gradients
travel over. One that is stopped says nothing, one that hangs always the same: after ``stall_seconds`` that is the end.
So is the end of the launcher. The main thread may leave in its own way for a few seconds, then this thread ends the
process: a main thread that waits in a library hears nothing.

Time in which this process did not run at all (a whole job that was suspended) counts against nobody.
"""

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from math import inf
from threading import Event, Lock, Thread
from typing import TypeVar

from aedist.errors import EXIT_FAULT
from aedist.link import Message
from aedist.notes import AGAIN, OTHERS, OWN, SHARED, End, Known, Note, departed, spell, stalled, tell
from aedist.star import Star

T = TypeVar("T")

GRACE_SECONDS = 3.0
"""How long the main thread may take to notice that the run has ended."""
CLOSING_SECONDS = 60.0
"""How long it may then take to close its files; a checkpoint may be half written."""
_TICK_SECONDS = 0.25
_GAP_SECONDS = 1.0
_BEAT_SECONDS = 0.5
_BEATS_A_SECOND = 100  # that rank zero hears
_SECONDS_BEFORE_WORDS = 5.0
"""Before a process has waited so long for data, it does not work out for which."""


class Watch:
    """One process's part. Until ``start`` it only takes notes."""

    def __init__(
        self,
        rank: int = 0,
        stall_seconds: float = inf,
        parent: int | None = None,
        limit: str = "",
    ) -> None:
        """``parent``: the process whose end is the end of this one; ``limit``: the key that says how long may be."""
        self._rank, self.stall_seconds, self._parent, self._limit = rank, stall_seconds, parent, limit
        self._star: Star | None = None
        self._is_timed = False
        self.step = 0
        """The step that the main thread is in, counted from 1."""
        self._note = self._seen = Note(0, "starts", OWN)
        self._own_reason: Callable[[], str | None] = lambda: None
        self._reason: str | None = None
        self._end: End | None = None
        self._has_ended, self._lock = Event(), Lock()
        self._deadline, self._code = inf, EXIT_FAULT
        self._is_closing = self._is_over = False
        self._clock = self._since = 0.0
        self._known: dict[int, Known] = {}

    def start(self, star: Star | None = None) -> None:
        """Begin to watch over this process and, where there is a star, the others; nothing is timed yet."""
        self._star = star
        if star is not None:
            for rank in range(1, star.world) if self._rank == 0 else [0]:
                self._known[rank] = Known("the beginning", OWN, since=0.0, heard=0.0)
        if star is not None or self._parent is not None or self.stall_seconds < inf:
            Thread(target=self._run, name="watch", daemon=True).start()

    # what the main thread calls

    def begin(self) -> None:
        """From now on nothing may take longer than it may stall."""
        self.still()
        self._is_timed = True

    def doing(self, what: str | Callable[[], str]) -> None:
        """Note what comes now."""
        self._note = Note(self.step, what, OWN)

    def computes(self, step: int) -> None:
        """Note that a step begins, counted from 1."""
        self.step = step
        self._note = Note(step, "computes", SHARED)

    def still(self) -> None:
        """Note that it goes on with the same."""
        self._note = Note(*self._note)

    def each(self, items: Iterable[T], what: Callable[[int], str]) -> Iterator[T]:
        """The items; ``what`` says of number n, counted from 0, what it is to wait for it."""
        iterator = iter(items)
        for number in count():
            before = self._note
            self.doing(partial(what, number))
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._note = Note(*before)
            yield item

    @contextmanager
    def waiting(self, what: str) -> Generator[None]:
        """While it lasts, this process waits for the others."""
        before = self._note
        self._note = Note(self.step, f"waits for the others: {what}", OTHERS)
        yield  # where it fails, the note says in what
        self._note = Note(*before)

    def pass_on(self, own_reason: Callable[[], str | None]) -> None:
        """Tell the others when this process is asked to stop, which ``own_reason`` says."""
        self._own_reason = own_reason

    @property
    def stop_reason(self) -> str | None:
        """Why this process was asked to stop, or another, as far as it has been heard; None if none was."""
        return self._own_reason() or self._reason

    def end(self, patience_seconds: float) -> End | None:
        """Why the run cannot go on, if that is known or becomes known in time."""
        self._has_ended.wait(patience_seconds)
        return self._end

    def where(self, *, in_full: bool = True) -> str:
        """What this process is at, in words; which data it waits for takes some work to say, so only ``in_full``."""
        return spell(self._note, in_full=in_full)

    def closing(self, code: int) -> None:
        """This process ends with an exit code. The others are told, unless all end together (0)."""
        with self._lock:
            if not self._is_closing:
                self._is_closing = True
                self._deadline, self._code = time.monotonic() + CLOSING_SECONDS, code
                if self._star is not None:
                    self._star.send({"bye": code})
                else:
                    self._is_over = True  # nobody waits for this process

    def over(self) -> None:
        """Nothing is left to watch."""
        self.closing(0)
        self._is_over = True

    # the thread

    def _run(self) -> None:
        beat_seconds = max(_BEAT_SECONDS, (self._star.world if self._star else 0) / _BEATS_A_SECOND)
        beat_at, judge_at, before = 0.0, 0.0, time.monotonic()
        while not self._is_over:
            heard = self._receive()
            now = time.monotonic()
            if now - before > _GAP_SECONDS:  # this process was stopped; what has come meanwhile is heard first
                judge_at = now + _GAP_SECONDS
            self._clock += min(now - before, _GAP_SECONDS)
            before = now
            if self._note is not self._seen or not self._is_timed:
                self._seen, self._since = self._note, self._clock
            with self._lock:
                for rank, message in heard:
                    self._take(rank, message)
                if self._star is not None and now >= beat_at:
                    beat_at = now + beat_seconds
                    self._star.send(self._beat(), if_idle=True)
                if now >= judge_at:
                    self._judge()
            if now > self._deadline and not self._is_over:
                self._give_up()

    def _receive(self) -> list[tuple[int, Message | None]]:
        if self._star is not None:
            return self._star.receive(_TICK_SECONDS)
        time.sleep(_TICK_SECONDS)
        return []

    def _beat(self) -> Message:
        age = self._clock - self._since
        where = spell(self._seen, in_full=age > min(_SECONDS_BEFORE_WORDS, self.stall_seconds / 2))
        return {"where": where, "age": age, "whose": self._seen.whose, "stop": self.stop_reason}

    def _take(self, rank: int, message: Message | None) -> None:
        """Hear from a process: a beat, its leave, why all end; None if it is gone."""
        if message is None or "bye" in message:
            known = self._known.pop(rank, None)
            code = message["bye"] if message is not None else None
            if known is not None and code != 0:
                self._conclude(*departed(rank, code, known.where))
        elif "over" in message:
            self._conclude(message["over"], message["code"])
        elif rank in self._known:
            since = self._clock - message["age"]
            self._known[rank] = Known(message["where"], message["whose"], since, self._clock)
            self._reason = self._reason or message["stop"]

    def _judge(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            self._conclude(f"the launcher (process {self._parent} of the system) is gone", EXIT_FAULT)
            self._deadline = 0.0  # it would train on, and nobody would know
        latest = self._clock - self.stall_seconds
        silent = {rank: known for rank, known in self._known.items() if known.heard < latest}
        if self._rank == 0 or self._star is None:
            own_words = spell(self._seen, in_full=self._since < latest)
            own = Known(own_words, self._seen.whose, self._since, self._clock)
            known = {0: own, **self._known}
            stuck = {rank: one for rank, one in known.items() if one.since < latest and rank not in silent}
            suspect = min((one.whose for one in stuck.values()), default=OTHERS)
            if silent or (stuck and suspect == OWN) or len(stuck) == len(known):
                named = {rank: one for rank, one in stuck.items() if one.whose == suspect}
                self._conclude(
                    stalled(self.stall_seconds, self._limit, silent, named if suspect == OWN or not silent else {})
                )
        elif silent:
            self._conclude(stalled(self.stall_seconds, self._limit, silent, {}))

    def _conclude(self, line: str, code: int = EXIT_FAULT) -> None:
        if self._end is not None or self._is_closing:
            return
        self._end = End(line, code)
        self._deadline, self._code = time.monotonic() + GRACE_SECONDS, code
        if self._star is not None and self._rank == 0:
            self._star.send({"over": line, "code": code})
        self._has_ended.set()

    def _give_up(self) -> None:
        """End this process, whatever its main thread is at."""
        if self._end is not None and not self._is_closing:
            tell(self._rank, f"{self._end.line}; this process was in {self.where()}; {AGAIN}")
        os._exit(self._code)
