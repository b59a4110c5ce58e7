"""Row 28 of the catalogue: whatever hangs is detected within ``train.stall_minutes``, by name, and ends the run.

Every process that can still speak says which one it was, in which step, and what it waited for.
"""

import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from aedist.errors import EXIT_FAULT
from processes import Launched, evaluate_slowly, launch, run, wait_for_step
from runs import assert_ledger_is_exact, state_bytes
from samples import write_config

STALL_MINUTES = 0.03
LONG = 30.0
"""Seconds in which nobody would wait for a hang to end by itself."""


def config_of(folder: Path, shards: Path, **sections: dict[str, object]) -> Path:
    train = {"epochs": 4000, "evaluate_every": 100_000, "stall_minutes": STALL_MINUTES} | sections.pop("train", {})
    return write_config(folder / "c.yaml", shards, folder / "run", train=train, **sections)


def impatient() -> None:
    """Of a main thread that hears nothing anyway, the watch expects a word for a shorter time."""
    from aedist import watch

    watch.GRACE_SECONDS = 0.5


def send(launched: Launched, ranks: tuple[int, ...], number: signal.Signals) -> None:
    for rank in ranks:
        pid = launched.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)


def the_line(text: str) -> str:
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if line.startswith("aedist: ")]
    return line


@pytest.mark.parametrize("victim", [0, 2])
def test_row_28_a_stopped_rank_is_named_by_all_others(tmp_path: Path, shards: Path, victim: int) -> None:
    launched = launch(tmp_path, 3, "train", config_of(tmp_path, shards), first=impatient)
    wait_for_step(launched, tmp_path / "run", 20)
    send(launched, (victim,), signal.SIGSTOP)
    since = time.monotonic()
    others = [rank for rank in range(3) if rank != victim]
    for rank in others:
        launched.processes[rank].join(LONG)
    assert time.monotonic() - since < STALL_MINUTES * 60 + 8
    for rank in others:
        assert launched.processes[rank].exitcode == EXIT_FAULT
        told = the_line(launched.text(rank))
        assert f"nothing moved for {STALL_MINUTES:g} minutes (train.stall_minutes): process {victim} gives no" in told
        assert "; this process was in step " in told
    send(launched, (victim,), signal.SIGCONT)  # it finds that the others are gone, and ends too
    launched.processes[victim].join(LONG)
    assert launched.processes[victim].exitcode == EXIT_FAULT
    assert "is gone without a word" in the_line(launched.text(victim)) or "gives no sign" in launched.text(victim)


def _hang_in_a_read() -> None:
    """On rank 1, whoever reads step 40 never comes back."""
    impatient()
    from aedist.data import loader

    read = loader._Reader.__getitem__

    def endless(self: Any, stretch: tuple[int, int]) -> Any:
        if stretch[0] <= 40 < stretch[1]:
            time.sleep(1000)
        return read(self, stretch)

    if os.environ.get("RANK", "1") == "1":
        loader._Reader.__getitem__ = endless


@pytest.mark.parametrize(("world", "workers"), [(2, 1), (1, 0)])
def test_row_28_a_stuck_read_is_named_with_its_step_and_shards(
    tmp_path: Path, shards: Path, world: int, workers: int
) -> None:
    config = config_of(
        tmp_path, shards, data={"mode": "stream", "workers": workers}, batch={"micro": 20, "num_micro": 2}
    )
    launched = launch(tmp_path, world, "train", config, first=_hang_in_a_read)
    assert launched.wait(LONG) == [EXIT_FAULT] * world
    for rank in range(world):
        told = the_line(launched.text(rank))
        assert f"(train.stall_minutes): process {world - 1} is in step " in told
        assert " (waits for its images, from part-0000" in told


def _hang_in_a_step() -> None:
    """On rank 1, the 20th update never ends."""
    impatient()
    from aedist.training import loop

    update, count = loop._update, 0

    def endless(*args: Any) -> float:
        nonlocal count
        count += 1
        if count == 20:
            time.sleep(1000)
        return update(*args)

    if os.environ["RANK"] == "1":
        loop._update = endless


def test_row_28_a_stuck_step_is_named_by_both(tmp_path: Path, shards: Path) -> None:
    launched = launch(tmp_path, 2, "train", config_of(tmp_path, shards), first=_hang_in_a_step)
    assert launched.wait(LONG) == [EXIT_FAULT] * 2
    for rank in range(2):
        assert "process 1 is in step 20 (computes)" in the_line(launched.text(rank))


def test_an_evaluation_longer_than_that_goes_on_as_long_as_it_moves(tmp_path: Path, shards: Path) -> None:
    """Three batches of a second each on one process, and two on the other, which waits."""
    config = config_of(tmp_path, shards, train={"epochs": 1})
    run_of = launch(tmp_path, 2, "train", config, first=evaluate_slowly)
    assert run_of.wait() == [0, 0], run_of.text()


def test_a_job_that_was_suspended_as_a_whole_goes_on(tmp_path: Path, shards: Path) -> None:
    """As a scheduler does that gives the machine to another job for a while; longer than anything may stall."""
    train: dict[str, object] = {"reduce": "exact", "epochs": 12, "log_every": 12, "evaluate_every": 960}
    config = config_of(tmp_path, shards, train=train)
    launched = launch(tmp_path, 2, "train", config)
    wait_for_step(launched, tmp_path / "run", 10)
    send(launched, (0, 1), signal.SIGSTOP)
    time.sleep(STALL_MINUTES * 60 + 2)
    send(launched, (1, 0), signal.SIGCONT)
    assert launched.wait() == [0, 0], launched.text()
    alone = write_config(tmp_path / "alone.yaml", shards, tmp_path / "alone", train=train)
    run(tmp_path, 1, "train", alone)
    assert state_bytes(tmp_path / "run") == state_bytes(tmp_path / "alone")
    assert_ledger_is_exact(tmp_path / "run")


def test_the_loader_workers_of_a_hung_process_end_with_it(tmp_path: Path, shards: Path) -> None:
    config = config_of(tmp_path, shards, data={"mode": "stream", "workers": 2})
    launched = launch(tmp_path, 1, "train", config, first=_hang_in_a_read)
    wait_for_step(launched, tmp_path / "run", 1)
    pid = launched.processes[0].pid
    workers = [os.pidfd_open(int(one)) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    assert launched.wait(LONG) == [EXIT_FAULT]
    assert len(workers) == 2
    for worker in workers:
        assert select.select([worker], [], [], 5.0)[0]
        os.close(worker)
