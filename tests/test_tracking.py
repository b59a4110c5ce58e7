"""What a run tells the outside: the file that is the truth, what a person reads, and what W&B gets."""

import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import wandb
from PIL import Image
from rich.console import Console
from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

from aedist.tracking.console import ConsoleSink
from aedist.tracking.jsonl import JsonLines, keep_until
from aedist.tracking.tracker import Record, Tracker
from aedist.tracking.wandb import WandbSink, start_wandb

TRAIN: Record = {
    "kind": "train",
    "step": 8,
    "images": 96,
    "epoch": 1.0,
    "loss": 12.5,
    "terms": {"squared_error": 12.5},
    "learning_rate": 1e-3,
    "gradient_norm": 0.25,
    "skipped_steps": 0,
    "images_per_second": 48.0,
    "data_wait": 0.125,
}
EPOCH: Record = {
    "kind": "epoch",
    "step": 8,
    "images": 96,
    "epoch": 1,
    "sums": {"squared_error": 1200.0},
    "seconds": 2.0,
}
EVALUATION: Record = {
    "kind": "evaluation",
    "step": 8,
    "images": 96,
    "epoch": 1.0,
    "split": "test",
    "num_images": 23,
    "metrics": {"mse": 0.0625, "psnr": 12.04, "ssim": None},
    "best": True,
}
SKIPPED: Record = {
    "kind": "skipped",
    "step": 9,
    "images": 108,
    "epoch": 1.1,
    "slot": 3,
    "rank": 1,
    "term": "squared_error",
    "value": "nan",
}


def lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_tracker_hands_everything_to_every_sink_in_order_with_its_attempt(tmp_path: Path) -> None:
    calls = list[tuple[Any, ...]]()

    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def record(self, record: Record) -> None:
            calls.append((self.name, "record", record))

        def picture(self, name: str, path: Path, record: Record) -> None:
            calls.append((self.name, "picture", name, path, record))

        def sync(self) -> None:
            calls.append((self.name, "sync"))

        def close(self, exit_code: int) -> None:
            calls.append((self.name, "close", exit_code))

    tracker = Tracker([Noting("a"), Noting("b")], attempt=3)
    tracker.record({"kind": "x", "step": 1})
    tracker.picture("p", tmp_path, {"step": 1})
    tracker.sync()
    tracker.close(75)
    told = [
        ("record", {"kind": "x", "step": 1, "attempt": 3}),
        ("picture", "p", tmp_path, {"step": 1}),
        ("sync",),
        ("close", 75),
    ]
    assert calls == [(name, *call) for call in told for name in ("a", "b")]


def test_json_lines_reach_the_file_at_once_and_come_back_as_they_were(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "metrics.jsonl", 0)
    for number, record in enumerate((TRAIN, EPOCH, EVALUATION), 1):
        sink.record(record)
        assert len(lines(tmp_path / "metrics.jsonl")) == number
    sink.sync()
    sink.close(0)
    assert lines(tmp_path / "metrics.jsonl") == [TRAIN, EPOCH, EVALUATION]


def test_numbers_that_json_cannot_hold_are_null_at_any_depth(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "m.jsonl", 0)
    sink.record({"step": 1, "loss": float("nan"), "terms": {"a": float("inf"), "b": [1.5, -float("inf"), "nan"]}})
    sink.close(0)
    assert lines(tmp_path / "m.jsonl") == [{"step": 1, "loss": None, "terms": {"a": None, "b": [1.5, None, "nan"]}}]


def test_a_resumed_run_takes_out_the_records_it_makes_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in (1, 2, 2, 3, 4)))
    sink = JsonLines(path, from_step=2)
    sink.record({"step": 3, "again": True})
    sink.close(0)
    assert lines(path) == [{"step": 1}, {"step": 2}, {"step": 2}, {"step": 3, "again": True}]
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.jsonl"]


@pytest.mark.parametrize(
    "torn", ['{"ste', '{"step": 2', '{"step": 2}', "null\n", "\0\0\0", b"\xff\xfe".decode("latin-1")]
)
def test_a_last_line_cut_short_never_runs_into_the_next_record(tmp_path: Path, torn: str) -> None:
    """Where the end of the line alone is missing, the record is whole and stays."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n' + torn.encode("latin-1"))
    sink = JsonLines(path, from_step=5)
    sink.record({"step": 6})
    sink.close(0)
    middle = [{"step": 2}] if torn == '{"step": 2}' else []
    assert lines(path) == [{"step": 1}, *middle, {"step": 6}]


def test_nothing_to_take_out_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    keep_until(path, 3)
    assert not path.exists()
    path.write_text('{"step": 1}\n{"step": 3}\n')
    before = path.stat()
    keep_until(path, 3)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_log_gets_one_timestamped_line_a_record_and_no_control_characters() -> None:
    output = io.StringIO()
    sink = ConsoleSink(Console(file=output, width=80), "a run", total_images=192, total_epochs=2)
    for record in (TRAIN, EPOCH, EVALUATION, SKIPPED, {"kind": "new", "step": 1, "of": ["/a [bold] kind"]}):
        sink.record(record)
    sink.picture("reconstructions", Path("p.png"), EVALUATION)
    sink.sync()
    sink.close(0)
    told = output.getvalue().splitlines()
    assert "\x1b" not in output.getvalue()
    assert [line[2] + line[5] + line[8:10] for line in told] == ["::  "] * 5
    assert [line[10:] for line in told] == [
        "epoch 1.00 of 2, step 8, 96 images  squared error 12.5000  48 images/s, 12% of the time waiting for data"
        "  0:00:02 left",
        "epoch 1 done: sum of squared error 1,200 over its images, in 2.0 s",
        "evaluated 23 images: mse 0.0625  psnr 12.0400",
        "step 9 was not taken: squared_error is nan in micro-batch 3 on process 1",
        "{'kind': 'new', 'step': 1, 'of': ['/a [bold] kind']}",
    ]


def test_a_log_gets_training_lines_now_and_then_only() -> None:
    output = io.StringIO()
    sink = ConsoleSink(Console(file=output), "a run", 192, 2)
    for _ in range(50):
        sink.record(TRAIN)
    assert len(output.getvalue().splitlines()) == 1


def test_a_terminal_shows_a_live_panel_that_ends_with_the_last_numbers() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    sink = ConsoleSink(console, "name [not markup]: mlp", 192, 2)
    for record in (TRAIN, EPOCH, EVALUATION, SKIPPED):
        sink.record(record)
    sink.record({**TRAIN, "loss": float("nan"), "images_per_second": 0.0})
    sink.record({**TRAIN, "loss": 3.25, "images": 192})
    sink.close(0)
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.getvalue()).rpartition("name [not markup]: mlp")[2]
    for words in ("3.2500", "squared error 12.5000", "48 images/s", "0:00:00", "mse 0.0625", "epoch 1.00 of 2"):
        assert words in last
    assert "step 9 was not taken: squared_error is nan" in output.getvalue()
    assert "ssim" not in last, "a metric without a value is left out"


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without any trace of W&B."""
    import os

    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("WANDB_") or name == "NETRC"]:
        monkeypatch.delenv(name)
    for name, folder in (("HOME", home), ("WANDB_CACHE_DIR", home / "cache"), ("WANDB_CONFIG_DIR", home / "config")):
        monkeypatch.setenv(name, str(folder))
    yield home
    wandb.teardown()


def start(folder: Path, mode: str, told: list[str]) -> WandbSink | None:
    config = {"optim": {"lr": 0.5}}
    return start_wandb(mode, folder, "abc123", "a name", "a project", "a group", ("tag",), config, told.append)


def transaction_log(path: Path) -> list[WandbRecord]:
    """The records of an offline run's .wandb file: LevelDB's log format behind a header of seven bytes."""
    body, place, parts, found = path.read_bytes(), 7, b"", list[WandbRecord]()
    assert body[:6] == b":W&B" + struct.pack("<H", 0xBEE1)
    while place + 7 <= len(body):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        checksum, length, kind = struct.unpack_from("<IHB", body, place)
        piece = body[place + 7 : place + 7 + length]
        assert zlib.crc32(bytes([kind]) + piece) == checksum
        parts = parts + piece if kind in (3, 4) else piece  # 1 whole, 2 first, 3 middle, 4 last
        if kind in (1, 4):
            found.append(WandbRecord.FromString(parts))
        place += 7 + length
    return found


def test_an_offline_run_holds_losses_metrics_and_the_picture_over_images(tmp_path: Path, no_account: Path) -> None:
    told, picture = list[str](), tmp_path / "step-8.png"
    Image.new("RGB", (30, 20), "red").save(picture)
    sink = start(tmp_path, "auto", told)
    assert sink is not None
    tracker = Tracker([sink], attempt=2)
    for record in (TRAIN, EVALUATION, SKIPPED):
        tracker.record(record)
    tracker.picture("reconstructions", picture, EVALUATION)
    tracker.sync()
    tracker.close(3)
    wandb.teardown()  # as when the process ends: until then W&B's service may still be writing
    assert told == []

    (log,) = tmp_path.glob("wandb/offline-run-*/run-abc123.wandb")
    records = transaction_log(log)
    (run,) = (record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.run_id, run.display_name, run.project, run.run_group) == ("abc123", "a name", "a project", "a group")
    assert json.loads(next(item.value_json for item in run.config.update if item.key == "optim")) == {"lr": 0.5}
    rows = [
        {
            "/".join([item.key] if item.key else item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert len(rows) == 4
    assert [row["images"] for row in rows] == [96, 96, 108, 96]
    assert [row["step"] for row in rows] == [8, 8, 9, 8]
    assert rows[0]["train/loss"] == 12.5
    assert rows[0]["train/terms/squared_error"] == 12.5
    assert rows[0]["train/attempt"] == 2
    assert (rows[1]["evaluation/metrics/mse"], rows[1]["evaluation/num_images"]) == (0.0625, 23)
    assert "evaluation/best" not in rows[1]
    assert rows[3]["reconstructions/_type"] == "image-file"
    assert Image.open(log.parent / "files" / rows[3]["reconstructions/path"]).size == (30, 20)
    metrics = [record.metric for record in records if record.WhichOneof("record_type") == "metric"]
    assert [metric.step_metric for metric in metrics if metric.glob_name == "*"] == ["images"]
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [3]


@pytest.mark.parametrize(
    ("mode", "key", "started"),
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
        ("disabled", "environment", None),
    ],
)
def test_w_and_b_is_online_only_where_a_key_is_set_or_it_is_asked_for(
    tmp_path: Path, no_account: Path, monkeypatch: pytest.MonkeyPatch, mode: str, key: str | None, started: str | None
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
    asked = list[str]()

    def init(**options: Any) -> Any:
        asked.append(options["mode"])
        raise wandb.Error("far enough")

    monkeypatch.setattr(wandb, "init", init)
    assert start(tmp_path, mode, []) is None
    assert asked == ([started] if started else [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (wandb.Error("no server\nsecond line"), "(no server)"),
        (OSError(28, "No space left on device"), "No space left"),
        (RuntimeError(), "(RuntimeError)"),
    ],
)
def test_w_and_b_that_does_not_start_is_told_in_one_line_and_the_run_goes_on(
    tmp_path: Path, no_account: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def init(**options: Any) -> Any:
        raise error

    monkeypatch.setattr(wandb, "init", init)
    told = list[str]()
    assert start(tmp_path, "offline", told) is None
    assert len(told) == 1
    assert words in told[0]
    assert "\n" not in told[0]


def test_w_and_b_that_breaks_is_told_once_and_never_raises(tmp_path: Path) -> None:
    class Broken:
        def __init__(self) -> None:
            self.calls = list[str]()

        def log(self, values: dict[str, Any]) -> None:
            self.calls.append("log")
            raise ConnectionError("the service is gone\nand more")

        def finish(self, exit_code: int) -> None:
            self.calls.append("finish")
            raise TimeoutError

    told, broken = list[str](), Broken()
    sink = WandbSink(broken, told.append)
    sink.record(TRAIN)
    sink.record(EVALUATION)
    Image.new("L", (2, 2)).save(tmp_path / "p.png")
    sink.picture("p", tmp_path / "p.png", EVALUATION)
    sink.close(0)
    assert told == ["W&B stopped working (the service is gone); the run goes on without it"]
    assert broken.calls == ["log", "finish"]
    lost = list[str]()
    WandbSink(Broken(), lost.append).picture("p", tmp_path / "missing.png", EVALUATION)
    assert len(lost) == 1
