"""Which worker reads what, how far ahead, and in which tier changes nothing: every batch is what the plan says."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from aedist.config import Data
from aedist.data import loader
from aedist.data.loader import Split, StepBatch, cut, read_stretches, stream
from aedist.data.plan import Plan
from aedist.data.resident import gather, read_all
from aedist.data.source import is_resident, open_batches, open_split, resident_device
from aedist.errors import DataDamage, UserError
from aedist.shards.index import read_index
from processes import PATIENCE_SECONDS
from samples import SHAPE, UNEVEN, image, write_split

CPU = torch.device("cpu")
PLAN = Plan(UNEVEN, seed=5, micro=2, num_micro=6, shuffle_shards=2)  # 8 steps an epoch
SLOTS = (1, 3, 5)


@pytest.fixture(scope="module")
def split(shards: Path) -> Split:
    return Split(shards / "train", read_index(shards / "train"))


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of 3 steps, so that few images are many stretches for several workers."""
    monkeypatch.setattr(loader, "IMAGES_A_STRETCH", 18)


def assert_is_the_plan(batches: list[StepBatch], first_step: int, last_step: int) -> None:
    assert [batch.step for batch in batches] == list(range(first_step, last_step))
    for batch in batches:
        assert batch.slots == SLOTS
        assert batch.sample_ids.dtype == torch.int64
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (len(SLOTS), PLAN.micro, *SHAPE)
        for row, slot in enumerate(SLOTS):
            ids = PLAN.sample_ids(batch.step, slot).tolist()
            assert batch.sample_ids[row].tolist() == ids
            np.testing.assert_array_equal(batch.images[row].numpy(), [image(1, number) for number in ids])


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_streamed_batches_are_the_plans_with_any_number_of_workers(split: Split, workers: int) -> None:
    """Across the end of an epoch, with stretches that do not divide the steps."""
    assert_is_the_plan(list(stream(split, PLAN, SLOTS, 0, 17, workers, pin=False)), 0, 17)


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("first", [1, 7, 8, 16, 1_000_003])
def test_starting_at_any_step_gives_the_tail(split: Split, first: int) -> None:
    assert_is_the_plan(list(stream(split, PLAN, SLOTS, first, first + 4, 0, pin=False)), first, first + 4)


def test_no_steps_are_no_batches(split: Split) -> None:
    assert list(stream(split, PLAN, SLOTS, 5, 5, 2, pin=False)) == []


def test_nothing_but_bytes_and_whole_numbers_crosses_from_a_worker(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the loader hands over is a pair of tensors, uint8 pixels and int64 ids: no floating point, no objects."""
    crossed = list[object]()
    iterate: Callable[[DataLoader[object]], Iterator[object]] = DataLoader.__iter__

    def noted(self: DataLoader[object]) -> Iterator[object]:
        for item in iterate(self):
            crossed.append(item)
            yield item

    monkeypatch.setattr(DataLoader, "__iter__", noted)
    assert len(list(stream(split, PLAN, SLOTS, 0, 5, 1, pin=False))) == 5
    assert crossed
    for item in crossed:
        assert [tensor.dtype for tensor in item] == [torch.int64, torch.uint8]


def exchange_among(num: int) -> list[Callable[[Tensor, int], None]]:
    """For each of ``num`` threads what ``Place.send`` is to a process: a broadcast that all must join."""
    barrier, sent = threading.Barrier(num, timeout=60), dict[int, Tensor]()

    def of(rank: int) -> Callable[[Tensor, int], None]:
        def exchange(tensor: Tensor, source: int) -> None:
            if rank == source:
                sent[source] = tensor
            barrier.wait()
            if rank != source:
                tensor.copy_(sent[source])
            barrier.wait()

        return exchange

    return [of(rank) for rank in range(num)]


@pytest.mark.parametrize("world", [1, 3])
def test_every_process_has_all_resident_images_and_reads_its_share_only(
    split: Split, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_by_rank: dict[int, list[int]] = {rank: [] for rank in range(world)}
    ranks = threading.local()

    def noting(
        split: Split, stretches: list[tuple[int, int]], workers: int
    ) -> Iterator[tuple[tuple[int, int], Tensor]]:
        read_by_rank[ranks.rank] += [number for stretch in stretches for number in range(*stretch)]
        return read_stretches(split, stretches, workers)

    monkeypatch.setattr("aedist.data.resident.read_stretches", noting)
    exchanges, found = exchange_among(world), dict[int, Tensor]()

    def one(rank: int) -> None:
        ranks.rank = rank
        found[rank] = read_all(split, CPU, rank, world, exchanges[rank], workers=0)

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = np.stack([image(1, number) for number in range(sum(UNEVEN))])
    assert sorted(found) == list(range(world))
    for images in found.values():
        np.testing.assert_array_equal(images.numpy(), expected)
    assert sorted(number for numbers in read_by_rank.values() for number in numbers) == list(range(sum(UNEVEN)))
    shares = [len(numbers) for numbers in read_by_rank.values()]
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("mode", ["stream", "resident"])
def test_both_tiers_give_the_same_batches(split: Split, mode: str) -> None:
    told = list[str]()
    data = Data(shards="", mode=mode, workers=0)
    batches = open_batches(data, split, PLAN, SLOTS, (3, 12), 0, 1, CPU, lambda tensor, source: None, told.append)
    assert_is_the_plan(list(batches), 3, 12)
    assert len(told) == (mode == "resident")


def test_gathered_batches_are_the_plans(split: Split) -> None:
    images = torch.from_numpy(np.stack([image(1, number) for number in range(sum(UNEVEN))]))
    assert_is_the_plan(list(gather(images, PLAN, SLOTS, 6, 10)), 6, 10)


def test_the_tier_follows_from_the_budget_and_the_mode(split: Split) -> None:
    needed = split.index.decoded_bytes
    assert is_resident(Data(shards="", memory=needed), split)
    assert not is_resident(Data(shards="", memory=needed - 1), split)
    assert not is_resident(Data(shards="", mode="stream", memory=needed), split)
    with pytest.raises(UserError, match=r"data.mode: resident needs 0 MiB for 100 images") as told:
        is_resident(Data(shards="", mode="resident", memory=needed - 1), split)
    assert "\n" not in str(told.value)
    assert resident_device(split, CPU) == CPU


def test_a_split_that_is_not_there_is_told_with_those_that_are(shards: Path, tmp_path: Path) -> None:
    assert open_split(str(shards), "test").index.num_samples == 23
    with pytest.raises(UserError, match=r"has no split 'valid' .it has test, train.; name one of them"):
        open_split(str(shards), "valid")
    with pytest.raises(UserError, match=r"there is no folder .*aedist shards build nowhere"):
        open_split(str(tmp_path / "nowhere"), "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"index.json: missing"):
        open_split(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("what", "words"), [("payload", "00003.png at byte "), ("header", "checksum is wrong"), ("gone", "cannot be read")]
)
def test_damage_in_a_worker_arrives_as_one_line_not_as_its_traceback(tmp_path: Path, what: str, words: str) -> None:
    index = write_split(tmp_path, (6, 6), seed=1)
    shard = tmp_path / "part-000000.tar"
    if what == "gone":
        shard.unlink()
    else:
        body = bytearray(shard.read_bytes())
        start = body.index(b"00003.png")
        body[start + (560 if what == "payload" else 4)] ^= 1
        shard.write_bytes(body)
    plan = Plan((6, 6), seed=0, micro=2, num_micro=3, shuffle_shards=2)
    with pytest.raises(DataDamage, match=words) as told:
        list(stream(Split(tmp_path, index), plan, (0, 1, 2), 0, 2, 2, pin=False))
    assert "\n" not in str(told.value)
    assert "part-000000.tar" in str(told.value)


def _lose_a_worker(folder: Path) -> None:
    """In a process of its own: kill the one loader worker half way; 0 if that ends in an error, 1 if not."""
    split = Split(folder, read_index(folder))
    batches = stream(split, PLAN, SLOTS, 0, 100_000, 1, pin=False)
    next(batches)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    try:
        for _ in batches:
            pass
    except RuntimeError as error:
        os._exit(0 if "DataLoader worker" in str(error) else 2)
    os._exit(1)


def test_a_killed_worker_ends_the_process_with_an_error_and_no_hang(shards: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_lose_a_worker, args=(shards / "train",))
    process.start()
    process.join(PATIENCE_SECONDS)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs
    assert process.exitcode == 0


def test_a_range_is_cut_without_gaps() -> None:
    assert cut(3, 10, 3) == [(3, 6), (6, 9), (9, 10)]
    assert cut(0, 6, 3) == [(0, 3), (3, 6)]
    assert cut(4, 4, 3) == []
