"""Row 30 of the catalogue: a run may be asked to stop at any moment, in any way, and by whomever.

All processes stop behind one step, checkpoint and exit with 75, and the rerun is exact: also when it is asked twice,
while it saves, evaluates or reads images into memory, before there is anything to save, or by time.
"""

import os
import random
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aedist.checkpoint import check_bytes, checkpoints, read_numbers, step_of
from aedist.errors import EXIT_INTERRUPTED
from aedist.verify import verify_run
from processes import Launched, launch, run, wait_for_step
from runs import assert_ledger_is_exact, records, state_bytes
from samples import write_config

TRAIN = {"reduce": "exact", "epochs": 10, "checkpoint_every": 96, "log_every": 12, "evaluate_every": 240}  # 80 steps
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, 1, "train", write_config(folder / "c.yaml", shards, folder / "run", train=TRAIN))
    return folder / "run"


@pytest.fixture
def config(tmp_path: Path, shards: Path) -> Path:
    return write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train=TRAIN)


def ask(launched: Launched, ranks: Sequence[int], number: signal.Signals) -> None:
    for rank in ranks:
        pid = launched.processes[rank].pid
        if pid is not None and launched.processes[rank].is_alive():
            os.kill(pid, number)


def assert_stopped(launched: Launched, directory: Path) -> int:
    """All exited with 75 behind one step, which is checkpointed. Returns the step."""
    codes = launched.wait()
    told = "\n".join(launched.text(rank) for rank in range(len(codes)))
    assert codes == [EXIT_INTERRUPTED] * len(codes), told
    assert "Traceback" not in told
    newest = checkpoints(directory / "checkpoints")[-1]
    check_bytes(newest)
    assert f"after step {step_of(newest):,}, and checkpointed; the same command goes on from there" in launched.text()
    assert verify_run(directory).verdict == "proven"
    return step_of(newest)


def assert_rerun_is_exact(config: Path, undisturbed: Path, world: int = 1) -> None:
    directory = config.parent / "run"
    run(config.parent, world, "train", config)
    assert state_bytes(directory) == state_bytes(undisturbed)
    assert records(directory) == records(undisturbed)
    assert_ledger_is_exact(directory)
    assert verify_run(directory).verdict == "proven"


def test_row_30_one_or_all_once_or_twice_at_random_phases(config: Path, undisturbed: Path) -> None:
    rng = random.Random(30)
    step = 0
    slow = partial(_slowly, "aedist.training.loop", "_update", 0.02, config.parent / "updating")
    for world, ranks, times in ((2, (0, 1), 2), (3, (2,), 1), (2, (1,), 2), (1, (0,), 2)):
        launched = launch(config.parent, world, "train", config, first=slow)
        wait_for_step(launched, config.parent / "run", step + 5)
        time.sleep(rng.uniform(0, 0.1))
        for _ in range(times):
            ask(launched, ranks, rng.choice(SIGNALS))
            time.sleep(rng.uniform(0, 0.02))
        stopped = assert_stopped(launched, config.parent / "run")
        assert stopped >= step + 5
        step = stopped
    assert_rerun_is_exact(config, undisturbed, world=2)


def _slowly(module: str, name: str, seconds: float, mark: Path) -> None:
    """In the process to come: a function takes its time, and leaves a mark when it begins."""
    import importlib

    place = importlib.import_module(module)
    fast = getattr(place, name)

    def slow(*args: Any, **options: Any) -> Any:
        note(mark)
        time.sleep(seconds)
        return fast(*args, **options)

    setattr(place, name, slow)


def note(mark: Path) -> None:
    """One byte a call, of whichever process."""
    with mark.open("a") as file:
        file.write(".")


def wait_for(mark: Path) -> None:
    end = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < end:
        time.sleep(0.005)
    assert mark.exists()


def test_row_30_twice_during_a_save(config: Path, undisturbed: Path) -> None:
    mark = config.parent / "saving"
    slow = partial(_slowly, "aedist.training.writer", "save_checkpoint", 0.5, mark)
    launched = launch(config.parent, 2, "train", config, first=slow)
    wait_for(mark)
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):  # the later ones while the last one is written
        ask(launched, (0, 1), number)
        time.sleep(0.2)
    assert_stopped(launched, config.parent / "run")
    assert_rerun_is_exact(config, undisturbed)


@pytest.mark.parametrize(("world", "asked"), [(1, 0), (2, 1)])
def test_row_30_an_evaluation_is_left_out_and_made_up_for(
    config: Path, undisturbed: Path, world: int, asked: int
) -> None:
    """Of six batches."""
    mark = config.parent / "evaluating"
    slow = partial(_slowly, "aedist.training.periodic", "pixel_metrics", 1.0, mark)
    launched = launch(config.parent, world, "train", config, first=slow)
    wait_for(mark)
    ask(launched, [asked], signal.SIGUSR1)
    assert assert_stopped(launched, config.parent / "run") == 20
    assert mark.stat().st_size < 6
    assert read_numbers(checkpoints(config.parent / "run" / "checkpoints")[-1])["progress"]["owes_evaluation"] is True
    assert [record["step"] for record in records(config.parent / "run") if record["kind"] == "evaluation"] == []
    assert_rerun_is_exact(config, undisturbed, world=3 - world)


def test_row_30_the_last_evaluation_may_be_left_out_too_and_made_up_for_twice(config: Path, undisturbed: Path) -> None:
    """The second time a kill comes between the evaluation and its checkpoint."""
    mark = config.parent / "evaluating"
    run(config.parent, 1, "train", config, "train.epochs=9")  # 72 steps of 80
    slow = partial(_slowly, "aedist.training.periodic", "pixel_metrics", 1.0, mark)
    launched = launch(config.parent, 2, "train", config, first=slow)
    wait_for(mark)
    ask(launched, [0], signal.SIGTERM)
    assert assert_stopped(launched, config.parent / "run") == 80
    mark.unlink()
    slow = partial(_slowly, "aedist.training.writer", "save_checkpoint", 5.0, mark)
    killed = launch(config.parent, 1, "train", config, first=slow)
    wait_for(mark)
    killed.processes[0].kill()
    killed.wait()
    run(config.parent, 1, "train", config)
    assert state_bytes(config.parent / "run") == state_bytes(undisturbed)
    found = [record for record in records(config.parent / "run") if record["step"] == 80]
    assert [record["kind"] for record in found] == ["train", "epoch", "evaluation"]
    assert found == [record for record in records(undisturbed) if record["step"] == 80]


def test_row_30_while_images_are_read_into_memory(config: Path, undisturbed: Path) -> None:
    """Of twenty stretches; what was read is thrown away, on all processes."""
    mark = config.parent / "reading"
    launched = launch(config.parent, 2, "train", config, "data.mode=resident", first=partial(_read_slowly, mark))
    wait_for(mark)
    ask(launched, [1], signal.SIGUSR2)
    assert launched.wait() == [EXIT_INTERRUPTED] * 2
    assert mark.stat().st_size < 20
    assert "stopped by SIGUSR2 before step 1; the same command goes on from there" in launched.text()
    assert_rerun_is_exact(config, undisturbed, world=2)


def _read_slowly(mark: Path) -> None:
    from aedist.data import resident

    read = resident.read_stretches
    resident.IMAGES_A_STRETCH = 5

    def slow(*args: Any, **options: Any) -> Any:
        for stretch in read(*args, **options):
            note(mark)
            time.sleep(0.5)
            yield stretch

    resident.read_stretches = slow


def test_row_30_a_signal_to_loader_workers_too(config: Path, undisturbed: Path) -> None:
    """A scheduler may send SIGTERM to every process of a job; the workers read on for the processes that stop."""
    launched = launch(config.parent, 2, "train", config, "data.mode=stream", "data.workers=2")
    wait_for_step(launched, config.parent / "run", 12)
    workers = [worker for process in launched.processes for worker in _children(process.pid or 0)]
    assert len(workers) >= 4
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    ask(launched, [0, 1], signal.SIGTERM)
    assert_stopped(launched, config.parent / "run")
    run(config.parent, 3, "train", config)
    assert state_bytes(config.parent / "run") == state_bytes(undisturbed)


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def test_row_30_before_there_is_anything_to_save(config: Path) -> None:
    """Rank zero takes long to look into the directory, and the other waits for it inside a library."""
    mark = config.parent / "opening"
    slow = partial(_slowly, "aedist.training.run", "open_run", 20.0, mark)
    launched = launch(config.parent, 2, "train", config, first=slow)
    wait_for(mark)
    time.sleep(0.2)
    ask(launched, [1], signal.SIGTERM)
    assert launched.wait() == [EXIT_INTERRUPTED] * 2  # long before those seconds are over, or rank zero would train
    assert "SIGTERM: stopped before training went on; the same command starts it" in launched.text(1)
    assert "process 1 was asked to stop before training went on" in launched.text()


def test_max_minutes_is_a_stop_by_the_clock_of_rank_zero(config: Path, undisturbed: Path) -> None:
    """Of steps so slow that the run would last 16 seconds."""
    mark = config.parent / "updating"
    slow = partial(_slowly, "aedist.training.loop", "_update", 0.2, mark)
    launched = launch(config.parent, 2, "train", config, "train.max_minutes=0.05", first=slow)
    step = assert_stopped(launched, config.parent / "run")
    assert 1 <= step < 40
    assert "stopped by train.max_minutes: 0.05 after step" in launched.text()
    assert_rerun_is_exact(config, undisturbed)
