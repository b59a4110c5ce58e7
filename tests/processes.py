"""Real processes for tests: the command line as a launcher starts it, one process a rank.

They come from a fork server that has imported everything once, so that starting one costs milliseconds instead
of the seconds that importing torch takes; each still is a process of its own with its own memory.
"""

import contextlib
import json
import multiprocessing
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from aedist.link import free_port

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch._dynamo", "aedist.training.run", "aedist.evaluation.verb"])
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Launched:
    """The processes of one launch, and where each one's output goes."""

    processes: Sequence[BaseProcess]
    outputs: Sequence[Path]

    def wait(self, patience_seconds: float = PATIENCE_SECONDS) -> list[int | None]:
        """Exit codes by rank; negative for a signal. A process that does not end is killed and fails the test."""
        for process in self.processes:
            process.join(patience_seconds)
        stuck = [process for process in self.processes if process.is_alive()]
        for process in stuck:
            process.kill()
            process.join()
        assert not stuck, f"{len(stuck)} processes did not end; output:\n{self.text()}"
        return [process.exitcode for process in self.processes]

    def text(self, rank: int = 0) -> str:
        """What a process wrote."""
        return self.outputs[rank].read_text()


def launch(
    folder: Path,
    world: int,
    *words: object,
    environment: dict[str, str] | None = None,
    each: Sequence[Sequence[str]] | None = None,
    first: Callable[[], None] | None = None,
    told: Callable[[int], dict[str, str]] | None = None,
) -> Launched:
    """Start ``aedist WORDS`` on ``world`` processes, which find each other as under any launcher.

    ``each`` has further words for each process; ``first`` is called in each before anything else, to make faults;
    ``told`` is what a launcher says to the process of a rank, where it is not one like torchrun.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    processes, outputs = list[BaseProcess](), list[Path]()
    for rank in range(world):
        outputs.append(folder / f"output-{port}-{rank}.txt")
        process = _CONTEXT.Process(
            target=_command,
            args=(
                [*map(str, words), *(each[rank] if each else ())],
                {**(told(rank) if told else _told(rank, world, port)), **(environment or {})},
                outputs[-1],
                first,
            ),
        )
        process.start()
        processes.append(process)
    return Launched(processes, outputs)


def _told(rank: int, world: int, port: int) -> dict[str, str]:
    """What a launcher says to a process; nothing to a lone one."""
    told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    return {**told, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if world > 1 else {}


@dataclass(frozen=True)
class UnderAgent:
    """The processes of one launch whose parent is a launcher that stays, as torchrun's agent does."""

    agent: BaseProcess
    pidfds: Sequence[int]
    """Of each rank; open until ``close``."""
    pids: Sequence[int]
    outputs: Sequence[Path]

    def close(self) -> None:
        """Let go of the ranks."""
        for fd in self.pidfds:
            os.close(fd)

    def wait(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Return when all ranks have ended; kill them and fail the test if they do not."""
        end = time.monotonic() + patience_seconds
        alive = [fd for fd in self.pidfds if not select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]]
        for fd in alive:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        told = "\n".join(output.read_text() for output in self.outputs)
        assert not alive, f"{len(alive)} processes did not end; output:\n{told}"

    def text(self, rank: int = 0) -> str:
        """What a process wrote."""
        return self.outputs[rank].read_text()


def launch_under_agent(folder: Path, world: int, *words: object) -> UnderAgent:
    """As ``launch``, but the processes are the children of one that only waits for them, and that may be killed."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    outputs = [folder / f"output-{port}-{rank}.txt" for rank in range(world)]
    for output in outputs:
        output.touch()  # a process that is killed early makes none
    told = [{**_told(rank, world, port), "TORCHELASTIC_RUN_ID": "test"} for rank in range(world)]
    here, there = _CONTEXT.Pipe()
    agent = _CONTEXT.Process(target=_be_the_agent, args=([*map(str, words)], told, outputs, there))
    agent.start()
    pids: list[int] = here.recv()
    return UnderAgent(agent, [os.pidfd_open(pid) for pid in pids], pids, outputs)


def _be_the_agent(words: list[str], told: list[dict[str, str]], outputs: list[Path], there: Connection) -> None:
    pids = list[int]()
    for environment, output in zip(told, outputs, strict=True):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _command(words, environment, output)
                code = 0
            except SystemExit as ending:
                code = ending.code if isinstance(ending.code, int) else 1
            finally:
                sys.stderr.flush()
                os._exit(code)
        pids.append(pid)
    there.send(pids)
    first = 0
    while pids:
        pid, status = os.wait()
        pids.remove(pid)
        if status and not first:  # torchrun does the same, and is who notices a death before the others have met
            first = os.waitstatus_to_exitcode(status)
            for other in pids:
                os.kill(other, signal.SIGTERM)
    sys.exit(first)


def run(
    folder: Path,
    world: int,
    *words: object,
    environment: dict[str, str] | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Launched:
    """As ``launch``, and wait until all have ended well."""
    launched = launch(folder, world, *words, environment=environment)
    codes = launched.wait(patience_seconds)
    assert codes == [0] * world, f"exit codes {codes}; output:\n" + "\n".join(launched.text(r) for r in range(world))
    return launched


def wait_for_step(launched: Launched | UnderAgent, directory: Path, step: int) -> None:
    """Return when the run in ``directory`` has recorded ``step``; fail if it ends before."""
    metrics, patience = directory / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < patience:
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if any(json.loads(line)["step"] >= step for line in lines if line.endswith("}")):
            return
        processes = [launched.agent] if isinstance(launched, UnderAgent) else launched.processes
        assert any(process.is_alive() for process in processes), launched.text()
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached; output:\n{launched.text()}")


def _command(
    words: list[str], environment: dict[str, str], output: Path, first: Callable[[], None] | None = None
) -> None:
    """In the new process: be the command line."""
    os.environ.update(environment)
    with output.open("w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(fd), "w", buffering=1) for fd in (1, 2))
        from aedist.cli import main

        if first is not None:
            first()
        with contextlib.suppress(BrokenPipeError):
            main(words)


def evaluate_slowly() -> None:
    """As ``first`` of ``launch``: each batch of an evaluation in training takes a second."""
    from aedist.training import periodic

    fast = periodic.pixel_metrics

    def slow(seen: Any) -> Any:
        time.sleep(1.0)
        return fast(seen)

    periodic.pixel_metrics = slow
