"""Shards at an address: whatever the server does, exactly the right samples arrive, or one line says why not."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from aedist.config import Data
from aedist.data.address import check_address, is_address, redacted
from aedist.data.ahead import MOST_AHEAD, FetchAhead, uses
from aedist.data.cache import Cache
from aedist.data.download import FetchFailed, Patience
from aedist.data.loader import Split
from aedist.data.plan import Plan
from aedist.data.remote import RemoteFolder, check_reachable
from aedist.data.source import check_budget, check_split, open_split
from aedist.data.store import ShardStore
from aedist.errors import EXIT_USER_ERROR, UserError
from aedist.link import free_port
from aedist.shards.index import read_index
from misbehaving import FOREVER, Misbehaving
from processes import launch, run
from runs import assert_ledger_is_exact, records, state_bytes
from samples import UNEVEN, image, write_config, write_split

QUICK = Patience(stall_seconds=0.3, in_vain=4, first_pause_seconds=0.01)
PLENTY = 10**9


def ignore(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def server(shards: Path) -> Iterator[Misbehaving]:
    with Misbehaving(shards.parent) as served:
        yield served


def open_train(server: Misbehaving, cache: Path, budget_bytes: int = PLENTY, patience: Patience = QUICK) -> Split:
    return open_split(f"{server.address}/blobs", "train", Cache(cache, budget_bytes, patience))


def assert_reads_all(split: Split) -> None:
    images = ShardStore(split.folder, split.index).read_images(range(split.index.num_samples)).numpy()
    np.testing.assert_array_equal(images, [image(1, number) for number in range(sum(UNEVEN))])


def remote(split: Split) -> RemoteFolder:
    assert isinstance(split.folder, RemoteFolder)
    return split.folder


def files_in(cache: Path, ending: str) -> list[Path]:
    return sorted(cache.glob(f"??/*{ending}"))


# what a server may do: it recovers


RECOVERS = {
    "500 then fine": ["500"],
    "503 thrice then fine": ["503", "503", "503"],
    "429 then fine": ["429"],
    "stall in the middle": ["stall"],
    "reset": ["reset"],
    "short body": ["short", "short", "short", "short", "short", "short"],
    "no length": ["no length"],
    "no length and short": ["no length short", "no length short"],
    "no ranges": ["short", "no range"],
    "no ranges and short": ["short", "no range short", "no range"],
    "wrong bytes once": ["flipped"],
    "wrong bytes in a rest": ["short", "flipped short"],
    "another page once": ["page"],
    "all of it": ["503", "stall", "reset", "short", "500", "no range", "no length short"],
}


@pytest.mark.parametrize("faults", RECOVERS.values(), ids=RECOVERS.keys())
def test_a_server_in_trouble_costs_time_and_no_sample(server: Misbehaving, tmp_path: Path, faults: list[str]) -> None:
    """Of the largest shard, and of the index as far as it can be told to be cut."""
    server.misbehave("part-000006.tar", faults)
    server.misbehave("index.json", [fault for fault in faults if fault not in ("flipped", "flipped short", "page")][:3])
    assert_reads_all(open_train(server, tmp_path))
    assert len(server.asked["part-000006.tar"]) <= len(faults) + 2
    assert not files_in(tmp_path, ".part")
    assert not files_in(tmp_path, ".lock")


def test_what_came_is_asked_for_once(server: Misbehaving, tmp_path: Path, shards: Path) -> None:
    server.misbehave("part-000006.tar", ["short", "reset"])
    assert_reads_all(open_train(server, tmp_path))
    first, second, third = server.asked["part-000006.tar"]
    size = (shards / "train" / "part-000006.tar").stat().st_size
    assert first == 0
    assert second == size // 2
    assert second <= third < size, "a reset may take with it what had just come"


def test_sixty_unreliable_runs_give_sixty_times_the_same_samples(server: Misbehaving, tmp_path: Path) -> None:
    """The case of a body cut where a member ends, with and without its length, among others, in every mixture."""
    kinds = ["short", "no length short", "no range", "reset", "500", "flipped", "page", "no range short"]
    results = list[bytes | str]()

    def one(seed: int) -> None:
        rng = random.Random(seed)
        with Misbehaving(server.folder) as own:
            for number in range(len(UNEVEN)):
                own.misbehave(f"part-{number:06d}.tar", rng.choices(kinds[:5], k=3) + rng.choices(kinds, k=1))
            try:
                split = open_train(own, tmp_path / str(seed), patience=replace(QUICK, in_vain=8))
                results.append(ShardStore(split.folder, split.index).read_images(range(100)).numpy().tobytes())
            except UserError as error:
                results.append(str(error))

    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = np.stack([image(1, number) for number in range(100)]).tobytes()
    assert results == [expected] * 60


# what a server may do: one line


ENDS = {
    "404": (["404"] * FOREVER, "answers 404 Not Found; correct data.shards, or put the file there", 1),
    "403": (["403"] * FOREVER, "answers 403 Forbidden; make the files readable", 1),
    "500": (["500"] * FOREVER, "answers 500 Internal Server Error (4 attempts in ", 4),
    "stall": (["500", *["stall no range"] * FOREVER], "no byte came for 0.3 s (", 6),
    "reset": (["reset no range"] * FOREVER, "the connection failed (", 5),
    "wrong bytes": (["flipped"] * FOREVER, "as its index says, also when fetched anew; ", 2),
    "another page": (["page"] * FOREVER, "is 21 bytes long, not 92,160 as its index says, also when fetched anew", 2),
    "a file": (["to file:///etc/passwd"] * FOREVER, "is redirected from http to file, which is refused; ", 1),
    "another scheme": (["to ftp://127.0.0.1/x"] * FOREVER, "is redirected from http to ftp, which is refused; ", 1),
    "a circle": (["to part-000006.tar"] * FOREVER, "answers 302 ", 11),
}


@pytest.mark.parametrize(("faults", "words", "most"), ENDS.values(), ids=ENDS.keys())
def test_what_cannot_be_had_ends_in_one_line_with_its_address(
    server: Misbehaving, tmp_path: Path, faults: list[str], words: str, most: int
) -> None:
    server.misbehave("part-000006.tar", faults)
    split = open_train(server, tmp_path)
    with pytest.raises(FetchFailed) as told:
        assert_reads_all(split)
    assert str(told.value).startswith(f"{server.address}/blobs/train/part-000006.tar: ")
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert len(server.asked["part-000006.tar"]) <= most
    assert not (tmp_path / "passwd").exists()


def test_an_index_that_is_not_there_or_none_is_told_by_its_address(
    server: Misbehaving, tmp_path: Path, shards: Path
) -> None:
    with pytest.raises(UserError, match=r"/blobs/other/index.json: answers 404 "):
        open_split(f"{server.address}/blobs", "other", Cache(tmp_path, PLENTY, QUICK))
    for fault, words in (("no length short", r"ended after [\d,]+ bytes \(4 attempts"), ("page", "is not an index ")):
        server.misbehave("index.json", [fault] * 4)
        with pytest.raises(UserError, match=rf"/index.json: {words}"):
            open_train(server, tmp_path)
    folder = tmp_path / "served" / "blobs" / "train"
    shutil.copytree(shards / "train", folder)
    text = (folder / "index.json").read_text()
    (folder / "index.json").write_text(text.replace("part-000000.tar", "../part-000000.tar"))
    with Misbehaving(tmp_path / "served") as other, pytest.raises(UserError, match="must be a plain file name"):
        open_train(other, tmp_path)


def test_shards_that_are_missing_or_of_another_length_are_found_before_work(tmp_path: Path, shards: Path) -> None:
    shutil.copytree(shards, tmp_path / "served" / "blobs")
    (tmp_path / "served" / "blobs" / "train" / "part-000002.tar").unlink()
    with (tmp_path / "served" / "blobs" / "train" / "part-000004.tar").open("ab") as file:
        file.write(b"more")
    with Misbehaving(tmp_path / "served") as server:
        split = open_train(server, tmp_path / "cache")
        with pytest.raises(UserError, match=r"part-000002.tar: answers 404 .*\(and 1 more shards\)$"):
            check_split(split)
        assert server.gets(".tar") == {}, "nothing was fetched"


# addresses


REFUSED = {
    "pipe:touch marker": "pipe:touch marker is refused: shards are read from http://",
    "file:///etc": "file:///etc is refused: shards are read from http://",
    "ftp://host/x": "is refused: shards are read from",
    "simplecache::s3://bucket/x": "is refused: shards are read from",
    "https://user:pa/ss@host/x": "https://***@host/x is refused: a name and a password would end in config.yaml",
    "s3://key:secret@bucket/x": "s3://***@bucket/x is refused: a name and a password",
    "hf://name:token@datasets/o/n": "hf://***@datasets/o/n is refused: a name and a password",
    "https://host/x?X-Amz-Signature=abc": "https://host/x?*** is refused: what follows ? or # may be a signature",
    "https://host/x y": "it holds a space",
    "https://host/x\r\nHost: other": "it holds a space",
    "https://host/../x": "a part of its path is empty, . or ..",
    "https://": "it names no place",
    "s3:bucket/x": "it names no place",
    "https://host:port/x": "its host or port is none",
}


@pytest.mark.parametrize(("address", "words"), REFUSED.items())
def test_addresses_that_are_refused(tmp_path: Path, address: str, words: str) -> None:
    assert is_address(address)
    with pytest.raises(UserError) as told:
        open_split(address, "train", Cache(tmp_path / "cache", PLENTY, QUICK))
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert not any(secret in str(told.value) for secret in ("pa/ss", "secret", "token", "abc"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "address", ["https://host/a/b/", "http://127.0.0.1:80", "s3://bucket/a", "gs://b", "hf://datasets/o/n@main/x"]
)
def test_addresses_that_are_taken(address: str) -> None:
    assert check_address(address) == address.rstrip("/")
    assert redacted("https://host/a") == "https://host/a"
    assert not is_address("shards/mnist")


def test_a_refused_address_ends_a_run_before_anything_happens(tmp_path: Path, shards: Path) -> None:
    """Also where webdataset would be told by the environment to rewrite it to a command."""
    config, marker = write_config(tmp_path / "c.yaml", shards, tmp_path / "run"), tmp_path / "marker"
    environment = {"GOPEN_REWRITE": f"http://127.0.0.1:9/=pipe:touch {marker}; echo ", "WDS_REWRITE": "=pipe:"}
    for address in (f"pipe:touch {marker}", "https://me:secret@host/x"):
        launched = launch(tmp_path, 2, "train", config, f"data.shards={address}", environment=environment)
        assert launched.wait() == [EXIT_USER_ERROR] * 2
        assert len(launched.text().splitlines()) == 1
        assert "secret" not in launched.text()
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


# the cache


def test_equal_names_at_two_addresses_are_two_files(tmp_path: Path) -> None:
    write_split(tmp_path / "one" / "blobs" / "train", UNEVEN, seed=1)
    write_split(tmp_path / "two" / "blobs" / "train", UNEVEN, seed=8)
    with Misbehaving(tmp_path / "one") as one, Misbehaving(tmp_path / "two") as two:
        split, other = (open_train(server, tmp_path / "cache") for server in (one, two))
        assert_reads_all(split)
        found = ShardStore(other.folder, other.index).read_images([0]).numpy()
        np.testing.assert_array_equal(found, [image(8, 0)])


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(server: Misbehaving, tmp_path: Path) -> None:
    assert_reads_all(open_train(server, tmp_path))
    for path in files_in(tmp_path, ".tar"):
        body = bytearray(path.read_bytes())
        body[700] ^= 1
        path.write_bytes(body)
    assert_reads_all(open_train(server, tmp_path))
    assert set(server.gets(".tar").values()) == {2}


def test_a_download_that_was_killed_is_taken_up_where_it_ended(server: Misbehaving, tmp_path: Path) -> None:
    server.misbehave("part-000006.tar", ["stall"])
    split = open_train(server, tmp_path, patience=Patience(stall_seconds=60))
    shard = split.index.shards[6]
    process = multiprocessing.get_context("fork").Process(target=remote(split).obtain, args=(shard,))
    process.start()
    part = remote(split).cache.path(shard).with_name(f"{shard.sha256}.{shard.bytes}.part")
    while not part.exists() or part.stat().st_size < shard.bytes // 2:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert_reads_all(split)
    assert server.asked["part-000006.tar"] == [0, shard.bytes // 2]


def test_who_waits_for_a_download_that_fails_is_told_its_reason(server: Misbehaving, tmp_path: Path) -> None:
    """And does not try it all again, one after another."""
    server.misbehave("part-000006.tar", ["stall no range"] * FOREVER)
    told, split = list[str](), open_train(server, tmp_path)

    def one() -> None:
        with pytest.raises(FetchFailed) as failed:
            remote(split).obtain(split.index.shards[6])
        told.append(str(failed.value))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(told)) == 1
    assert len(server.asked["part-000006.tar"]) == 5, "the first brought bytes, four were in vain"


def test_a_holder_that_stands_still_is_named_and_not_waited_for_for_ever(server: Misbehaving, tmp_path: Path) -> None:
    server.misbehave("part-000006.tar", ["stall"])
    split = open_train(server, tmp_path, patience=Patience(stall_seconds=60))
    process = multiprocessing.get_context("fork").Process(target=remote(split).obtain, args=(split.index.shards[6],))
    process.start()
    while not server.asked["part-000006.tar"]:
        time.sleep(0.01)
    hurried = Cache(tmp_path, PLENTY, Patience(stall_seconds=0.1, in_vain=1, longest_pause_seconds=0.1))
    with pytest.raises(FetchFailed, match=rf"process {process.pid} on \S+ fetches it, but no byte came in 0 s; end "):
        RemoteFolder(remote(split).address, hurried).obtain(split.index.shards[6])
    process.kill()
    process.join()


def test_the_least_recently_used_makes_room_and_the_budget_is_kept(server: Misbehaving, tmp_path: Path) -> None:
    index = open_train(server, tmp_path / "unused").index
    sizes = [shard.bytes for shard in index.shards]
    split = open_train(server, tmp_path / "cache", budget_bytes=sum(sizes[:4]) - 1)
    folder = remote(split)
    for number in (0, 1, 2, 0, 3):  # the first is used again, so that the second has to go for the fourth
        folder.obtain(index.shards[number])
        time.sleep(0.01)
    assert [folder.cache.has(shard) for shard in index.shards[:4]] == [True, False, True, True]
    assert_reads_all(open_train(server, tmp_path / "cache", budget_bytes=max(sizes)))
    assert sum(path.stat().st_size for path in files_in(tmp_path / "cache", ".tar")) <= max(sizes)
    with pytest.raises(FetchFailed, match=r"data.cache_bytes: 100 bytes are too few for part-000006.tar of 92,160; "):
        remote(open_train(server, tmp_path / "small", budget_bytes=100)).obtain(index.shards[6])


def test_a_shard_that_is_read_stays_readable_when_it_is_displaced(server: Misbehaving, tmp_path: Path) -> None:
    split = open_train(server, tmp_path)
    store = ShardStore(split.folder, split.index)
    store.read_images([0])
    shutil.rmtree(tmp_path)
    np.testing.assert_array_equal(store.read_images([1]).numpy(), [image(1, 1)])
    tmp_path.write_text("a file where the cache was")
    with pytest.raises(UserError, match=r"data\.cache: "):
        store.read_images([99])


def test_a_cache_that_is_too_small_for_a_node_is_refused_before_training(server: Misbehaving, tmp_path: Path) -> None:
    split = open_train(server, tmp_path, budget_bytes=200_000)
    plan = Plan(UNEVEN, seed=0, micro=2, num_micro=6, shuffle_shards=2)
    data = Data(shards="", mode="stream")
    with pytest.raises(UserError, match=r"6 micro-batch slots of 2 shards each\); raise it, lower data.shuffle_shards"):
        check_budget(data, split, readers=2, plan=plan, num_slots=6)
    check_budget(data, split, readers=2, plan=plan, num_slots=1)
    check_budget(Data(shards="", mode="resident"), split, readers=2, plan=plan, num_slots=6)
    with pytest.raises(UserError, match=r"3 readers of a shard each\); raise it$"):
        check_budget(data, split, readers=3)


def test_without_its_server_a_split_opens_from_the_cache_and_says_so(server: Misbehaving, tmp_path: Path) -> None:
    cache, told = Cache(tmp_path, PLENTY, QUICK), list[str]()
    with Misbehaving(server.folder) as gone:
        split = open_split(f"{gone.address}/blobs", "train", cache)
        assert_reads_all(split)
        address = gone.address
    again = open_split(f"{address}/blobs", "train", cache, told.append)
    check_split(again)
    assert_reads_all(again)
    assert len(told) == 1
    assert "the connection failed (Connection refused) (2 attempts" in told[0]
    assert f"going on with the copy of the index in {tmp_path}" in told[0]
    with pytest.raises(UserError, match="Connection refused"):
        open_split(f"{address}/blobs", "test", cache, told.append)


# ahead of need


def test_what_is_fetched_ahead_is_what_the_plan_reads_in_its_order() -> None:
    plan = Plan(UNEVEN, seed=5, micro=2, num_micro=6, shuffle_shards=2)
    ends = np.cumsum(UNEVEN)
    for slots in ((0, 3), tuple(range(6))):
        seen = dict[tuple[int, int], int]()
        for first, last, shards in uses(plan, slots, 3, 30):
            assert [step for _, step in shards] == sorted(step for _, step in shards)
            seen |= {(first, number): step for number, step in shards}
            expected = dict[int, int]()
            for step in range(first, last):
                for number in np.searchsorted(ends, plan.step_ids(step, slots).ravel(), side="right").tolist():
                    expected.setdefault(number, step)
            assert dict(shards) == expected
        assert min(first for first, _ in seen) == 3


def wait_for_shards(server: Misbehaving, count: int) -> None:
    """Return when so many were fetched, and no more follow."""
    patience = time.monotonic() + 60
    while len(server.gets(".tar")) < count:
        assert time.monotonic() < patience, server.gets(".tar")
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(server.gets(".tar")) == count


def test_resuming_late_fetches_no_more_than_early_and_only_what_is_needed(tmp_path: Path) -> None:
    """60 shards of 4, one after another in a slot: the first few and those ahead of them, wherever a run begins."""
    index = write_split(tmp_path / "served" / "blobs" / "train", (4,) * 60, seed=1)
    plan = Plan((4,) * 60, seed=5, micro=2, num_micro=1, shuffle_shards=1)
    for step in (10, 1_000_000):
        with Misbehaving(tmp_path / "served") as server:
            folder = RemoteFolder(f"{server.address}/blobs/train", Cache(tmp_path / str(step), PLENTY, QUICK))
            ahead = FetchAhead(folder, index, plan, (0,), (step, step + 10_000), 3, ignore)
            wait_for_shards(server, 2 + MOST_AHEAD)
            needed = np.unique(np.concatenate([plan.sample_ids(s, 0) for s in range(step, step + 4)]) // 4)
            assert {f"part-{number:06d}.tar" for number in needed} <= server.gets(".tar").keys()
            ahead.at(step + 20)  # ten shards further
            wait_for_shards(server, 2 + MOST_AHEAD + 10)
            ahead.close()


def test_a_short_run_fetches_nothing_that_it_does_not_read(server: Misbehaving, tmp_path: Path) -> None:
    split, plan = open_train(server, tmp_path), Plan(UNEVEN, seed=5, micro=2, num_micro=1, shuffle_shards=1)
    FetchAhead(remote(split), split.index, plan, (0,), (7, 9), 3, ignore)
    ids = np.concatenate([plan.sample_ids(step, 0) for step in (7, 8)])
    needed = np.unique(np.searchsorted(np.cumsum(UNEVEN), ids, side="right"))
    wait_for_shards(server, len(needed))
    assert server.gets(".tar") == {f"part-{number:06d}.tar": 1 for number in needed}


# training


def trained_over(address: str, folder: Path, world: int, *words: str, mode: str = "stream", workers: int = 2) -> Path:
    """A run of two epochs on shards at an address."""
    folder.mkdir(parents=True, exist_ok=True)
    config = write_config(
        folder / "c.yaml",
        Path("unused"),
        folder / "run",
        data={"shards": address, "mode": mode, "workers": workers},
        train={"epochs": 2, "reduce": "exact"},
    )
    environment = {"XDG_CACHE_HOME": str(folder.parent / "cache")}
    run(folder, world, "train", config, *words, environment=environment)
    return folder / "run"


@pytest.fixture(scope="module")
def from_folder(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    return trained_over(str(shards), tmp_path_factory.mktemp("folder") / "one", 1, workers=0)


def test_training_over_http_is_training_from_the_folder_and_fetches_once_a_node(
    tmp_path: Path, shards: Path, from_folder: Path
) -> None:
    """Two processes of two workers, while the server is in trouble; then one, resident, and the server off."""
    with Misbehaving(shards.parent) as server:
        address = f"{server.address}/blobs"
        for number in range(len(UNEVEN)):
            server.misbehave(f"part-{number:06d}.tar", ["503", "short"] if number % 2 else [])
        two = trained_over(address, tmp_path / "two", 2)
        # a shard of each split has the name; each was asked for once, but for what went wrong on purpose
        expected = {f"part-{number:06d}.tar": 1 + (number < 2) + 2 * (number % 2) for number in range(len(UNEVEN))}
        assert server.gets(".tar") == expected
    one = trained_over(address, tmp_path / "one", 1, mode="resident")
    for trained in (two, one):
        assert state_bytes(trained) == state_bytes(from_folder)
        assert records(trained) == records(from_folder)
        config = yaml.safe_load((trained / "config.yaml").read_text())
        assert config["data"]["shards"] == address
        assert config["data"]["cache"] == "", "where this machine keeps them is no part of the run"
    assert "going on with the copy of the index" in next((tmp_path / "one").glob("output-*")).read_text()
    # and what judges the run finds its shards in the same place
    launched = run(tmp_path, 1, "verify", two, "--shards", environment={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert "7 shards with the run's fingerprint" in launched.text()


def test_training_in_a_small_budget_displaces_shards_and_changes_nothing(
    tmp_path: Path, shards: Path, server: Misbehaving
) -> None:
    """A slot at a time in a budget of two shards: every epoch fetches again."""
    words = ("data.shuffle_shards=1", "batch.num_micro=1", "batch.micro=12")
    folder = trained_over(str(shards), tmp_path / "folder", 1, *words, workers=0)
    budget = "data.cache_bytes=180000"
    small = trained_over(f"{server.address}/blobs", tmp_path / "small", 1, *words, budget, workers=1)
    assert state_bytes(small) == state_bytes(folder)
    config = yaml.safe_load((small / "config.yaml").read_text())
    (small / "config.yaml").write_text(yaml.safe_dump({**config, "data": {**config["data"], "shards": str(shards)}}))
    assert_ledger_is_exact(small)
    kept = sum(path.stat().st_size for path in files_in(tmp_path / "cache" / "aedist" / "shards", ".tar"))
    assert kept <= 180_000 < sum(shard.bytes for shard in read_index(shards / "train").shards)
    assert sum(server.gets(".tar").values()) > len(UNEVEN) + 2


@pytest.mark.parametrize("fault", ["404", "flipped"])
def test_a_shard_that_cannot_be_had_ends_every_process_with_2_and_one_line(
    tmp_path: Path, server: Misbehaving, fault: str
) -> None:
    """The server says beforehand that all is there."""
    for number in range(len(UNEVEN)):
        server.misbehave(f"part-{number:06d}.tar", [fault] * FOREVER)
    config = write_config(
        tmp_path / "c.yaml", Path("unused"), tmp_path / "run",
        data={"shards": f"{server.address}/blobs", "mode": "stream", "workers": 2, "cache": str(tmp_path / "cache")},
    )  # fmt: skip
    launched = launch(tmp_path, 2, "train", config)
    assert launched.wait() == [EXIT_USER_ERROR] * 2, launched.text() + launched.text(1)
    for rank in range(2):
        assert "Traceback" not in launched.text(rank)
        (line,) = [line for line in launched.text(rank).splitlines() if line.startswith("aedist: ")]
        assert f"{server.address}/blobs/train/part-00000" in line


# verbs


def test_a_warm_cache_needs_no_server(tmp_path: Path, shards: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with Misbehaving(shards.parent) as warm:
        address = f"{warm.address}/blobs"
        launched = run(tmp_path, 1, "shards", "fetch", address, environment=environment)
        assert f"{address}/train: all 7 shards are in {tmp_path}" in " ".join(launched.text().split())
        assert sum(warm.gets(".tar").values()) == 9
    launched = run(tmp_path, 1, "shards", "verify", address, environment=environment)
    assert launched.text().endswith(f"{address}: all 123 samples are sound\n")


# a cloud


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Iterator[dict[str, str]]:
    """The environment in which ``s3://bucket/blobs`` is the small shards, on a server of the S3 protocol."""
    port = free_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "a-key",
        "AWS_SECRET_ACCESS_KEY": "a-very-secret-key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    log = tmp_path_factory.mktemp("s3") / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=file, stderr=file, env={**os.environ, **environment},
        )  # fmt: skip
    try:
        _fill(environment, shards, process, log)
        yield environment
    finally:
        process.kill()
        process.wait()


def _fill(environment: dict[str, str], shards: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Put the small shards into a new bucket, as soon as the server answers."""
    endpoint, patience = environment["AWS_ENDPOINT_URL"], time.monotonic() + 60

    def put(name: str, content: bytes | None = None) -> None:
        headers = {"Content-Type": "application/octet-stream"}  # else it is taken for a form
        request = urllib.request.Request(f"{endpoint}/bucket{name}", content, headers, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    while True:
        try:
            put("")
            break
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < patience, log.read_text()
            time.sleep(0.1)
    for path in shards.rglob("*"):
        if path.is_file():
            put(f"/blobs/{path.relative_to(shards)}", path.read_bytes())


def test_training_from_s3_is_training_from_the_folder(tmp_path: Path, s3: dict[str, str], from_folder: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    config = write_config(
        folder / "c.yaml", Path("unused"), folder / "run",
        data={"shards": "s3://bucket/blobs", "mode": "stream", "workers": 1},
        train={"epochs": 2, "reduce": "exact"},
    )  # fmt: skip
    environment = s3 | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    run(folder, 2, "train", config, environment=environment)
    assert state_bytes(folder / "run") == state_bytes(from_folder)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"a-very-secret-key" not in written


def test_s3_tells_what_is_not_there(tmp_path: Path, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    cache = Cache(tmp_path, PLENTY, Patience(stall_seconds=20, in_vain=2, first_pause_seconds=0.01))
    split = open_split("s3://bucket/blobs", "train", cache)
    check_split(split)
    odd = replace(
        split.index, shards=(replace(split.index.shards[0], bytes=5), replace(split.index.shards[1], file="x"))
    )
    with pytest.raises(UserError, match=r"part-000000.tar: is 30,720 bytes long, not 5 as .*\(and 1 more shards\)$"):
        check_reachable(remote(split), odd)
    assert_reads_all(split)
    with pytest.raises(UserError, match=r"^s3://bucket/blobs/other/index.json: FileNotFoundError: .*; correct data.sh"):
        open_split("s3://bucket/blobs", "other", cache)
    with pytest.raises(UserError, match=r"^s3://nowhere/train/index.json: FileNotFoundError: "):
        open_split("s3://nowhere", "train", cache)


def test_many_that_open_an_address_at_once_all_keep_its_index(server: Misbehaving, tmp_path: Path) -> None:
    """Each of them keeps a copy at the same place, at the same moment."""
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_train(server, tmp_path), range(40)))
    assert len({split.index.fingerprint for split in opened}) == 1
    assert len(list((tmp_path / "indices").iterdir())) == 1
