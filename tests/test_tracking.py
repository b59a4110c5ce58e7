"""What a run tells the outside: every sink gets everything, and the file that is the truth keeps it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aedist.tracking.jsonl import JsonLines, keep_until
from aedist.tracking.tracker import Record, Tracker

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


def test_records_reach_the_disk_with_an_evaluation_a_checkpoint_and_twice_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, synced = SimpleNamespace(now=100.0), list[str]()
    monkeypatch.setattr("aedist.tracking.jsonl.time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr("aedist.tracking.jsonl.os.fsync", lambda _: synced.append(sink_path.read_text()))
    sink_path = tmp_path / "metrics.jsonl"
    sink = JsonLines(sink_path, 0)
    sink.record(TRAIN)
    assert not synced
    sink.record(EVALUATION)
    sink.sync()
    assert len(synced) == 2
    for seconds, times in ((10.0, 2), (19.0, 2), (2.0, 3), (29.0, 3)):
        clock.now += seconds
        sink.record(TRAIN)
        assert len(synced) == times
    assert len(synced[-1].splitlines()) == 5, "what is synced is all there is"
    sink.close(0)


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
