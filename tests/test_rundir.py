"""A run's directory: one run's, one process's at a time, and a true record of every start."""

import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from aedist import rundir
from aedist.config import Config
from aedist.configfile import load_config, parse_config
from aedist.errors import UserError
from aedist.rundir import (
    RunDir,
    Start,
    begin_attempt,
    check_data,
    claim,
    find_run,
    load_run_config,
    read_environment,
)
from aedist.shards.index import Index, Shard

MODEL = {"kind": "mlp", "parameters": 322_804}


def config_of(**sections: dict[str, Any]) -> Config:
    return parse_config({"data": {"shards": "s"}, "model": {"kind": "mlp"}, "run": {"dir": "r"}, **sections}, "here")


def index_of(*sha256: str) -> Index:
    shards = tuple(Shard(f"{n}.tar", 5, 100, digest * 64, (0,)) for n, digest in enumerate(sha256))
    return Index("blobs", "train", (12, 12, 1), ("a", "b"), shards)


def refusal(run: RunDir, config: Config) -> str:
    """The line with which ``claim`` is refused. What it had taken is given back when this returns."""
    with pytest.raises(UserError) as refused:
        claim(run, config)
    told = str(refused.value)
    assert len(told.splitlines()) == 1
    assert told.startswith(f"run.dir: {run.path} ")
    return told


def begin(run: RunDir, index: Index, step: int = 0, config: Config | None = None) -> dict[str, Any]:
    check_data(run, index)
    return begin_attempt(run, config or config_of(), Start(index, index, MODEL, step, 2, "cpu"))


def start(run: RunDir, config: Config) -> None:
    """Begin a run under a configuration, and end it."""
    with claim(run, config):
        begin(run, index_of("a"), config=config)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A directory that nobody has made yet."""
    return RunDir(tmp_path / "runs" / "mine")


def test_a_start_makes_the_directory_with_the_whole_configuration(run: RunDir) -> None:
    config = config_of(optim={"lr": 0.5})
    start(run, config)
    assert load_config(run.config) == load_run_config(run) == config
    assert find_run(run.path) == run
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "config.yaml", "environment.json"]


def test_a_directory_that_is_no_runs_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(
            UserError, match=r"is not a run's directory \(it has no config.yaml\); name what run.dir was"
        ):
            find_run(path)


def test_only_one_may_hold_it_and_the_holder_is_named(run: RunDir) -> None:
    with claim(run, config_of()):
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        assert refusal(run, config_of()).endswith(f"is in use by {holder}; wait for it, or name another folder")
    claim(run, config_of()).close()


def test_the_lock_ends_with_the_process_that_held_it(run: RunDir) -> None:
    """Killed, it leaves the file behind, and the next is not kept out."""
    run.path.mkdir(parents=True)
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); "
        "f.write('process 1 on the moon'); f.flush(); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, run.path / ".lock"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert "is in use by process 1 on the moon" in refusal(run, config_of())
    finally:
        holder.kill()
        holder.communicate()
    with claim(run, config_of()):
        assert "the moon" not in (run.path / ".lock").read_text()


def test_files_that_are_no_runs_are_left_alone(run: RunDir) -> None:
    run.path.mkdir(parents=True)
    claim(RunDir(run.path / "empty"), config_of()).close()
    assert "holds files that are no run's (empty, ...); name a new or empty folder" in refusal(run, config_of())
    assert [path.name for path in run.path.iterdir()] == ["empty"]


@pytest.mark.parametrize("foreign", ["zebra.txt", "!first", "-", ".bashrc"])
def test_a_lock_beside_foreign_files_hides_none_of_them(run: RunDir, foreign: str) -> None:
    run.path.mkdir(parents=True)
    (run.path / ".lock").touch()
    (run.path / foreign).touch()
    assert f"({foreign}, ...)" in refusal(run, config_of())


def test_what_a_start_killed_early_left_keeps_nobody_out(run: RunDir) -> None:
    run.path.mkdir(parents=True)
    (run.path / ".lock").touch()
    (run.path / "config.yaml.part").write_text("data: {sha")
    start(run, config_of())
    assert load_run_config(run) == config_of()


def test_a_file_and_an_unwritable_place_are_refused(run: RunDir, tmp_path: Path) -> None:
    run.path.parent.mkdir()
    run.path.touch()
    assert refusal(run, config_of()).endswith("is a file; name a new or empty folder, or one of this run")
    below = RunDir(run.path / "below")
    assert refusal(below, config_of()).endswith("cannot be written (Not a directory); name another folder")


def test_another_configurations_directory_is_refused_by_its_keys(run: RunDir) -> None:
    start(run, config_of())
    before = run.config.read_bytes()
    told = refusal(run, config_of(optim={"lr": 0.5}, batch={"micro": 7}))
    assert "is a run of another configuration (batch.micro: 32 there, 7 here; optim.lr: 0.001 there, 0.5 here)" in told
    assert "name another folder, or set the keys back" in told
    assert run.config.read_bytes() == before


def test_other_placement_and_more_epochs_go_on_and_are_noted(run: RunDir) -> None:
    start(run, config_of())
    later = config_of(data={"shards": "elsewhere", "workers": 7}, train={"epochs": 30})
    start(run, later)
    assert load_run_config(run) == later


def test_a_run_whose_configuration_is_damaged_is_refused(run: RunDir) -> None:
    start(run, config_of())
    run.config.write_text("data: {shards: [}")
    with pytest.raises(UserError, match=r"config\.yaml, line 1: .*; correct it"):
        claim(run, config_of())


def test_an_attempt_records_what_ran_where_and_how(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "my configs/a.yaml", "track.tags=[a, 'b']", "run.dir=$HOME/x"]
    monkeypatch.setattr(sys, "argv", ["/anywhere/aedist", *words])
    claim(run, config_of()).close()
    record = begin(run, index_of("a", "b"), 40)
    assert record == read_environment(run)
    assert record["model"] == MODEL
    assert record["data"] == {
        "name": "blobs",
        "split": "train",
        "fingerprint": index_of("a", "b").fingerprint,
        "num_samples": 10,
        "classes": ["a", "b"],
        "image_shape": [12, 12, 1],
    }
    (attempt,) = record["attempts"]
    assert (attempt["attempt"], attempt["step"], attempt["world"], attempt["device"]) == (1, 40, 2, "cpu")
    assert attempt["host"] == socket.gethostname()
    assert attempt["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert attempt["versions"]["aedist"] == version("aedist")
    assert attempt["python"] == ".".join(map(str, sys.version_info[:3]))
    assert shlex.split(attempt["command"]) == ["aedist", *words]
    assert attempt["started"].endswith("+00:00")


def test_attempts_accumulate_under_one_run_id(run: RunDir) -> None:
    claim(run, config_of()).close()
    ids = [begin(run, index_of("a"), step)["run_id"] for step in (0, 10, 10)]
    assert len(set(ids)) == 1
    attempts = read_environment(run)["attempts"]
    assert [(attempt["attempt"], attempt["step"]) for attempt in attempts] == [(1, 0), (2, 10), (3, 10)]
    other = RunDir(run.path.with_name("other"))
    claim(other, config_of()).close()
    assert begin(other, index_of("a"))["run_id"] not in ids


@pytest.mark.parametrize("wrong", ["trained", "evaluated"])
def test_other_data_are_refused_by_their_fingerprint_before_anything_is_written(run: RunDir, wrong: str) -> None:
    trained, evaluated = index_of("a"), replace(index_of("c"), split="test")
    run.path.mkdir(parents=True)
    begin_attempt(run, config_of(), Start(trained, evaluated, MODEL, 0, 2, "cpu"))
    check_data(run, trained, evaluated)
    check_data(run, replace(index_of("d"), split="another"))
    split = "train" if wrong == "trained" else "test"
    with pytest.raises(UserError) as refused:
        check_data(run, replace(index_of("b"), split=split))
    there = {"train": trained, "test": evaluated}[split].fingerprint[:12]
    told = str(refused.value)
    assert told.startswith(f"data.shards: blobs/{split} has fingerprint {index_of('b').fingerprint[:12]}, but ")
    assert told.endswith(f"trained on {there}; name another run.dir for other data")


def test_a_forked_child_does_not_hold_the_directory(run: RunDir) -> None:
    """As a loader worker that outlives its killed process for a while would."""
    lock = claim(run, config_of())
    from_child, to_parent = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(to_parent, b"here")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(from_child, 4) == b"here"
        lock.close()  # as the kernel does when this process is killed
        claim(run, config_of()).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("content", [b"", b"{", b'{"run_id": "a"', b"\xff\xfe", b"[]", b"{}", b"null"])
def test_a_torn_environment_is_told(run: RunDir, content: bytes) -> None:
    start(run, config_of())
    run.environment.write_bytes(content)
    with pytest.raises(UserError) as refused:
        begin(run, index_of("a"))
    told = str(refused.value)
    assert told.startswith(f"{run.environment}: ")
    assert told.endswith("; the run must be started anew")
    assert len(told.splitlines()) == 1


def test_the_revision_of_the_code_says_whether_files_differ_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    code = tmp_path / "package" / "rundir.py"
    code.parent.mkdir()
    code.write_text("one")
    monkeypatch.setattr(rundir, "__file__", str(code))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert rundir._git_revision() is None, "not a checkout"
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "v1")
    revision = git("rev-parse", "HEAD")
    assert rundir._git_revision() == revision
    code.write_text("two")
    assert rundir._git_revision() == f"{revision}+"


def test_a_lock_that_another_holds_is_never_written_to(run: RunDir) -> None:
    run.path.mkdir(parents=True)
    holder: IO[str]
    with (run.path / ".lock").open("a+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert "is in use by another process" in refusal(run, config_of())
        assert (run.path / ".lock").read_text() == ""
