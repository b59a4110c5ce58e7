"""Real processes for tests: the command line as a launcher starts it, one process a rank.

They come from a fork server that has imported everything once, so that starting one costs milliseconds instead
of the seconds that importing torch takes; each still is a process of its own with its own memory.
"""

import contextlib
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

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
) -> Launched:
    """Start ``aedist WORDS`` on ``world`` processes, which find each other as under any launcher.

    ``each`` has further words for each process; ``first`` is called in each before anything else, to make faults.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes, outputs = list[BaseProcess](), list[Path]()
    for rank in range(world):
        told = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        outputs.append(folder / f"output-{port}-{rank}.txt")
        process = _CONTEXT.Process(
            target=_command,
            args=(
                [*map(str, words), *(each[rank] if each else ())],
                {**(told if world > 1 else {}), **(environment or {})},
                outputs[-1],
                first,
            ),
        )
        process.start()
        processes.append(process)
    return Launched(processes, outputs)


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


def wait_for_step(launched: Launched, directory: Path, step: int) -> None:
    """Return when the run in ``directory`` has recorded ``step``; fail if it ends before."""
    metrics, patience = directory / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < patience:
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if any(json.loads(line)["step"] >= step for line in lines if line.endswith("}")):
            return
        assert any(process.is_alive() for process in launched.processes), launched.text()
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
