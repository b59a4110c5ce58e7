"""The ledger gives back what was noted: torn ends left out, superseded records too, all ranks in one order."""

from pathlib import Path

import numpy as np
import torch

from aedist.data.loader import StepBatch
from aedist.training.ledger import Attempt, Ledger, read_ledger, record_type

MICRO, NUM_MICRO = 3, 5


def ids(step: int, slot: int, salt: int = 0) -> list[int]:
    return [salt + step * 100 + slot * 10 + place for place in range(MICRO)]


def write(folder: Path, attempt: int, world: int, first: int, last: int, salt: int = 0) -> None:
    """What ``world`` processes note in steps ``first`` to ``last`` (not included)."""
    for rank in range(world):
        ledger, slots = Ledger(folder, attempt, rank, MICRO), tuple(range(rank, NUM_MICRO, world))
        for step in range(first, last):
            sample_ids = torch.tensor([ids(step, slot, salt) for slot in slots])
            ledger.add(StepBatch(step, slots, sample_ids, torch.empty(0)))
        ledger.close()


def expected(*stretches: tuple[int, int, int]) -> list[tuple[int, int, list[int]]]:
    """Every record of the stretches (first step, last step, salt), in order."""
    return [
        (step, slot, ids(step, slot, salt))
        for first, last, salt in stretches
        for step in range(first, last)
        for slot in range(NUM_MICRO)
    ]


def read(folder: Path, *attempts: tuple[int, int]) -> list[tuple[int, int, list[int]]]:
    found = read_ledger(folder, [Attempt(*attempt) for attempt in attempts], MICRO)
    assert found.dtype == record_type(MICRO)
    return [(int(record["step"]), int(record["slot"]), record["sample_ids"].tolist()) for record in found]


def test_records_of_any_number_of_processes_come_back_in_one_order(tmp_path: Path) -> None:
    for world in (1, 2, 3, 5):
        write(tmp_path / str(world), 1, world, 0, 4)
        assert len(list((tmp_path / str(world)).iterdir())) == world
        assert read(tmp_path / str(world), (1, 0)) == expected((0, 4, 0))


def test_later_attempts_supersede_from_where_they_began(tmp_path: Path) -> None:
    """The second goes on at 4, the third, from an older checkpoint, at 2: of the second nothing stands."""
    write(tmp_path, 1, 2, 0, 6)
    write(tmp_path, 2, 3, 4, 8, salt=10_000)
    assert read(tmp_path, (1, 0), (2, 4)) == expected((0, 4, 0), (4, 8, 10_000))
    write(tmp_path, 3, 1, 2, 5, salt=20_000)
    assert read(tmp_path, (1, 0), (2, 4), (3, 2)) == expected((0, 2, 0), (2, 5, 20_000))


def test_an_attempt_that_noted_nothing_still_supersedes(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, 0, 6)
    assert read(tmp_path, (1, 0), (2, 3)) == expected((0, 3, 0))


def test_a_record_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 1, 1, 0, 3)
    (path,) = tmp_path.iterdir()
    body, size = path.read_bytes(), record_type(MICRO).itemsize
    assert len(body) == 3 * NUM_MICRO * size
    for missing in (1, size - 1, size, size + 1):
        path.write_bytes(body[:-missing])
        whole = (len(body) - missing) // size
        assert read(tmp_path, (1, 0)) == expected((0, 3, 0))[:whole]


def test_what_was_flushed_is_in_the_file_without_closing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 1, 0, MICRO)
    ledger.add(StepBatch(0, (0,), torch.tensor([ids(0, 0)]), torch.empty(0)))
    ledger.flush()
    assert read(tmp_path, (1, 0)) == [(0, 0, ids(0, 0))]
    ledger.close()


def test_ids_of_any_size_are_kept(tmp_path: Path) -> None:
    ledger, large = Ledger(tmp_path, 1, 0, 1), 2**62 + 1
    ledger.add(StepBatch(10**12, (0,), torch.tensor([[large]]), torch.empty(0)))
    ledger.close()
    (record,) = read_ledger(tmp_path, [Attempt(1, 0)], 1)
    assert (int(record["step"]), record["sample_ids"].tolist()) == (10**12, [large])


def test_no_ledger_is_no_records(tmp_path: Path) -> None:
    assert read(tmp_path / "nowhere", (1, 0)) == []
    assert read_ledger(tmp_path, [], MICRO).shape == (0,)
    assert np.dtype(record_type(4)).itemsize == 8 * (1 + 1 + 4)
