"""What W&B gets of a run: offline, read back from its files; online, from a server on the loopback that keeps it."""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import wandb
from fakewandb import FakeRun, FakeServer, serving
from PIL import Image
from wandbfiles import (
    RUN_ID,
    MadeRun,
    evaluation,
    leave_no_account,
    make_run,
    of_type,
    rows_of,
    train,
    transaction_log,
)

from aedist.configfile import load_config
from aedist.errors import UserError
from aedist.rundir import RunDir
from aedist.tracking.apart import Patience, WandbProcess, wandb_of_run
from aedist.tracking.following import Starter, follow
from aedist.tracking.sync import sync_run
from aedist.tracking.synced import is_unsynced, read_told, sync_line
from aedist.tracking.telling import account_of
from aedist.tracking.wandb import has_key, mode_of

PATIENCE = Patience(seconds=60, broken_off_seconds=60, connect_seconds=60)
QUICK = Patience(seconds=0.5, broken_off_seconds=0.5, connect_seconds=0.5)


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    leave_no_account(tmp_path / "home", monkeypatch)
    yield tmp_path / "home"
    wandb.teardown()  # what one command leaves open knows the server of its test


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with serving() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield found


def start(run: MadeRun, told: list[str], task: str = "train", patience: Patience = PATIENCE) -> WandbProcess:
    config = load_config(run.folder / "config.yaml")
    process = wandb_of_run(config, RunDir(run.folder), told.append, task, patience)
    assert process is not None
    return process


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def steps(run: FakeRun) -> list[int]:
    return [row["_step"] for row in run.history]


def the_piece(run: MadeRun) -> Path:
    (log,) = run.folder.glob(f"wandb/offline-run-*/run-{RUN_ID}.wandb")
    return log


# offline


def test_each_offline_piece_holds_the_whole_run_and_the_last_one_is_left(tmp_path: Path) -> None:
    """Killed after step 6, gone on from step 4: two attempts, one W&B run, one curve, whichever way it is sent."""
    told = list[str]()
    run = make_run(tmp_path / "run", wandb="auto", project="a project", group="a group", tags=["tag"])
    run.add(train(2), train(4), evaluation(4, 0.5), train(6))
    start(run, told).close(1)
    first = the_piece(run)
    assert [row["step"] for row in rows_of(transaction_log(first))] == [2, 4, 6]

    text = (run.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "metrics.jsonl").write_text("".join(text[:3]))  # as a resumed run leaves it
    number = run.begin_attempt()
    process = start(run, told)
    for record in (train(6, number), train(8, number), evaluation(8, 0.25, number)):
        run.add(record)
        process.record(record)
    process.close(0)
    assert told == []
    second = the_piece(run)
    assert second != first, "what the second piece has all of is removed"

    records = transaction_log(second)
    (made,) = of_type(records, "run")
    assert (made.run_id, made.display_name, made.project, made.run_group) == (RUN_ID, "run", "a project", "a group")
    assert list(made.tags) == ["tag"]
    config = {item.key: json.loads(item.value_json) for item in made.config.update}
    assert config["model"]["kind"] == "mlp"
    assert config["environment"]["data"]["fingerprint"] == "f" * 64
    assert (config["environment"]["git"], config["environment"]["attempts"]) == ("f00d+", 2)
    rows = rows_of(records)
    assert [row["_step"] for row in rows] == [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["attempt"] for row in rows] == [1, 1, 2, 2]
    assert [row["images"] for row in rows] == [20, 40, 60, 80]
    assert (rows[3]["evaluation/mse"], rows[3]["best/mse"], rows[3]["train/loss"]) == (0.25, 0.25, 12.5)
    assert rows[3]["pictures/reconstructions/_type"] == "image-file"
    assert Image.open(second.parent / "files" / rows[3]["pictures/reconstructions/path"]).size == (30, 20)
    assert rows[3]["histograms/latents/values"] == [1, 2, 1, 0]
    assert rows[3]["histograms/latents/bins"] == [-1, -0.5, 0, 0.5, 1]
    metrics = {metric.name or metric.glob_name: metric for metric in of_type(records, "metric")}
    assert metrics["*"].step_metric == "images"
    assert metrics["full_evaluation/*"].step_metric == "full_evaluation/images"
    assert (metrics["best/mse"].summary.min, metrics["best/psnr"].summary.max) == (True, True)
    assert [one.exit_code for one in of_type(records, "exit")] == [0]


def test_an_evaluation_brings_its_numbers_pictures_and_table(tmp_path: Path) -> None:
    run, told = make_run(tmp_path / "run", wandb="offline"), list[str]()
    run.add(train(2), evaluation(2, 0.5))
    folder = run.folder / "evaluation"
    (folder / "examples").mkdir(parents=True)
    for path in (folder / "latents.png", folder / "examples" / "a.png", folder / "examples" / "b.png"):
        Image.new("RGB", (8, 8)).save(path)
    rows = [{"which": "worst", "image": 7, "class": None, "original": "a.png", "reconstruction": "b.png", "mse": 0.5}]
    (folder / "examples" / "examples.json").write_text(json.dumps(rows))
    common = {"kind": "full_evaluation", "checkpoint": "c", "split": "test", "num_images": 23}
    with (folder / "evaluations.jsonl").open("w") as file:
        for step, mse in ((1, 0.75), (2, 0.5)):
            file.write(json.dumps({**common, "step": step, "images": step * 10, "metrics": {"mse": mse}}) + "\n")
    start(run, told, "evaluate").close(0)
    found = rows_of(transaction_log(the_piece(run)))
    assert [row["_step"] for row in found] == [2, 3, 4]
    assert (found[1]["full_evaluation/mse"], found[1]["full_evaluation/images"]) == (0.75, 10)
    assert (found[2]["full_evaluation/mse"], found[2]["full_evaluation/images"]) == (0.5, 20)
    assert "full_evaluation/latents/path" in found[2], "the pictures are the last one's"
    assert "full_evaluation/latents/path" not in found[1]
    (table,) = (one for one in of_type(transaction_log(the_piece(run)), "artifact") if one.type == "run_table")
    entries = {entry.path: Path(entry.local_path) for entry in table.manifest.contents}
    assert len([path for path in entries if path.startswith("media/images/")]) == 2
    content = json.loads(next(local for path, local in entries.items() if path.endswith(".table.json")).read_text())
    assert content["columns"] == ["which", "image", "class", "original", "reconstruction", "mse"]
    assert [value for value in content["data"][0] if not isinstance(value, dict)] == ["worst", 7, None, 0.5]
    assert [value["_type"] for value in content["data"][0] if isinstance(value, dict)] == ["image-file"] * 2
    assert told == []


@pytest.mark.parametrize(
    ("artifacts", "kept"), [("none", set()), ("model", {"model"}), ("all", {"model", "checkpoint"})]
)
def test_artifacts_are_kept_where_they_are_asked_for(tmp_path: Path, artifacts: str, kept: set[str]) -> None:
    run, told = make_run(tmp_path / "run", wandb="offline", artifacts=artifacts), list[str]()
    run.add(train(2))
    for name in ("model/config.json", "checkpoints/step-000000002/state.json"):
        (run.folder / name).parent.mkdir(parents=True)
        (run.folder / name).write_text("{}")
    start(run, told).close(0)
    requests = of_type(transaction_log(the_piece(run)), "artifact")
    assert {artifact.type for artifact in requests} == kept
    assert all(artifact.name == f"{artifact.type}-{RUN_ID}" for artifact in requests)
    assert told == []


def test_the_tasks_of_a_job_array_are_one_group_and_a_sweep_gives_its_own_id(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    config, folder = load_config(run.folder / "config.yaml"), RunDir(run.folder)
    assert account_of(folder, config).group is None
    run.begin_attempt({"id": "5", "array": "77", "array_task": "3"})
    assert account_of(folder, config).group == "array-77"
    words = ["track.group=mine", "track.id=sweep-run-1"]
    account = account_of(folder, load_config(run.folder / "config.yaml", words))
    assert (account.group, account.id) == ("mine", "sweep-run-1")


# online


def test_a_run_that_fails_and_goes_on_from_its_checkpoint_is_one_curve(tmp_path: Path, server: FakeServer) -> None:
    """It failed behind step 6, of which W&B was told; the next attempt, from step 4, comes to step 6 again."""
    run, told = make_run(tmp_path / "run", wandb="online"), list[str]()
    run.add(train(2), train(4), evaluation(4, 0.5), train(6))
    start(run, told).close(1)
    assert steps(server.runs[RUN_ID]) == [2, 4, 6]

    text = (run.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "metrics.jsonl").write_text("".join(text[:3]))  # as a resumed run leaves it
    number = run.begin_attempt()
    process = start(run, told)
    run.add(train(6, number), train(8, number), evaluation(8, 1.0, number), train(10, number))
    process.close(0)
    (found,) = server.runs.values()
    assert steps(found) == [2, 4, 6, 8, 10]
    assert [row["images"] for row in found.history] == [20, 40, 60, 80, 100]
    assert [row["attempt"] for row in found.history] == [1, 1, 1, 2, 2], "W&B keeps the row it has"
    assert found.summary["best/mse"] == {"min": 0.5}, "also the best of before the interruption is known"
    assert found.config["environment"]["attempts"] == 2
    assert found.exit_code == 0
    assert len([name for name in found.files if "reconstructions" in name]) == 2
    assert not is_unsynced(RunDir(run.folder), load_config(run.folder / "config.yaml"))
    assert told == []


def test_a_process_that_is_killed_is_told_of_and_its_run_is_to_be_synced(tmp_path: Path, server: FakeServer) -> None:
    run, told = make_run(tmp_path / "run", wandb="online"), list[str]()
    process = start(run, told)
    run.add(train(2))
    until(lambda: RUN_ID in server.runs)
    os.killpg(process._process.pid, signal.SIGKILL)
    until(process._has_ended)
    process.close(0)
    assert told == [f"W&B stopped working, as {run.folder / 'wandb' / 'log.txt'} tells"]
    assert is_unsynced(RunDir(run.folder), load_config(run.folder / "config.yaml"))
    sync_run(run.folder, told.append)
    assert steps(server.runs[RUN_ID]) == [2]


def test_a_scheduler_ends_what_w_and_b_runs_by_itself_and_w_and_b_gets_the_rest(
    tmp_path: Path, server: FakeServer
) -> None:
    """SIGTERM reaches every process of a job: ours waits for the run's end, the library's own does not."""
    run, told = make_run(tmp_path / "run", wandb="online"), list[str]()
    run.add(train(2))
    process = start(run, told)
    until(lambda: RUN_ID in server.runs)
    until(lambda: process.record({}) or process._is_connected)
    number = process._process.pid
    (service,) = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    for one in (number, int(service)):
        os.kill(one, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{service}").exists() or "Z" in Path(f"/proc/{service}/stat").read_text())
    run.add(train(4))
    process.close(75)
    assert steps(server.runs[RUN_ID]) == [2, 4]
    assert server.runs[RUN_ID].exit_code == 75
    assert all(line.startswith("W&B: ") for line in told)


def test_an_evaluation_that_a_stop_left_out_reaches_w_and_b(tmp_path: Path, server: FakeServer) -> None:
    run, told = make_run(tmp_path / "run", wandb="online"), list[str]()
    run.add(train(2), train(4))
    start(run, told).close(75)
    number = run.begin_attempt()
    run.add(evaluation(4, 0.5, number), train(6, number))
    start(run, told).close(0)
    found = server.runs[RUN_ID]
    assert steps(found) == [2, 4, 5, 6]
    assert (found.history[2]["evaluation/mse"], found.history[2]["images"]) == (0.5, 40)
    assert told == []


def test_whoever_starts_it_may_die_and_it_ends_by_itself_with_everything(tmp_path: Path, server: FakeServer) -> None:
    run = make_run(tmp_path / "run", wandb="online")
    run.add(train(2), train(4))
    child = os.fork()
    if not child:  # as a training that is killed
        start(run, [])
        os._exit(9)
    os.waitpid(child, 0)
    until(lambda: RUN_ID in server.runs and server.runs[RUN_ID].exit_code is not None)
    assert steps(server.runs[RUN_ID]) == [2, 4]
    assert server.runs[RUN_ID].exit_code == 1


def test_sync_makes_good_what_was_offline_and_what_was_lost(tmp_path: Path, server: FakeServer) -> None:
    run, told = make_run(tmp_path / "run", wandb="offline"), list[str]()
    run.add(train(2), train(4), evaluation(4, 0.5), train(6))
    start(run, told).close(75)
    config, folder = load_config(run.folder / "config.yaml"), RunDir(run.folder)
    line = sync_line(folder, config)
    assert line is not None
    assert f"aedist sync {run.folder}" in line
    said = list[str]()
    lines = sync_run(run.folder, said.append)
    assert lines == [
        f"{run.folder}: W&B had nothing of it; sent 3 rows up to step 6 with 1 pictures",
        "removed 1 offline copy, which W&B now has",
        f"{server.url}/e/aedist/runs/{RUN_ID}",
    ]
    assert steps(server.runs[RUN_ID]) == [2, 4, 6]
    assert sync_line(folder, config) is None

    run.add(train(8), evaluation(8, 0.25))
    again = sync_run(run.folder, said.append)
    assert again[0] == f"{run.folder}: W&B had its steps before 7; sent 1 rows up to step 8 with 1 pictures"
    assert sync_run(run.folder, said.append)[0].endswith("sent 0 rows up to step 8 with 0 pictures")
    assert steps(server.runs[RUN_ID]) == [2, 4, 6, 8]
    assert list(server.runs) == [RUN_ID]
    assert read_told(folder).is_complete


def test_what_breaks_while_it_is_synced_is_not_taken_for_told(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aedist.tracking.wandb._RETRIES", 1)
    run = make_run(tmp_path / "run", wandb="offline")
    run.add(train(2))
    server.mode = "error"
    with pytest.raises(UserError, match=r"W&B: .*; nothing of the run is lost, the same command goes on from there"):
        sync_run(run.folder, lambda _: None)
    assert not read_told(RunDir(run.folder)).is_complete
    server.mode = "well"
    sync_run(run.folder, lambda _: None)
    assert steps(server.runs[RUN_ID]) == [2]


def test_sync_refuses_what_it_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aedist.lease import hold

    with pytest.raises(UserError, match="is not a run's directory"):
        sync_run(tmp_path, lambda _: None)
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="WANDB_API_KEY: is not set"):
        sync_run(run.folder, lambda _: None)
    with hold(run.folder / ".lock"), pytest.raises(UserError, match="is being trained by process"):
        sync_run(run.folder, lambda _: None)


def test_the_run_of_a_sweep_has_the_id_that_its_agent_gave(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep-1")
    monkeypatch.setenv("WANDB_RUN_ID", "agent-1")
    run, told = make_run(tmp_path / "run", wandb="online", id="agent-1"), list[str]()
    run.add(train(2), evaluation(2, 0.5))
    start(run, told).close(0)
    assert list(server.runs) == ["agent-1"]
    assert server.runs["agent-1"].facts["sweep"] == "sweep-1"
    assert server.runs["agent-1"].summary["best/mse"] == {"min": 0.5}, "by which a sweep goes"
    assert told == []


# a W&B that is not well


def test_a_server_that_comes_back_gets_everything(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aedist.tracking.following._AGAIN_SECONDS", 0.1)
    monkeypatch.setattr("aedist.tracking.wandb._RETRIES", 1)
    run = make_run(tmp_path / "run", wandb="online")
    run.add(train(2), train(4))
    requests, told = os.pipe(), list[str]()

    class Answers(io.StringIO):
        def write(self, text: str) -> int:
            told.extend(json.loads(text) if text.strip() else ())
            if "problem" in text:
                server.mode = "well"
            if "connected" in text:
                os.write(requests[1], b"0\n")  # the run ends
            return len(text)

    server.mode = "error"
    with os.fdopen(requests[0]) as reader:
        follow(run.folder, "online", "train", Starter(reader, Answers(), os.getppid()))
    os.close(requests[1])
    assert [name for name in told if name in ("problem", "connected", "done")] == ["problem", "connected", "done"]
    assert steps(server.runs[RUN_ID]) == [2, 4]


def test_a_process_that_stands_still_costs_a_record_nothing_and_the_end_its_limit(tmp_path: Path) -> None:
    """Stopped, it reads nothing and answers nothing: whatever training told it would lie in the way, if it did."""
    run, told = make_run(tmp_path / "run", wandb="online"), list[str]()
    process = start(run, told, patience=QUICK)
    os.kill(process._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    for step in range(20_000):
        process.record(train(step + 1))
    assert time.monotonic() - began < 5, "no record waits for anything"
    process.close(0)
    assert time.monotonic() - began < 10
    assert [line.replace("1 s", "0 s") for line in told] == [
        "W&B did not take everything in 0 s; the rest stays in the run"
    ]
    with pytest.raises(ProcessLookupError):
        os.killpg(process._process.pid, 0)


def test_what_a_site_has_python_print_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('welcome to this cluster', flush=True)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    run, told = make_run(tmp_path / "run", wandb="offline"), list[str]()
    run.add(train(2))
    start(run, told).close(0)
    assert [row["step"] for row in rows_of(transaction_log(the_piece(run)))] == [2]
    assert told == []


def test_a_folder_that_cannot_be_made_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    run, told = make_run(tmp_path / "run", wandb="offline"), list[str]()
    (run.folder / "wandb").write_text("in the way")
    config = load_config(run.folder / "config.yaml")
    assert wandb_of_run(config, RunDir(run.folder), told.append) is None
    assert told == ["W&B did not start (File exists); the run goes on, and metrics.jsonl has everything"]


def test_disabled_there_is_no_process_and_nothing_to_sync(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", wandb="disabled")
    config = load_config(run.folder / "config.yaml")
    assert wandb_of_run(config, RunDir(run.folder), print) is None
    assert sync_line(RunDir(run.folder), config) is None
    assert not (run.folder / "wandb").exists()


@pytest.mark.parametrize(
    ("asked", "key", "mode"),
    [
        ("auto", None, "offline"),
        ("auto", "environment", "online"),
        ("auto", "netrc", "online"),
        ("auto", "netrc of this service", "online"),
        ("auto", "netrc elsewhere", "online"),
        ("auto", "netrc of another host", "offline"),
        ("auto", "broken netrc", "offline"),
        ("offline", "environment", "offline"),
        ("online", None, "online"),
    ],
)
def test_w_and_b_is_online_only_where_a_key_is_set_or_it_is_asked_for(
    no_account: Path, monkeypatch: pytest.MonkeyPatch, asked: str, key: str | None, mode: str
) -> None:
    netrc = {
        "netrc": "machine api.wandb.ai login user password key",
        "netrc of this service": f"machine {urlsplit(wandb.Settings().base_url).netloc} login user password key",
        "netrc elsewhere": "machine api.wandb.ai login user password key",
        "netrc of another host": "machine example.org login user password key",
        "broken netrc": "machine",
    }
    if key == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    elif key:
        path = no_account / ("elsewhere" if key == "netrc elsewhere" else ".netrc")
        path.write_text(netrc[key])
        path.chmod(0o600)
        if key == "netrc elsewhere":
            monkeypatch.setenv("NETRC", str(path))
    assert mode_of(asked) == mode
    assert has_key() == (key == "environment" or (asked, mode) == ("auto", "online"))
