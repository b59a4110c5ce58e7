"""Several processes on this machine, started by the command itself: ``--processes N``.

Each is the same command, told of its rank as by any launcher. This process only waits for them: it hands signals on,
and its exit code is theirs, so a shell sees 75 where a launcher in between would make 1 of it. Processes that have met
end each other (``watch``); where one ends before, the others are ended here.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from aedist.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from aedist.link import free_port
from aedist.stop import SIGNALS

_SECONDS_TO_FOLLOW = 10.0
"""How long the others may go on when one has ended with a failure, before they are asked to stop."""
_SECONDS_TO_CLOSE = 90.0
"""How long they may then take, before they are killed."""
_POLL_SECONDS = 0.05


def add_processes(verb: argparse.ArgumentParser) -> None:
    """The option ``--processes``."""
    verb.add_argument(
        "--processes", type=int, metavar="N", help="start N processes on this machine; left out where a launcher does"
    )


def starts_processes(arguments: argparse.Namespace) -> bool:
    """Whether this process is to start others, and not one of those that were started.

    Raises:
        UserError: if both a launcher and the option start processes, or the option's number makes no sense.
    """
    count = arguments.processes
    if count is None or os.environ.get("AEDIST_PROCESSES") == str(count):
        return False
    if count < 1:
        raise UserError(f"--processes: {count} is refused: it must be 1 or more")
    if os.environ.get("WORLD_SIZE", "1") != "1" or os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        raise UserError(f"--processes: {count} is refused: a launcher has started processes already; leave it out")
    return count > 1


def run_processes(count: int, words: Sequence[str]) -> int:
    """Start ``aedist WORDS`` as many times, wait for all, and return the exit code of the whole."""
    told = os.environ | {
        "AEDIST_PROCESSES": str(count),
        "TORCHELASTIC_RUN_ID": "aedist",  # the word of a launcher that stays: its end is theirs
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    told.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // count)))
    processes = list[subprocess.Popen[bytes]]()

    def hand_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)  # of a terminal's Ctrl-C it is the second, which changes nothing

    for number in SIGNALS:
        signal.signal(number, hand_on)
    for rank in range(count):
        told |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(subprocess.Popen([sys.executable, "-m", "aedist", *words], env=told))  # noqa: S603 (itself)
    return _code_of([*_wait(processes)])


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """The exit codes, by rank."""
    failed_at: float | None = None
    asked = False
    while any(process.poll() is None for process in processes):
        time.sleep(_POLL_SECONDS)
        now = time.monotonic()
        if failed_at is None:
            failed_at = now if any(process.returncode for process in processes) else None
        elif now - failed_at > _SECONDS_TO_FOLLOW + _SECONDS_TO_CLOSE:
            for process in processes:
                process.kill()
        elif now - failed_at > _SECONDS_TO_FOLLOW and not asked:
            asked = True
            for process in processes:
                process.terminate()
    return [process.returncode for process in processes]


def _code_of(codes: Sequence[int]) -> int:
    """The exit code of the whole: the user's mistake before a fault, a fault before an interruption."""
    if EXIT_USER_ERROR in codes:
        return EXIT_USER_ERROR
    if any(code not in (0, EXIT_INTERRUPTED) for code in codes):
        return EXIT_FAULT
    return EXIT_INTERRUPTED if EXIT_INTERRUPTED in codes else 0
