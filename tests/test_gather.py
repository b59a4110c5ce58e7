"""Rows that real processes measured are on rank zero in order, each once; or all are told what is wrong."""

import multiprocessing
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator

from aedist.data.loader import Stretch
from aedist.errors import DataDamage, ToldByRankZero
from aedist.evaluation.gather import EvaluationPlan, Rows, gather
from aedist.link import free_port
from aedist.place import Place

ALONE = Place(cast(Accelerator, None), 0, 1, torch.device("cpu"), None)
_CONTEXT = multiprocessing.get_context("forkserver")


def rows_of(first: int, last: int) -> Rows:
    """Rows that tell their number, of several shapes and types."""
    numbers = torch.arange(first, last)
    return {"number": numbers, "square": numbers.double() ** 2, "pair": torch.stack([numbers, -numbers], 1).float()}


def measured(stretches: list[Stretch]) -> Iterator[tuple[Stretch, Rows]]:
    for stretch in stretches:
        yield stretch, rows_of(*stretch)


def in_place(rank: int, world: int, port: int, folder: Path, count: int, batch: int, fault: str) -> None:
    """In a process of its own: gather, and leave what came of it in a file."""
    store = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    assert dist.group.WORLD is not None
    place = Place(cast(Accelerator, None), rank, world, torch.device("cpu"), dist.group.WORLD)
    stretches = EvaluationPlan(count, batch).batches(rank, world)
    if fault == "gap" and rank == world - 1:
        stretches = stretches[:-1]
    if fault == "repeat" and rank == world - 1:
        stretches = [*stretches, stretches[0]]

    def pieces() -> Iterator[tuple[Stretch, Rows]]:
        for stretch in stretches:
            if fault == "damage" and rank == world - 1:
                raise DataDamage("part-000001.tar: byte 512: is damaged; build it again")
            yield stretch, rows_of(*stretch)

    try:
        torch.save(gather(pieces(), count, place), folder / f"{rank}.pt")
    except (ToldByRankZero, RuntimeError) as error:
        (folder / f"{rank}.txt").write_text(f"{type(error).__name__}: {error}")
    dist.destroy_process_group()


def on_processes(world: int, folder: Path, count: int, batch: int, fault: str = "") -> None:
    port = free_port()
    arguments = [(rank, world, port, folder, count, batch, fault) for rank in range(world)]
    processes = [_CONTEXT.Process(target=in_place, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * world


@pytest.mark.parametrize(("world", "count", "batch"), [(2, 10, 3), (3, 101, 7), (7, 3, 2), (4, 8, 2), (2, 0, 4)])
def test_rows_of_several_processes_are_in_order_on_rank_zero(
    tmp_path: Path, world: int, count: int, batch: int
) -> None:
    """Also where processes have nothing to measure, and where there is nothing at all."""
    on_processes(world, tmp_path, count, batch)
    found = torch.load(tmp_path / "0.pt")
    expected = rows_of(0, count) if count else {}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)
    for rank in range(1, world):
        assert torch.load(tmp_path / f"{rank}.pt") == {}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("gap", "RuntimeError: 1 images were not measured exactly once, the first is 10"),
        ("repeat", "RuntimeError: 2 images were not measured exactly once, the first is 2"),
        ("damage", "ToldByRankZero: part-000001.tar: byte 512: is damaged; build it again"),
    ],
)
def test_what_is_wrong_on_one_process_is_told_on_all(tmp_path: Path, fault: str, words: str) -> None:
    on_processes(2, tmp_path, 11, 2, fault)
    assert {(tmp_path / f"{rank}.txt").read_text() for rank in range(2)} == {words}


@pytest.mark.parametrize(
    ("stretches", "words"),
    [
        ([(0, 4), (8, 10)], "4 images were not measured exactly once, the first is 4"),
        ([(0, 4), (4, 8), (4, 8), (8, 10)], "4 images were not measured exactly once, the first is 4"),
        ([(0, 4), (3, 10)], "1 images were not measured exactly once, the first is 3"),
        ([], "10 images were not measured exactly once, the first is 0"),
    ],
)
def test_gaps_and_repeats_are_refused(stretches: list[Stretch], words: str) -> None:
    whole = gather(measured([(0, 4), (4, 8), (8, 10)]), 10, ALONE)
    assert torch.equal(whole["number"], torch.arange(10))
    with pytest.raises(RuntimeError, match=words):
        gather(measured(stretches), 10, ALONE)


def test_rows_that_come_in_another_order_are_put_into_theirs() -> None:
    assert torch.equal(gather(measured([(4, 10), (0, 4)]), 10, ALONE)["number"], torch.arange(10))
