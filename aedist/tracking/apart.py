"""W&B as a sink: a process of its own reads what training writes, and tells W&B of it (``follow``).

So the sink has nothing to do for a record, and W&B cannot hold a step up, nor change one. When the run ends, W&B gets
a limited time for the rest; what it then lacks is told by ``aedist sync``.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aedist.config import Config
from aedist.rundir import RunDir
from aedist.tracking.tracker import Record

_PROGRAM = (  # this aedist, whatever lies in the folder where the command was given
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
    "from aedist.tracking.follow import main; main(sys.argv[1:])"
)


@dataclass(frozen=True)
class Patience:
    """How long the end of a run waits for W&B."""

    seconds: float = 60.0
    broken_off_seconds: float = 10.0
    """Where the run did not come to its end, and its machine may be taken away."""
    connect_seconds: float = 12.0
    """Of these, for W&B to answer at all."""


def wandb_of_run(
    config: Config, run: RunDir, say: Callable[[str], None], task: str = "train", patience: Patience | None = None
) -> "WandbProcess | None":
    """The process that tells W&B of a run, or None where W&B is disabled or the process does not start.

    Args:
        config: the run's, which says whether W&B is on the network.
        run: its directory, with its records and its environment.
        say: told what is wrong.
        task: ``train``, or ``evaluate``.
        patience: how long its end may take.
    """
    if config.track.wandb == "disabled":
        return None
    try:
        return WandbProcess(run.path, config.track.wandb, task, say, patience or Patience())
    except OSError as error:
        say(f"W&B did not start ({error.strerror or error}); the run goes on, and metrics.jsonl has everything")
        return None


class WandbProcess:
    """The process, and what it answers."""

    def __init__(self, folder: Path, mode: str, task: str, say: Callable[[str], None], patience: Patience) -> None:
        """Start it; nothing waits for it.

        Raises:
            OSError: if it cannot be started, or its log not be written.
        """
        self._folder, self._say, self._patience = folder, say, patience
        self._is_connected = self._has_complained = False
        self._started, self._unread = time.monotonic(), b""
        (folder / "wandb").mkdir(exist_ok=True)
        words = [sys.executable, "-P", "-c", _PROGRAM, str(folder), mode, task, str(os.getpid())]
        with (folder / "wandb" / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own program)
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a terminal's Ctrl-C is not for it
            )
        os.set_blocking(self._answers.fileno(), False)

    def record(self, record: Record) -> None:
        """It finds the record in metrics.jsonl; this passes on what it has to say."""
        self._listen()

    def picture(self, name: str, path: Path, record: Record) -> None:
        """It finds the picture beside."""

    def sync(self) -> None:
        """W&B keeps its own times."""

    def close(self, exit_code: int) -> None:
        """Have it tell the rest, within its time; then it is ended."""
        with suppress(OSError):
            self._requests.write(f"{exit_code}\n".encode())
            self._requests.close()
        patience = self._patience
        allowed = patience.broken_off_seconds if exit_code else patience.seconds
        closing = time.monotonic()
        while not self._has_ended():
            now = time.monotonic()
            if now - closing > allowed or not (self._is_connected or now - self._started < patience.connect_seconds):
                break
            select.select([self._answers], [], [], 0.1)
            self._listen()
        self._listen()
        ended_itself = self._has_ended()
        if not ended_itself and not self._has_complained:
            self._say(f"W&B did not take everything in {time.monotonic() - closing:.0f} s; the rest stays in the run")
        with suppress(OSError):  # and with it what the library started; its number is its own until it is waited for
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.wait() != 0 and ended_itself and not self._has_complained:
            self._say(f"W&B stopped working, as {self._folder / 'wandb' / 'log.txt'} tells")
        self._answers.close()

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    @property
    def _requests(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 (asked for above)
        return self._process.stdin

    @property
    def _answers(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 (asked for above)
        return self._process.stdout

    def _listen(self) -> None:
        """Pass on what it has answered until now; never waits."""
        try:
            self._unread += os.read(self._answers.fileno(), 2**16)
        except OSError:
            return
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            try:
                answer = json.loads(line)
            except ValueError:  # what a site has every Python print when it starts
                continue
            self._is_connected |= "connected" in answer
            if "problem" in answer:
                self._has_complained = True
                self._say(f"W&B: {answer['problem']}; the run goes on, and metrics.jsonl has everything")
