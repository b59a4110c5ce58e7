"""A run as one row a step: what W&B is told, made of metrics.jsonl alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wandbfiles import evaluation, make_run, train

from aedist.tracking.jsonl import keep_until
from aedist.tracking.rows import Row, Rows, Tail, read_rows
from aedist.tracking.tracker import Record


def rows_of(folder: Path, *records: Record) -> list[Row]:
    rows = Rows(folder)
    found = [row for record in records if (row := rows.add(record)) is not None]
    last = rows.rest()
    return [*found, last] if last else found


def test_all_records_of_a_step_are_one_row_with_its_pictures(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    epoch = {"kind": "epoch", "step": 8, "images": 80, "epoch": 1, "sums": {"squared_error": 5.0}, "seconds": 2.0}
    run.add(train(6), train(8), epoch, evaluation(8, 0.5), train(10))
    first, second, third = read_rows(run.folder)
    assert [first.step, second.step, third.step] == [6, 8, 10]
    assert second.values == {
        "images": 80,
        "step": 8,
        "epoch": 1,
        "attempt": 1,
        "train/window_steps": 2,
        "train/loss": 12.5,
        "train/terms/squared_error": 12.5,
        "train/learning_rate": 1e-3,
        "train/gradient_norm": 0.25,
        "train/skipped_steps": 0,
        "speed/images_per_second": 48.0,
        "speed/data_wait": 0.125,
        "speed/memory_bytes": 2**20,
        "speed/images_per_second/process_0": 20.0,
        "speed/images_per_second/process_1": 28.0,
        "speed/data_wait/process_0": 0.125,
        "speed/data_wait/process_1": 0.25,
        "speed/memory_bytes/process_0": 2**20,
        "speed/memory_bytes/process_1": 2**19,
        "epoch/sums/squared_error": 5.0,
        "epoch/seconds": 2.0,
        "evaluation/mse": 0.5,
        "evaluation/psnr": 20.0,
        "best/mse": 0.5,
        "best/psnr": 20.0,
    }
    assert second.pictures == {"reconstructions": run.folder / "images/reconstructions/step-000000008.png"}
    assert second.histograms == {"histograms/latents": {"low": -1.0, "high": 1.0, "counts": [1, 2, 1, 0]}}
    assert first.pictures == third.pictures == {}


def test_the_best_of_a_metric_goes_its_own_way_and_never_back(tmp_path: Path) -> None:
    found = rows_of(tmp_path, *(evaluation(step, mse) for step, mse in ((1, 0.5), (2, 0.25), (3, 1.0))))
    assert [row.values["best/mse"] for row in found] == [0.5, 0.25, 0.25]
    assert [row.values["best/psnr"] for row in found] == [20.0, 40.0, 40.0], "of which more is better"


def test_steps_that_were_not_taken_are_counted_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    bad = {"kind": "skipped", "step": 3, "images": 30, "epoch": 0.4, "slot": 1, "rank": 0, "term": "x", "value": "nan"}
    first, second = rows_of(tmp_path, bad, bad, train(4, loss=None))
    assert first.values["train/steps_not_taken"] == 2
    assert "train/loss" not in second.values


def test_of_many_processes_the_lowest_and_the_highest_are_told(tmp_path: Path) -> None:
    speeds = [float(rank) for rank in range(64)]
    (row,) = rows_of(tmp_path, train(2, ranks={"data_wait": speeds}))
    assert (row.values["speed/lowest/data_wait"], row.values["speed/highest/data_wait"]) == (0.0, 63.0)
    assert not any("process_" in name for name in row.values)
    (alone,) = rows_of(tmp_path, train(2, ranks={"data_wait": [0.5]}))
    assert not any("process_" in name for name in alone.values)


@given(ends=st.lists(st.integers(0, 12), max_size=4), last=st.integers(1, 14), data=st.data())
def test_steps_strictly_increase_whatever_was_interrupted(
    tmp_path_factory: pytest.TempPathFactory, ends: list[int], last: int, data: Any
) -> None:
    """Each attempt goes on from some step of the one before, whose later records are then superseded."""
    folder = tmp_path_factory.mktemp("run")
    path, came_to = folder / "metrics.jsonl", 0
    for attempt, end in enumerate([*ends, last], 1):
        start = data.draw(st.integers(0, came_to))
        keep_until(path, start)
        came_to = max(start, end)
        with path.open("a") as file:
            for step in range(start + 1, came_to + 1):
                file.write(json.dumps(train(step, attempt)) + "\n")
                if step % 3 == 0:
                    file.write(json.dumps(evaluation(step, 1 / step, attempt)) + "\n")
    assert [row.step for row in read_rows(folder)] == list(range(1, came_to + 1))


def test_an_evaluation_that_an_earlier_attempt_left_out_is_known(tmp_path: Path) -> None:
    first, second = rows_of(tmp_path, train(8), evaluation(8, 0.5, attempt=2), train(10, attempt=2))
    assert (first.is_made_up_for, second.is_made_up_for) == (True, False)


def test_a_tail_reads_whole_lines_once_and_passes_over_what_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert list(tail.new()) == []
    whole = json.dumps(train(2)) + "\n"
    path.write_text(whole + '{"no": "record"}\nnull\nneither\n' + whole[:20])
    assert [record["step"] for record in tail.new()] == [2]
    assert list(tail.new()) == []
    with path.open("a") as file:
        file.write(whole[20:] + json.dumps(train(4)) + "\n")
    assert [record["step"] for record in tail.new()] == [2, 4]
