"""Any process can die at any moment: the others end within seconds, in one line that names it, and the rerun is exact.

The rows are those of the catalogue of faults: 1 a killed rank, 9 to 11 resuming elsewhere, 27 no memory, 29 a lost
loader worker, 31 a killed launcher.
"""

import multiprocessing
import os
import re
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from aedist.checkpoint import check_bytes, checkpoints
from aedist.data.loader import Split, stream
from aedist.data.plan import Plan
from aedist.data.store import ShardStore
from aedist.errors import EXIT_FAULT
from processes import Launched, evaluate_slowly, launch, launch_under_agent, run, wait_for_step
from runs import assert_ledger_is_exact, records, state_bytes
from samples import write_config, write_split

REPOSITORY = Path(__file__).parent.parent.parent
TRAIN = {"reduce": "exact", "epochs": 12, "checkpoint_every": 48, "log_every": 12, "evaluate_every": 240}  # 96 steps
SECONDS = 5.0
"""So long the others may take to end."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, 1, "train", write_config(folder / "c.yaml", shards, folder / "run", train=TRAIN))
    return folder / "run"


def config_of(folder: Path, shards: Path, **sections: dict[str, object]) -> Path:
    return write_config(folder / "c.yaml", shards, folder / "run", train=TRAIN | sections.pop("train", {}), **sections)


def the_line(text: str) -> str:
    """The one line in which a process says why it ended: no traceback, no second one."""
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if line.startswith("aedist: ")]
    return line


def assert_rerun_is_exact(folder: Path, undisturbed: Path, world: int = 1) -> None:
    run(folder, world, "train", folder / "c.yaml")
    assert state_bytes(folder / "run") == state_bytes(undisturbed)
    assert records(folder / "run") == records(undisturbed)
    assert_ledger_is_exact(folder / "run")


def ended_in(launched: Launched, since: float) -> list[int | None]:
    codes = launched.wait()
    assert time.monotonic() - since < SECONDS
    return codes


@pytest.mark.parametrize(
    ("world", "victim", "sections"),
    [
        (2, 1, {"train": {"reduce": "fast"}}),
        (3, 0, {}),
        (3, 2, {"data": {"workers": 2, "mode": "stream"}}),
    ],
    ids=["fast", "rank zero", "with loader workers"],
)
def test_row_1_kill_9_of_a_rank_in_a_step_ends_the_others_in_a_line_that_names_it(
    tmp_path: Path, shards: Path, world: int, victim: int, sections: dict[str, Any]
) -> None:
    launched = launch(tmp_path, world, "train", config_of(tmp_path, shards, **sections), "train.epochs=4000")
    wait_for_step(launched, tmp_path / "run", 20)
    launched.processes[victim].kill()
    codes = ended_in(launched, time.monotonic())
    for rank in set(range(world)) - {victim}:
        assert codes[rank] == EXIT_FAULT
        name = "aedist: " if rank == 0 else f"aedist: process {rank}: "
        assert re.fullmatch(
            rf"{name}process {victim} is gone without a word, killed or cut off; last heard of in (step \d+ \(.*\)|the "
            rf"beginning.*); this process was in step \d+ \(.*\); start again with the same command",
            the_line(launched.text(rank)),
        )


def _step_slowly() -> None:
    from aedist.training import loop

    fast = loop._update

    def slow(*args: Any) -> float:
        time.sleep(0.02)
        return fast(*args)

    loop._update = slow


def test_row_1_kill_9_in_an_evaluation(tmp_path: Path, shards: Path, undisturbed: Path) -> None:
    launched = launch(tmp_path, 2, "train", config_of(tmp_path, shards), first=evaluate_slowly)
    wait_for_step(launched, tmp_path / "run", 20)
    time.sleep(0.5)
    launched.processes[1].kill()
    assert ended_in(launched, time.monotonic())[0] == EXIT_FAULT
    assert "process 1 is gone" in the_line(launched.text())
    assert "this process was in step 20 (" in the_line(launched.text())
    assert_rerun_is_exact(tmp_path, undisturbed)


def _measure_slowly(mark: Path) -> None:
    from aedist.evaluation import run as evaluation

    fast = evaluation._measured

    def slow(*args: Any) -> Any:
        mark.touch()
        time.sleep(0.3)
        return fast(*args)

    evaluation._measured = slow


def test_row_1_kill_9_in_the_verb_of_evaluation(tmp_path: Path, undisturbed: Path) -> None:
    words = ("evaluate", undisturbed, "evaluate.fit_images=10", "evaluate.fid_images=0")
    launched = launch(tmp_path, 2, *words, first=partial(_measure_slowly, tmp_path / "measuring"))
    end = time.monotonic() + 60
    while not (tmp_path / "measuring").exists() and time.monotonic() < end:
        time.sleep(0.01)
    launched.processes[1].kill()
    assert ended_in(launched, time.monotonic())[0] == EXIT_FAULT
    assert "process 1 is gone without a word" in the_line(launched.text())
    assert not (undisturbed / "evaluation" / "comprehensive_evaluation.json").exists()


def _save_slowly(step: int) -> None:
    from aedist.training import writer

    fast = writer.save_checkpoint

    def slow(folder: Path, at: int, *rest: Any) -> Path:
        if at == step:
            (folder.parent / "saving").touch()
            time.sleep(1.5)
        return fast(folder, at, *rest)

    writer.save_checkpoint = slow


def test_row_1_kill_9_of_another_rank_in_a_save_lets_rank_zero_finish_it(
    tmp_path: Path, shards: Path, undisturbed: Path
) -> None:
    launched = launch(tmp_path, 2, "train", config_of(tmp_path, shards), first=partial(_save_slowly, 8))
    while not (tmp_path / "run" / "saving").exists():
        time.sleep(0.01)
    launched.processes[1].kill()
    assert ended_in(launched, time.monotonic())[0] == EXIT_FAULT
    assert "process 1 is gone" in the_line(launched.text())
    assert [place.name for place in checkpoints(tmp_path / "run" / "checkpoints")][-1] == "step-000000008"
    (tmp_path / "run" / "saving").unlink()
    assert_rerun_is_exact(tmp_path, undisturbed)


def _lose_a_worker(how: str, step: int) -> None:
    """On rank 1, a loader worker ends as it reads a step."""
    from aedist.data import loader

    if os.environ["RANK"] != "1":
        return
    read = loader._Reader.__getitem__

    def fatal(self: Any, stretch: tuple[int, int]) -> Any:
        if stretch[0] <= step < stretch[1] and multiprocessing.parent_process() is not None:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        return read(self, stretch)

    loader._Reader.__getitem__ = fatal


@pytest.mark.parametrize("how", ["killed", "exit 0"])
def test_row_29_a_lost_loader_worker_ends_all_in_a_line(tmp_path: Path, shards: Path, how: str) -> None:
    config = config_of(tmp_path, shards, data={"workers": 1, "mode": "stream"}, batch={"micro": 2, "num_micro": 6})
    launched = launch(tmp_path, 2, "train", config, first=partial(_lose_a_worker, how, 60))
    assert launched.wait() == [EXIT_FAULT] * 2
    told = the_line(launched.text(1))
    words = r"(is killed by signal: Killed|exited unexpectedly)"  # as torch notices, which is a race
    assert re.match(rf"aedist: process 1: a loader worker \(process [\d, ]+ of the system\) {words}", told)
    assert "lower data.workers; start again with the same command" in told
    assert "aedist: process 1 ended with exit code 1, and says why itself; this" in the_line(launched.text())


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ends(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def test_row_31_ranks_and_their_loader_workers_end_with_a_killed_launcher(tmp_path: Path, shards: Path) -> None:
    config = config_of(tmp_path, shards, data={"workers": 2, "mode": "stream"}, train={"epochs": 4000})
    launched = launch_under_agent(tmp_path, 2, "train", config)
    wait_for_step(launched, tmp_path / "run", 20)
    workers = [os.pidfd_open(child) for pid in launched.pids for child in children(pid)]
    assert len(workers) == 4
    launched.agent.kill()
    launched.wait(SECONDS)
    assert all(ends(worker, SECONDS) for worker in workers)
    for rank in range(2):
        assert f"the launcher (process {launched.agent.pid} of the system) is gone" in launched.text(rank)
    for pidfd in workers:
        os.close(pidfd)


def test_row_31_a_lone_process_that_nobody_launched_does_not_depend_on_its_parent(tmp_path: Path, shards: Path) -> None:
    """As under nohup, tmux or a shell that is left."""
    config = config_of(tmp_path, shards, train={"epochs": 10})
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'aedist', 'train', {str(config)!r}])"
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=False)
    metrics, end = tmp_path / "run" / "model" / "config.json", time.monotonic() + 60
    while not metrics.exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert metrics.exists()


def test_row_31_the_processes_of_accelerate_launch_end_when_it_is_killed(tmp_path: Path, shards: Path) -> None:
    config = config_of(tmp_path, shards, train={"epochs": 4000})
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", REPOSITORY / "launch" / "cpu.yaml"]
    with (tmp_path / "output.txt").open("w") as output:
        launcher = subprocess.Popen([*command, "-m", "aedist", "train", config], stdout=output, stderr=output)
    metrics, end = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 3) and time.monotonic() < end:
        time.sleep(0.05)
    ranks = [os.pidfd_open(child) for child in children(launcher.pid)]
    assert len(ranks) == 2, (tmp_path / "output.txt").read_text()
    launcher.kill()
    launcher.wait()
    assert all(ends(rank, SECONDS) for rank in ranks)
    assert "is gone" in (tmp_path / "output.txt").read_text()
    for pidfd in ranks:
        os.close(pidfd)


def _lack_memory(how: str) -> None:
    """On rank 1, the sixth step wants more than there is."""
    from aedist.training import reduction

    if os.environ["RANK"] != "1":
        return
    finish, count = reduction.Exact.finish, 0

    def hungry(self: Any) -> None:
        nonlocal count
        count += 1
        if count == 6 and how == "host":
            torch.zeros(2**50)
        elif count == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        finish(self)

    reduction.Exact.finish = hungry


@pytest.mark.parametrize(("how", "whose"), [("host", "memory"), ("device", "the GPU's memory")])
def test_row_27_no_memory_on_one_rank_ends_all_and_says_what_to_lower(
    tmp_path: Path, shards: Path, undisturbed: Path, how: str, whose: str
) -> None:
    launched = launch(tmp_path, 2, "train", config_of(tmp_path, shards), first=partial(_lack_memory, how))
    assert launched.wait() == [EXIT_FAULT] * 2
    told = the_line(launched.text(1))
    assert told.startswith(f"aedist: process 1: {whose} does not suffice, in step 6 (computes)")
    assert "lower batch.micro and raise batch.num_micro" in told
    assert "process 1 ended with exit code 1, and says why itself" in the_line(launched.text())
    for place in checkpoints(tmp_path / "run" / "checkpoints"):
        check_bytes(place)
    if how == "host":
        assert_rerun_is_exact(tmp_path, undisturbed, world=2)


def test_a_fault_that_is_a_bug_keeps_its_traceback(tmp_path: Path, shards: Path) -> None:
    launched = launch(tmp_path, 2, "train", config_of(tmp_path, shards), first=_break)
    assert launched.wait() == [EXIT_FAULT] * 2
    assert "ZeroDivisionError: a bug" in launched.text(1)
    assert "process 1 ended with exit code 1, and says why itself" in the_line(launched.text())


def _break() -> None:
    from aedist.training import reduction

    def broken(self: Any) -> None:
        raise ZeroDivisionError("a bug")

    if os.environ["RANK"] == "1":
        reduction.Exact.finish = broken


def test_rows_9_to_11_one_shard_for_several_ranks_and_workers_resumed_elsewhere(tmp_path: Path) -> None:
    """Killed on two ranks with four workers each, which share a shard; goes on on three from memory."""
    shards = tmp_path / "blobs"
    write_split(shards / "train", (50,), seed=1)
    write_split(shards / "test", (5,), seed=2)
    train: dict[str, object] = {"reduce": "exact", "epochs": 8, "checkpoint_every": 12, "log_every": 12}
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train=train)
    launched = launch(tmp_path, 2, "train", config, "data.workers=4", "data.mode=stream", first=_step_slowly)
    wait_for_step(launched, tmp_path / "run", 10)
    launched.processes[0].kill()
    launched.wait()
    run(tmp_path, 3, "train", config, "data.workers=2", "data.mode=resident")
    alone = write_config(tmp_path / "alone.yaml", shards, tmp_path / "alone", train=train)
    run(tmp_path, 1, "train", alone)
    assert state_bytes(tmp_path / "run") == state_bytes(tmp_path / "alone")
    assert records(tmp_path / "run") == records(tmp_path / "alone")
    assert_ledger_is_exact(tmp_path / "run")


@pytest.mark.parametrize("step", [10, 1_000_000])
def test_row_8_resuming_opens_the_shards_of_its_step_alone_however_late_that_is(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = write_split(tmp_path, (4,) * 20, seed=1)
    opened, scan = list[int](), ShardStore._open_shard

    def noting(self: ShardStore, number: int) -> Any:
        opened.append(number)
        return scan(self, number)

    monkeypatch.setattr(ShardStore, "_open_shard", noting)
    plan = Plan(tuple(shard.samples for shard in index.shards), seed=0, micro=2, num_micro=2, shuffle_shards=1)
    (batch,) = stream(Split(tmp_path, index), plan, (0, 1), step, step + 1, 0, pin=False)
    needed = {int(sample) // 4 for sample in plan.step_ids(step, (0, 1)).ravel()}
    assert batch.step == step
    assert sorted(opened) == sorted(needed)
    assert len(needed) <= 4
