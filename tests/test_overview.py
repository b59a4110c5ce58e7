"""``aedist runs``: what a row says of a run's files, whatever state they are in, and how rows are shown."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import aedist.overview
from aedist.cli.overview import sorted_rows
from aedist.cli.runtable import lines_of_runs
from aedist.errors import UserError
from aedist.lease import hold
from aedist.overview import Row, find_runs, read_row, read_rows
from processes import launch

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
CONFIG = """\
data: {shards: shards/blobs}
batch: {micro: 2, num_micro: 6}
model: {kind: mlp}
train: {epochs: 3, steps: null}
"""


def write_run(
    folder: Path, *steps: int, world: int = 2, attempts: int = 1, files: dict[str, Any] | None = None, **mse: float
) -> Path:
    """A run of 8 steps an epoch, 24 in all, with a record of each of ``steps`` and an evaluation behind each epoch."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    environment = {
        "run_id": "a",
        "data": {"name": "blobs", "num_samples": 100},
        "attempts": [
            {"attempt": number, "step": 0, "world": world, "started": f"2026-03-04T05:0{number}:00+00:00"}
            for number in range(1, attempts + 1)
        ],
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    records, best = list[Any](), float("inf")
    for step in steps:
        records.append({"kind": "train", "step": step, "images": 12 * step, "loss": 1.0})
        if step % 8 == 0:
            error = mse.get(f"at_{step}", 1 / step)
            is_best, best = error < best, min(error, best)
            metrics = {"mse": error, "psnr": 10.0 + step, "ssim": None}
            records.append({"kind": "evaluation", "step": step, "epoch": step / 8, "metrics": metrics, "best": is_best})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for name, value in (files or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    return folder


def test_a_finished_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", *range(1, 25), files={"model/config.json": {"step": 24}}, at_24=0.5)
    stamp = datetime(2026, 3, 4, 6, 1, tzinfo=UTC).timestamp()
    os.utime(folder / "metrics.jsonl", (stamp, stamp))
    row = read_row(folder)
    assert (row.state, row.problem, row.model, row.data) == ("finished", "", "mlp", "blobs")
    assert (row.step, row.last_step, row.epoch, row.images, row.share) == (24, 24, 3.0, 288, 1.0)
    assert (row.processes, row.interruptions, row.seconds) == (2, 0, 3600.0)
    assert row.metrics == {"mse": 1 / 16, "psnr": 26.0}, "of the lowest error, as the best checkpoint is chosen"
    assert row.best_epoch == 2.0


@pytest.mark.parametrize(
    ("steps", "attempts", "files", "state"),
    [
        (range(1, 10), 1, {"ending.json": {"attempt": 1, "exit_code": 75}}, "interrupted"),
        (range(1, 10), 1, {"ending.json": {"attempt": 1, "exit_code": 1}}, "failed"),
        (range(1, 10), 1, {}, "killed"),
        (range(1, 10), 2, {"ending.json": {"attempt": 1, "exit_code": 75}}, "killed"),
        (range(1, 25), 1, {}, "killed"),
        (range(1, 25), 1, {"model/config.json": {"step": 16}}, "killed"),
        ((), 1, {}, "untrained"),
        ((), 1, {"ending.json": {"attempt": 1, "exit_code": 1}}, "failed"),
    ],
    ids=["asked", "fault", "no word", "no word of the last", "no model", "an older model", "no step", "fault at once"],
)
def test_how_a_run_ended(tmp_path: Path, steps: range, attempts: int, files: dict[str, Any], state: str) -> None:
    row = read_row(write_run(tmp_path / "a", *steps, attempts=attempts, files=files))
    assert row.state == state
    assert row.interruptions == attempts - 1


def test_a_run_that_is_held_is_running_until_it_is_given_back(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", 1)
    with hold(folder / ".lock"):
        assert read_row(folder).state == "running"
    assert read_row(folder).state == "killed"


def test_a_record_cut_short_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", 1, 2)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert read_row(folder).step == 2


def test_only_the_end_of_many_records_is_read_and_the_best_is_found_far_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "a", *range(1, 4000), **{f"at_{step}": 0.5 for step in range(16, 4000, 8)}, at_8=0.1)
    assert read_row(folder).metrics == {"mse": 0.1, "psnr": 18.0}
    monkeypatch.setattr("aedist.tracking.tail._TAILS_BYTES", (1000,))
    (folder / "checkpoints" / "step-000003992").mkdir(parents=True)
    state = {"progress": {"best_value": 0.1}}
    (folder / "checkpoints" / "step-000003992" / "state.json").write_text(json.dumps(state))
    assert read_row(folder).metrics == {"mse": 0.1}, "a checkpoint knows the error alone"
    assert read_row(folder).step == 3999


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("config.yaml", None, "config.yaml is missing"),
        ("config.yaml", "{", "config.yaml is not YAML"),
        ("config.yaml", "a: 1", "config.yaml lacks one of the sections"),
        ("config.yaml", "[" * 5000, "config.yaml is not YAML"),
        ("environment.json", "{}x", "environment.json is not JSON"),
        ("environment.json", "[]", "environment.json is no JSON object"),
        ("environment.json", '{"attempts": 3}', "KeyError: 'data'"),
        ("environment.json", '{"data": {"num_samples": "x", "name": "a"}}', ""),
        ("model/config.json", "{", "config.json is not JSON"),
    ],
)
def test_a_broken_run_is_told_in_its_row(tmp_path: Path, file: str, content: str | None, problem: str) -> None:
    folder = write_run(tmp_path / "a", 24, files={"model/config.json": {"step": 24}})
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    row = read_row(folder)
    assert row.state == "broken"
    assert row.problem.startswith(problem)
    assert row.problem
    assert "\n" not in row.problem


def test_runs_are_found_at_any_depth_once_and_nothing_is_looked_for_in_them(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "x" / "a"), write_run(tmp_path / "x" / "deep" / "er" / "b")
    write_run(a / "copy")
    write_run(tmp_path / "x" / ".hidden" / "c")
    (tmp_path / "x" / "empty").mkdir()
    (tmp_path / "x" / "file").touch()
    (tmp_path / "x" / "circle").symlink_to(tmp_path / "x")
    (tmp_path / "elsewhere").symlink_to(b)
    assert list(find_runs(tmp_path / "x")) == [a, b]
    assert list(find_runs(a)) == [a]
    assert list(find_runs(tmp_path / "elsewhere")) == [tmp_path / "elsewhere"]


def row(name: str, minutes: int = 0, **values: Any) -> Row:
    now = NOW - timedelta(minutes=minutes)
    usual = {"state": "finished", "model": "mlp", "data": "blobs", "step": 6, "last_step": 24, "epoch": 0.75}
    more = {"images": 72, "processes": 2, "started": now - timedelta(minutes=5), "touched": now}
    return Row(Path("runs") / name, **{**usual, **more, **values})


def test_the_newest_is_last_and_so_is_the_best() -> None:
    a, b, c = (
        row("a", 1, metrics={"mse": 0.1, "psnr": 9.0}),
        row("b", 2, metrics={"mse": 0.2, "psnr": 8.0}),
        row("c", 3),
    )
    rows = [c, b, a]
    assert sorted_rows(rows, "age") == [c, b, a]
    assert sorted_rows(rows, "name") == [a, b, c]
    assert sorted_rows(rows, "mse") == [c, b, a]
    assert sorted_rows(rows, "psnr") == [c, b, a]
    with pytest.raises(UserError, match=r"--sort: fid is refused: it should be one of age, name, state, .*, mse, psnr"):
        sorted_rows(rows, "fid")


def test_reading_puts_the_newest_last(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, 1) for name in "abc"]
    for seconds, folder in zip((3, 1, 2), folders, strict=True):
        os.utime(folder / "metrics.jsonl", (seconds, seconds))
    assert [found.folder.name for found in read_rows(folders)] == ["b", "c", "a"]


SHOWN = [
    row("first", 3, state="interrupted", interruptions=2, metrics={"mse": 0.0123, "psnr": 19.5, "rate": 20.0}),
    row("second/with/a/name/that/goes/on/and/on/for/ever", state="running", metrics={"mse": 0.01}),
    row("third", state="broken", problem="config.yaml is missing, and so on, and so on, and so on, and so on"),
]


def test_a_line_a_run_where_there_is_room() -> None:
    told = [line.plain for line in lines_of_runs(SHOWN, [Path("runs")], None, NOW)]
    titles = "run state model data epochs images done on again mse psnr rate took last sign"
    assert told[0].split() == titles.split()
    first = "first interrupted mlp blobs 0.75 72 25% 2 2 0.012300 19.500 20.000 5 min 3 min ago"
    assert told[1].split() == first.split()
    assert told[2].startswith(f"...{str(SHOWN[1].folder)[-37:]}  running")
    assert told[3].split(maxsplit=2)[1:] == ["broken", SHOWN[2].problem]


def test_two_lines_a_run_in_80_columns() -> None:
    told = [line.plain for line in lines_of_runs(SHOWN[:1], [Path("runs")], 80, NOW)]
    assert told == [
        "first  interrupted  25% of 3 epochs, 3 min ago",
        "  mlp on blobs, 2 processes, 5 min, started 3 times  mse 0.012300  psnr 19.500 …",
    ]
    assert max(len(line.plain) for line in lines_of_runs(SHOWN, [Path("runs")], 80, NOW)) <= 80


def test_the_verb_shows_runs_and_tells_programs(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", *range(1, 25), files={"model/config.json": {"step": 24}})
    write_run(tmp_path / "runs" / "b", 1)
    shown = launch(tmp_path, 1, "runs", tmp_path / "runs", "--json")
    assert shown.wait() == [0], shown.text()
    told = {Path(line["run"]).name: line for line in map(json.loads, shown.text().splitlines())}
    assert {name: line["state"] for name, line in told.items()} == {"a": "finished", "b": "killed"}
    assert told["a"]["metrics"] == {"mse": 1 / 24, "psnr": 34.0}
    nothing = launch(tmp_path, 1, "runs", tmp_path / "none")
    assert nothing.wait() == [2]
    assert nothing.text().startswith(f"aedist: {tmp_path / 'none'}: there is no such folder; ")


def test_a_row_needs_no_torch() -> None:
    """Read by a process of its own: this one has imported everything."""
    import subprocess
    import sys

    code = "import sys, aedist.overview; print({'torch', 'pydantic', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"
    assert aedist.overview.STATES.keys() >= {"running", "finished"}
