"""The process that tells W&B of a run (``following``): RUN MODE TASK PARENT.

Standard input brings one line, the exit code of the run; standard output takes one JSON object a line.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_OTHERS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""A scheduler sends them to every process of a job; training answers, and then ends this one."""


def main(words: list[str]) -> NoReturn:
    """Follow the run that the words name, and exit."""
    for number in _OTHERS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the library's own words do not mix with the answers
    from aedist.tracking.following import Starter, follow  # noqa: PLC0415 (long after, for a signal)

    folder, mode, task, process = words
    begun = time.monotonic()
    try:
        follow(Path(folder), mode, task, Starter(sys.stdin, answers, int(process)))
    finally:
        with suppress(OSError):
            print(f"followed {folder} for {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    os._exit(0)  # the library's own farewell waits for a server that hangs
