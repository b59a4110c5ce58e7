"""Real runs whose checkpoints meet faults: killed while one is written, a disk that is full for a while or for good."""

import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aedist import checkpoint
from aedist.checkpoint import checkpoints, newest_sound, step_of
from aedist.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR
from aedist.training import writer
from aedist.verify import verify_run
from processes import launch, run, wait_for_step
from runs import assert_ledger_is_exact, records, state_bytes
from samples import write_config

TRAIN = {"reduce": "exact", "epochs": 5, "checkpoint_every": 48, "log_every": 12, "evaluate_every": 96}  # 40 steps


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, 1, "train", write_config(folder / "c.yaml", shards, folder / "run", train=TRAIN))
    return folder / "run"


@pytest.fixture
def config(tmp_path: Path, shards: Path) -> Path:
    return write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train=TRAIN)


def _on_rank_zero(patch: Callable[[], None]) -> None:
    if os.environ.get("RANK", "0") == "0":
        patch()


def _die_in_the_middle_of(name: str, number: int) -> None:
    """In the process to come: be killed at the ``number``-th call of a function that the thread calls."""

    def patch() -> None:
        real, count = getattr(checkpoint, name), 0

        def call(*args: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        setattr(checkpoint, name, call)

    _on_rank_zero(patch)


@pytest.mark.parametrize(
    ("name", "number", "found"),
    [("_write_durably", 11, 8), ("sync_folder", 5, 8), ("sync_folder", 6, 12), ("_delete", 9, 16)],
    ids=["a file", "before the rename", "after the rename", "a retention delete"],
)
def test_kill_9_while_the_thread_writes_the_rerun_ends_bit_identical(
    tmp_path: Path, config: Path, undisturbed: Path, name: str, number: int, found: int
) -> None:
    """Rank zero of two dies in the third save or in what follows it; one process goes on alone."""
    killed = launch(tmp_path, 2, "train", config, first=partial(_die_in_the_middle_of, name, number))
    codes = killed.wait()
    assert codes[0] == -signal.SIGKILL
    assert codes[1] not in (0, EXIT_INTERRUPTED)
    newest = newest_sound(tmp_path / "run" / "checkpoints", pytest.fail)
    assert newest is not None
    if name != "_delete":
        assert step_of(newest) == found
    run(tmp_path, 1, "train", config)
    assert state_bytes(tmp_path / "run") == state_bytes(undisturbed)
    assert records(tmp_path / "run") == records(undisturbed)
    assert_ledger_is_exact(tmp_path / "run")
    assert verify_run(tmp_path / "run").verdict == "proven"


def _full_at(steps: tuple[int, ...]) -> None:
    """In the process to come: a disk that does not take the checkpoints of these steps."""

    def patch() -> None:
        real = checkpoint._write_durably

        def write(path: Path, pieces: Any) -> Any:
            if path.name == "optimizer.safetensors" and int(path.parent.name.rpartition("-")[2]) in steps:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, pieces)

        checkpoint._write_durably = write

    _on_rank_zero(patch)


def told_of_checkpoints(text: str) -> list[str]:
    """The lines on checkpoints that could not be written, put together again where a terminal broke them."""
    return " ".join(text.split()).split("the checkpoint cannot be written")[1:]


def test_a_disk_full_for_a_while_costs_no_step_and_is_told_a_checkpoint_each(
    tmp_path: Path, config: Path, undisturbed: Path
) -> None:
    launched = launch(tmp_path, 2, "train", config, first=partial(_full_at, (8, 12)))
    assert launched.wait() == [0, 0], launched.text()
    told = told_of_checkpoints(launched.text())
    assert len(told) == 2
    assert all("No space left on device" in line and "training goes on" in line for line in told)
    assert told_of_checkpoints(launched.text(1)) == []
    assert state_bytes(tmp_path / "run") == state_bytes(undisturbed)
    assert verify_run(tmp_path / "run").verdict == "proven"


def test_a_disk_that_stays_full_ends_the_run_in_one_line_and_the_rerun_goes_on_from_what_is_there(
    tmp_path: Path, config: Path, undisturbed: Path
) -> None:
    launched = launch(tmp_path, 2, "train", config, first=partial(_full_at, tuple(range(16, 41))))
    assert launched.wait() == [EXIT_USER_ERROR] * 2
    (last,) = [line for line in launched.text().splitlines() if line.startswith("aedist: ")]
    assert last.endswith(
        "step-000000040: the checkpoint cannot be written (No space left on device); make room, or give the right to; "
        "training came to step 40, but the newest checkpoint is of step 12; the same command goes on from there"
    )
    assert [step_of(place) for place in checkpoints(tmp_path / "run" / "checkpoints")] == [8, 12]
    assert not (tmp_path / "run" / "model").exists()
    run(tmp_path, 2, "train", config)
    assert state_bytes(tmp_path / "run") == state_bytes(undisturbed)
    assert_ledger_is_exact(tmp_path / "run")


def test_an_interrupt_whose_checkpoint_cannot_be_written_does_not_claim_to_be_checkpointed(
    tmp_path: Path, config: Path
) -> None:
    config.write_text(config.read_text().replace("epochs: 5", "epochs: 200"))
    steps = tuple(step for step in range(1, 1601) if step % 4 or step > 200)
    launched = launch(tmp_path, 2, "train", config, first=partial(_full_at, steps))
    wait_for_step(launched, tmp_path / "run", 230)
    launched.processes[1].terminate()
    assert launched.wait() == [EXIT_USER_ERROR] * 2
    assert "but the newest checkpoint is of step 200" in launched.text()


def _files_of_30_kib() -> None:
    """In the process to come: the kernel gives no file more than 30 KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30 * 1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(("log_every", "file"), [(96, "ledger/attempt-0001-rank-00000.bin"), (12, "metrics.jsonl")])
def test_a_ledger_or_records_that_the_disk_does_not_take_end_the_run_in_one_line(
    tmp_path: Path, shards: Path, log_every: int, file: str
) -> None:
    """A run without its proof does not go on; what was checkpointed before stays."""
    train = {**TRAIN, "epochs": 40, "log_every": log_every, "evaluate_every": 1920}
    model = {"kind": "mlp", "hidden_dim": 4, "latent_dim": 4}
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train=train, model=model)
    launched = launch(tmp_path, 1, "train", config, first=_files_of_30_kib)
    assert launched.wait() == [EXIT_USER_ERROR]
    (told,) = [line for line in launched.text().splitlines() if line.startswith("aedist: ")]
    assert told.startswith(f"aedist: {tmp_path / 'run' / file}: ")
    assert "cannot be written (File too large)" in told
    assert "Traceback" not in launched.text()
    newest = newest_sound(tmp_path / "run" / "checkpoints", pytest.fail)
    assert newest is not None
    run(tmp_path, 1, "train", config)
    assert verify_run(tmp_path / "run").verdict == "proven"


def _slow_writes() -> None:
    """In the process to come: each checkpoint takes a while."""
    real = writer.save_checkpoint

    def save(*args: Any) -> Path:
        time.sleep(0.5)
        return real(*args)

    writer.save_checkpoint = save


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_waits_for_its_checkpoint_also_when_asked_twice(
    tmp_path: Path, config: Path, undisturbed: Path, times: int
) -> None:
    launched = launch(tmp_path, 2, "train", config, first=_slow_writes)
    wait_for_step(launched, tmp_path / "run", 6)
    for _ in range(times):
        launched.processes[0].terminate()
        time.sleep(0.3)
    assert launched.wait() == [EXIT_INTERRUPTED] * 2
    newest = newest_sound(tmp_path / "run" / "checkpoints", pytest.fail)
    assert newest is not None
    assert f"after step {step_of(newest)}, and checkpointed" in launched.text()
    run(tmp_path, 1, "train", config)
    assert state_bytes(tmp_path / "run") == state_bytes(undisturbed)
