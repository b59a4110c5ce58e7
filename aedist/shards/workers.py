"""Doing independent jobs in several processes, so that it never matters which process did which, or when.

Each worker has a pipe to this process: a job goes in, ticks and its result come out. A worker whose pipe breaks ends,
so that none outlives this process, however it ended; a worker that dies is noticed by its pipe too. Ctrl-C is
left to this process.
"""

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from aedist.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

_JOIN_SECONDS = 10.0


def do_all(
    jobs: Sequence[Job],
    work: Callable[[Job, Callable[[int], None]], Result],
    workers: int,
    tick: Callable[[int], None],
    preload: Sequence[str] = (),
) -> Generator[tuple[Job, Result]]:
    """Each job with its result, as they are finished.

    Args:
        jobs: what is to be done; sent to a worker one at a time.
        work: does one, and calls its second argument with amounts of progress; it is pickled once a worker.
        workers: how many processes; with one, or one job, all is done in this process.
        tick: is told the progress of all workers.
        preload: modules that ``work`` needs and that take long to import: it is done once for all workers.

    Raises:
        UserError: the first that a job raised, or if a worker was ended from outside.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            yield job, work(job, tick)
        return
    context = multiprocessing.get_context("forkserver")  # a fork of this process would copy its threads' locks
    context.set_forkserver_preload(list(preload))
    _start_server_without_interrupts()
    pipes: dict[Connection, Any] = {}
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, work), daemon=True)
            pipes[here] = process
            process.start()
            there.close()  # the worker has it now: that its end closes is how its death is noticed
        yield from _hand_out(jobs, pipes, tick)
    finally:
        for here in pipes:
            here.close()
        for process in pipes.values():
            if process.pid is not None:
                process.terminate()
                process.join(_JOIN_SECONDS)


def _start_server_without_interrupts() -> None:
    """Start what forks the workers so that none of them sees Ctrl-C: they inherit what is blocked at this moment."""
    resource_tracker.ensure_running()  # it would unblock it again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hand_out(
    jobs: Sequence[Any], pipes: dict[Connection, Any], tick: Callable[[int], None]
) -> Iterator[tuple[Any, Any]]:
    """Keep every worker busy until all jobs are done."""
    left = iter(jobs)
    busy: dict[Connection, Any] = {}

    def give(pipe: Connection) -> None:
        for job in left:
            busy[pipe] = job
            with suppress(BrokenPipeError):  # a dead worker is told of where it is listened to
                pipe.send(job)
            return

    for pipe in pipes:
        give(pipe)
    while busy:
        ready = set(wait(list(busy)))
        for pipe in [pipe for pipe in busy if pipe in ready]:
            try:
                kind, content = pipe.recv()
            except (EOFError, ConnectionResetError):
                raise UserError(
                    f"worker process {pipes[pipe].pid} was ended from outside, perhaps for want of memory; "
                    f"run the same command again with fewer --workers: what is done is kept"
                ) from None
            if kind == "tick":
                tick(content)
            elif kind == "mistake":
                raise content
            elif kind == "fault":
                raise RuntimeError(f"in a worker process:\n{content}")
            else:
                yield busy.pop(pipe), content
                give(pipe)


def _serve(pipe: Connection, work: Callable[[Any, Callable[[int], None]], Any]) -> None:
    """What a worker does: one job after the other, until its pipe is closed."""

    def tick(amount: int) -> None:
        pipe.send(("tick", amount))

    with suppress(EOFError, ConnectionError):
        while True:
            job = pipe.recv()
            try:
                answer = ("done", work(job, tick))
            except ConnectionError:
                raise
            except UserError as error:
                answer = ("mistake", error)
            except Exception:
                answer = ("fault", traceback.format_exc())
            pipe.send(answer)
