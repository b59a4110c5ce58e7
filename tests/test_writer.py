"""Checkpoints are written in the background: a copy of the moment, one at a time, none believed that is not there."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest
import torch
from torch import nn

from aedist.checkpoint import checkpoints, load_checkpoint, name_of, save_checkpoint, step_of
from aedist.errors import ToldByRankZero, UserError
from aedist.place import Place
from aedist.training import writer as writer_module
from aedist.training.state import Progress, TrainState
from aedist.training.writer import CheckpointWriter

ALONE = Place(cast("Any", None), 0, 1, torch.device("cpu"), None)


class Run:
    """A state whose weights say its step, and what happened in which order."""

    def __init__(self, folder: Path) -> None:
        model = nn.Linear(1, 1, bias=False)
        self.state = TrainState(model, torch.optim.Adam(model.parameters()), None, Progress())
        self.folder, self.told, self.events = folder, list[str](), list[str]()
        self.writer = CheckpointWriter(
            folder, 1, self.state, cast("Any", self), cast("Any", self), ALONE, self.told.append
        )

    def flush(self) -> None:
        self.events.append("ledger")

    def sync(self) -> None:
        self.events.append("records")

    def train_to(self, step: int, best: float | None = None) -> None:
        self.state.progress.step = step
        with torch.no_grad():
            self.state.model.weight.fill_(step)
        if best is not None:
            self.state.progress.best_step, self.state.progress.best_value = step, best

    def there(self) -> list[int]:
        return [step_of(place) for place in checkpoints(self.folder)]

    def weight_in(self, step: int) -> float:
        return load_checkpoint(self.folder / name_of(step))[0]["model"]["weight"].item()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    run.writer.close()


@pytest.fixture
def gate(run: Run, monkeypatch: pytest.MonkeyPatch) -> Event:
    """What lets each write begin; set to begin with."""
    event = Event()
    event.set()

    def wait_and_save(folder: Path, step: int, *rest: Any) -> Path:
        assert event.wait(20)
        run.events.append(f"write {step}")
        return save_checkpoint(folder, step, *rest)

    monkeypatch.setattr(writer_module, "save_checkpoint", wait_and_save)
    return event


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The steps whose checkpoints the disk does not take."""
    steps = set[int]()

    def refuse_or_save(folder: Path, step: int, *rest: Any) -> Path:
        if step in steps:
            raise UserError(f"{name_of(step)}: the checkpoint cannot be written (full); make room")
        return save_checkpoint(folder, step, *rest)

    monkeypatch.setattr(writer_module, "save_checkpoint", refuse_or_save)
    return steps


def test_training_goes_on_while_the_copy_of_the_moment_is_written(run: Run, gate: Event) -> None:
    gate.clear()
    run.train_to(4)
    run.writer.save()
    run.train_to(5)
    assert run.there() == []
    gate.set()
    run.writer.finish()
    assert run.weight_in(4) == 4
    assert load_checkpoint(run.folder / name_of(4))[1]["progress"]["step"] == 4
    assert run.told == []


def test_the_ledger_and_the_records_are_durable_before_a_write_begins_and_writes_do_not_overlap(
    run: Run, gate: Event
) -> None:
    for step in (4, 8, 12):
        run.train_to(step)
        run.writer.save()
    run.writer.finish()
    writes = [f"write {step}" for step in (4, 8, 12)]
    assert [event for event in run.events if event in writes] == writes
    for number, write in enumerate(writes, 1):
        before = run.events[: run.events.index(write)]
        assert before.count("ledger") >= number <= before.count("records")
    assert run.there() == [12]


def test_the_last_sound_one_is_there_until_the_next_is_durable(run: Run, gate: Event) -> None:
    run.train_to(4)
    run.writer.save()
    run.writer.finish()
    gate.clear()
    run.train_to(8)
    run.writer.save()
    assert run.there() == [4]
    gate.set()
    run.writer.close()
    assert run.there() == [8]


def test_a_failure_is_told_once_the_old_one_stays_and_the_next_is_tried(run: Run, full: set[int]) -> None:
    full.add(8)
    for step in (4, 8, 12):
        run.train_to(step)
        run.writer.save()
        run.writer.close()
        assert run.there() == [{4: 4, 8: 4, 12: 12}[step]]
    run.writer.finish()
    assert run.told == [
        f"{name_of(8)}: the checkpoint cannot be written (full); make room; training goes on, and the next checkpoint "
        f"is tried in its turn"
    ]


@pytest.mark.parametrize(("first", "kept"), [(set[int](), "the newest checkpoint is of step 4"), ({4}, "there is no")])
def test_a_last_one_that_is_not_there_ends_the_run(run: Run, full: set[int], first: set[int], kept: str) -> None:
    full.update({8} | first)
    for step in (4, 8):
        run.train_to(step)
        run.writer.save()
    with pytest.raises(ToldByRankZero) as ended:
        run.writer.finish()
    assert str(ended.value).startswith(f"{name_of(8)}: the checkpoint cannot be written (full); make room; training ")
    assert f"came to step 8, but {kept}" in str(ended.value)


def test_the_best_one_is_the_best_that_is_there(run: Run, full: set[int]) -> None:
    """The checkpoint of a better evaluation cannot be written: the one before stays the best, and stays."""
    full.add(8)
    run.train_to(4, best=0.5)
    run.writer.save()
    run.train_to(8, best=0.25)
    run.writer.save()
    run.train_to(12)
    run.writer.save()
    run.train_to(16)
    run.writer.save()
    run.writer.finish()
    assert run.there() == [4, 16]
    assert (run.state.progress.best_step, run.state.progress.best_value) == (4, 0.5)
    assert load_checkpoint(run.folder / name_of(16))[1]["progress"]["best_step"] == 4


def test_a_fault_in_the_thread_is_a_fault_of_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Path:
        raise ZeroDivisionError

    monkeypatch.setattr(writer_module, "save_checkpoint", fail)
    run.writer.save()
    run.writer.close()
    with pytest.raises(ZeroDivisionError):
        run.writer.save()


def test_what_cannot_be_cleared_away_is_told_and_the_checkpoint_counts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(writer_module, "keep", refuse)
    run.train_to(4)
    run.writer.save()
    run.writer.finish()
    assert run.told == [f"{run.folder}: an old checkpoint cannot be removed (Operation not permitted)"]
    assert run.there() == [4]


def test_closing_waits_for_the_write_under_way(run: Run, gate: Event) -> None:
    """As after an error in training, when nobody settles any more."""
    run.train_to(4)
    run.writer.save()
    run.writer.close()
    assert run.weight_in(4) == 4
