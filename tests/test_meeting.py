"""How tasks that srun started find each other: what SLURM says, ports that are taken, strangers who answer there."""

import json
import os
import socket
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from aedist.cli.launcher import asked_of_launcher, first_host
from aedist.errors import Fault, UserError
from aedist.link import serve
from aedist.meeting import Meeting, meeting_of, store_of_all
from processes import launch, run
from runs import state_bytes
from samples import write_config

PATIENCE = timedelta(seconds=20)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node1,node7", "node1"),
        ("node[1-2]", "node1"),
        ("gpu[03-05,9],login1", "gpu03"),
        ("rack[2,4]-gpu[007-100].cluster,x", "rack2-gpu007.cluster"),
    ],
)
def test_the_first_of_the_hosts_that_slurm_names_in_short(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_all_tasks_of_a_start_work_out_the_same_ports_and_other_starts_others() -> None:
    meeting = meeting_of("node1", 123_456, 0, 0)
    assert meeting == meeting_of("node1", 123_456, 0, 0)
    assert len(set(meeting.ports)) == 16
    assert all(20_000 <= port < 30_000 for port in meeting.ports)
    for other in (
        meeting_of("node1", 123_457, 0, 0),
        meeting_of("node1", 123_456, 1, 0),
        meeting_of("node1", 123_456, 0, 1),
    ):
        assert other.word != meeting.word
        assert other.ports[0] != meeting.ports[0]


def free_ports(count: int) -> tuple[int, ...]:
    with ExitStack() as opened:
        found = [opened.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(count)]
        return tuple(server.getsockname()[1] for server in found)


def test_rank_zero_is_found_behind_ports_of_others() -> None:
    """The first port is a web server's, the second one's that hangs up, the third another job's rank zero."""
    meeting = Meeting("127.0.0.1", free_ports(5), "aedist 1.0.0")
    other = Meeting("127.0.0.1", meeting.ports[2:3], "aedist 2.0.0")
    with (
        closing(serve("127.0.0.1", meeting.ports[0])) as web,
        closing(serve("127.0.0.1", meeting.ports[1])) as curt,
        store_of_all(other, 0, 2, PATIENCE),
        store_of_all(meeting, 0, 3, PATIENCE) as store,
    ):
        Thread(target=answer_once, args=(web, b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True).start()
        Thread(target=answer_once, args=(curt, b""), daemon=True).start()
        store.set("told", "by rank zero")
        for rank in (1, 2):
            with store_of_all(meeting, rank, 3, PATIENCE) as there:
                assert there.get("told") == b"by rank zero"


def answer_once(server: socket.socket, body: bytes) -> None:
    with closing(server.accept()[0]) as guest:
        guest.recv(1024)
        guest.sendall(body)


def test_a_rank_zero_that_finds_no_port_says_so() -> None:
    with closing(serve("127.0.0.1", 0)) as taken:
        meeting = Meeting("127.0.0.1", (taken.getsockname()[1],), "aedist 1.0.0")
        with pytest.raises(UserError, match="can be opened"), store_of_all(meeting, 0, 2, PATIENCE):
            pass


def test_a_rank_zero_that_does_not_come_is_not_awaited_for_ever() -> None:
    meeting = Meeting("127.0.0.1", free_ports(2), "aedist 1.0.0")
    patience = timedelta(seconds=0.3)
    found_nobody = pytest.raises(Fault, match="process 1 found rank zero at none of the ports")
    with found_nobody, store_of_all(meeting, 1, 2, patience):
        pass


def told_by_srun(rank: int, world: int, job: int, restarts: int = 0) -> dict[str, str]:
    """What srun says to a task of a step on this host."""
    told = {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_ID": 0,
        "SLURM_STEP_NUM_TASKS": world,
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_PROCID": rank,
        "SLURM_LOCALID": rank,
        "SLURM_GTIDS": ",".join(str(other) for other in range(world)),
        "SLURM_RESTART_COUNT": restarts,
    }
    return {name: str(value) for name, value in told.items()}


def test_tasks_of_srun_train_one_run_though_the_first_port_is_taken(shards: Path, tmp_path: Path) -> None:
    batch, train = {"micro": 5, "num_micro": 4}, {"reduce": "exact", "epochs": 1}
    config = write_config(tmp_path / "config.yaml", shards, tmp_path / "run", batch=batch, train=train)
    job = os.getpid() * 10  # so that tests beside this one have other ports
    with closing(serve("127.0.0.1", meeting_of("localhost", job, 0, 0).ports[0])):
        launched = launch(tmp_path, 3, "train", config, told=lambda rank: told_by_srun(rank, 3, job))
        assert launched.wait() == [0, 0, 0], launched.text()
    run(tmp_path, 1, "train", config, f"run.dir={tmp_path / 'alone'}")
    assert state_bytes(tmp_path / "run") == state_bytes(tmp_path / "alone")
    (attempt,) = json.loads((tmp_path / "run" / "environment.json").read_text())["attempts"]
    assert attempt["slurm"] == {"id": str(job), "restarts": "0", "nodes": "localhost"}
    assert attempt["world"] == 3


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "x")  # so that what is set in the test is taken out after it
        monkeypatch.delenv(name)
    told = told_by_srun(2, 4, 17) | {"SLURM_STEP_NODELIST": "node[3-4]", "SLURM_GTIDS": "2,3", "SLURM_LOCALID": "0"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return told


@pytest.mark.usefixtures("task")
def test_what_srun_says_is_what_is_asked() -> None:
    asked = asked_of_launcher()
    assert (asked.rank, asked.world, asked.local_rank, asked.local_world) == (2, 4, 0, 2)
    assert asked.meets_at == "node3"
    assert asked.meeting == meeting_of("node3", 17, 0, 0)
    assert asked.parent is None


@pytest.mark.usefixtures("task")
def test_ranks_of_a_node_that_do_not_follow_one_another_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_GTIDS", "0,2")
    with pytest.raises(UserError, match="srun --distribution=block"):
        asked_of_launcher()


@pytest.mark.usefixtures("task")
def test_a_word_of_slurm_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    with pytest.raises(UserError, match="srun started 4 tasks, but there is no SLURM_STEP_NODELIST, "):
        asked_of_launcher()
