"""The one promise, by equality: a run is a function of its configuration, not of the processes it ran on.

Every run here is real processes over gloo that find each other as under any launcher.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aedist.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR
from processes import Launched, launch, run, wait_for_step
from runs import assert_ledger_is_exact, last_checkpoint, ledger, losses, parameters, records, state_bytes
from samples import write_config

REPOSITORY = Path(__file__).parent.parent


def train(folder: Path, shards: Path, name: str, world: int, **sections: dict[str, object]) -> Path:
    """Train to the end on ``world`` processes; returns the run's directory."""
    config = write_config(folder / f"{name}.yaml", shards, folder / name, **sections)
    run(folder, world, "train", config)
    return folder / name


@pytest.fixture(scope="module")
def exact_alone(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """Two epochs under the exact reduction on one process."""
    return train(tmp_path_factory.mktemp("alone"), shards, "run", 1, train={"reduce": "exact"})


@pytest.mark.parametrize("world", [2, 3, 4, 6])  # of 6 micro-batches: 4 does not divide, 6 are all
def test_exact_reduction_is_bit_identical_on_any_number_of_processes(
    tmp_path: Path, shards: Path, exact_alone: Path, world: int
) -> None:
    together = train(tmp_path, shards, "run", world, train={"reduce": "exact"})
    assert state_bytes(together) == state_bytes(exact_alone)
    assert records(together) == records(exact_alone)
    assert ledger(together).tobytes() == ledger(exact_alone).tobytes()
    assert_ledger_is_exact(together)


@pytest.mark.parametrize(
    "placement",
    [
        {"workers": 1, "mode": "stream"},
        {"workers": 3, "mode": "stream"},
        {"workers": 0, "mode": "resident"},
        {"workers": 2, "mode": "resident"},
    ],
    ids=lambda placement: "-".join(str(value) for value in placement.values()),
)
def test_workers_and_tiers_change_no_bit(
    tmp_path: Path, shards: Path, exact_alone: Path, placement: dict[str, object]
) -> None:
    other = train(tmp_path, shards, "run", 2, data=placement, train={"reduce": "exact"})
    assert state_bytes(other) == state_bytes(exact_alone)
    assert_ledger_is_exact(other)


def test_fast_reduction_in_fp64_differs_by_rounding_alone(tmp_path: Path, shards: Path) -> None:
    runs = [train(tmp_path, shards, f"run{world}", world, train={"precision": "fp64"}) for world in (1, 2, 3, 4)]
    alone = parameters(runs[0])
    for together in map(parameters, runs[1:]):
        for name, tensor in alone.items():
            assert tensor.dtype == torch.float64
            torch.testing.assert_close(together[name], tensor, rtol=0, atol=1e-10)


def test_fast_reduction_in_fp32_gives_the_losses_of_the_exact_one(
    tmp_path: Path, shards: Path, exact_alone: Path
) -> None:
    for world in (1, 3):
        fast = train(tmp_path, shards, f"run{world}", world)
        assert losses(fast) == pytest.approx(losses(exact_alone), rel=1e-4)


def test_bf16_trains_and_is_not_fp32(tmp_path: Path, shards: Path, exact_alone: Path) -> None:
    half = losses(train(tmp_path, shards, "run", 2, train={"precision": "bf16"}))
    assert half != losses(exact_alone)
    assert half == pytest.approx(losses(exact_alone), rel=0.05)


def test_processes_of_different_configurations_are_refused(tmp_path: Path, shards: Path) -> None:
    """Each would train something that no configuration describes, and nobody would notice."""
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run")
    launched = launch(tmp_path, 2, "train", config, each=([], ["optim.lr=0.5"]))
    assert launched.wait() == [EXIT_USER_ERROR] * 2
    assert "aedist: optim.lr: process 0 has 0.001, but process 1 has 0.5; all processes" in launched.text()
    assert not (tmp_path / "run").exists()


def test_a_shorter_run_and_lost_checkpoints_are_refused_and_change_nothing(tmp_path: Path, shards: Path) -> None:
    directory = train(tmp_path, shards, "run", 1)
    config = tmp_path / "run.yaml"
    kept = {name: (directory / name).read_bytes() for name in ("config.yaml", "metrics.jsonl", "environment.json")}
    shorter = launch(tmp_path, 1, "train", config, "train.epochs=1")
    assert shorter.wait() == [EXIT_USER_ERROR]
    assert "the run is to end after step 8, but" in shorter.text()
    for checkpoint in (directory / "checkpoints").glob("step-*"):
        (checkpoint / "model.safetensors").write_bytes(b"")
    lost = launch(tmp_path, 1, "train", config)
    assert lost.wait() == [EXIT_USER_ERROR]
    assert "none of the checkpoints is sound; restore one, or remove them all" in lost.text()
    assert {name: (directory / name).read_bytes() for name in kept} == kept


LONG = {"reduce": "exact", "epochs": 40, "checkpoint_every": 36, "log_every": 12, "evaluate_every": 240}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """40 epochs of 8 steps under the exact reduction, never interrupted."""
    return train(tmp_path_factory.mktemp("undisturbed"), shards, "run", 1, train=LONG)


def test_killed_at_any_moment_the_rerun_ends_bit_identical(tmp_path: Path, shards: Path, undisturbed: Path) -> None:
    """One process of two is killed, then both of two, then one alone: each rerun goes on, on another number."""
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train=LONG)
    for world, step, victims in ((2, 70, [1]), (3, 140, [0, 1, 2]), (1, 230, [0])):
        launched = launch(tmp_path, world, "train", config)
        wait_for_step(launched, tmp_path / "run", step)
        for rank in victims:
            launched.processes[rank].kill()
        codes = launched.wait()
        assert [codes[rank] for rank in victims] == [-signal.SIGKILL] * len(victims)
        assert 0 not in codes, "a process whose fellow was killed must not claim to be done"
    run(tmp_path, 2, "train", config)
    assert state_bytes(tmp_path / "run") == state_bytes(undisturbed)
    assert records(tmp_path / "run") == records(undisturbed)
    assert_ledger_is_exact(tmp_path / "run")
    attempts = json.loads((tmp_path / "run" / "environment.json").read_text())["attempts"]
    assert [attempt["world"] for attempt in attempts] == [2, 3, 1, 2]
    assert attempts[1]["step"] >= 60, "the first rerun went on from a checkpoint"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2"])
def test_a_signal_to_one_process_stops_all_behind_one_step(
    tmp_path: Path, shards: Path, undisturbed: Path, name: str
) -> None:
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train=LONG)
    launched = launch(tmp_path, 2, "train", config)
    wait_for_step(launched, tmp_path / "run", 30)
    signal.pidfd_send_signal(_pidfd(launched, 1), signal.Signals[name])
    assert launched.wait() == [EXIT_INTERRUPTED] * 2
    assert "checkpointed" in launched.text()
    stopped_at = json.loads((last_checkpoint(tmp_path / "run") / "state.json").read_text())["progress"]["step"]
    assert records(tmp_path / "run")[-1]["step"] == stopped_at
    run(tmp_path, 1, "train", config)
    assert state_bytes(tmp_path / "run") == state_bytes(undisturbed)
    assert_ledger_is_exact(tmp_path / "run")


def _pidfd(launched: Launched, rank: int) -> int:
    import os

    pid = launched.processes[rank].pid
    assert pid is not None
    return os.pidfd_open(pid)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, shards: Path) -> None:
    directory = train(tmp_path, shards, "run", 1)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}
    run(tmp_path, 1, "train", tmp_path / "run.yaml")
    after = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before


def test_a_longer_run_is_the_shorter_one_continued(tmp_path: Path, shards: Path) -> None:
    short = train(tmp_path, shards, "short", 1, train={"epochs": 1})
    run(tmp_path, 1, "train", tmp_path / "short.yaml", "train.epochs=3")
    whole = train(tmp_path, shards, "whole", 1, train={"epochs": 3})
    assert state_bytes(short) == state_bytes(whole)


def test_divergence_is_skipped_counted_and_ends_in_one_line(tmp_path: Path, shards: Path) -> None:
    config = write_config(
        tmp_path / "c.yaml", shards, tmp_path / "run", optim={"lr": 1e38}, train={"max_bad_steps": 3, "log_every": 12}
    )
    launched = launch(tmp_path, 2, "train", config)
    assert launched.wait() == [EXIT_USER_ERROR] * 2
    told = [line for line in launched.text().splitlines() if line.startswith("aedist:")]
    assert len(told) == 1
    assert "training diverged" in told[0]
    assert "train.max_bad_steps: 3" in told[0]
    assert "optim.lr (1e+38)" in told[0]
    bad = [record for record in records(tmp_path / "run") if record["kind"] == "skipped"]
    assert {record["term"] for record in bad} == {"squared_error"}
    assert records(tmp_path / "run")[-1]["skipped_steps"] == 3
    assert launched.text(1).count("aedist:") == 0, "rank zero tells what all found"


def test_accelerate_launch_with_the_file_of_this_repository_makes_one_world_of_two(
    tmp_path: Path, shards: Path, exact_alone: Path
) -> None:
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"reduce": "exact"})
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", REPOSITORY / "launch" / "cpu.yaml"]
    done = subprocess.run(
        [*command, "-m", "aedist", "train", config], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    attempts = json.loads((tmp_path / "run" / "environment.json").read_text())["attempts"]
    assert [attempt["world"] for attempt in attempts] == [2]
    assert state_bytes(tmp_path / "run") == state_bytes(exact_alone)
