"""Damaged data (rows 12, 13 and 14 of the catalogue): found before use and told in a line, or left out by name.

Strict: no step is trained on what is not proved. Quarantine: what cannot be used is known before step 0, the same on
every process; the batches are a function of what remains, and every lost sample is named in the run.
"""

import io
import json
import math
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aedist.data.loader import Split
from aedist.data.quarantine import describe, look_through, read_quarantine, spell, without_lost
from aedist.data.store import ShardStore
from aedist.errors import DataDamage, UserError
from aedist.shards.index import CHUNK_BYTES, Index, Shard, describe_bytes, read_index, write_index
from aedist.shards.tar import members
from aedist.verify import verify_run
from processes import launch, run
from runs import assert_ledger_is_exact, ledger, records, state_bytes
from samples import SHAPE, image, png, write_config, write_split, write_tar

BIG = (300, 300, 1)  # noise of that size takes 90 KB, so that a shard of 40 has four MiB


class Big(NamedTuple):
    """A shard of 40 samples over four MiB, and its index."""

    body: bytes
    index: Index

    def __repr__(self) -> str:
        return "Big"


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, BIG, dtype=np.uint8)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Big:
    folder = tmp_path_factory.mktemp("big")
    write_tar(
        folder / "a.tar",
        [(f"{n:03d}.{e}", body) for n in range(40) for e, body in (("cls", b"1"), ("png", png(noise(n))))],
    )
    shard = Shard("a.tar", 40, *describe_bytes(folder / "a.tar"))
    assert len(shard.crc32_per_mib) == 4
    return Big((folder / "a.tar").read_bytes(), Index("noise", "train", BIG, ("0", "1"), (shard,)))


def alone(value: object) -> list[object]:
    return [value]


def looked_through(folder: Path, index: Index) -> tuple[Split, set[int], list[str]]:
    """The split without what a lone process finds to be lost, the lost ids, and the reasons."""
    split = Split(folder, index)
    record = describe([(split, look_through(split, 0, 1, alone, 2, lambda _: None))])
    assert json.loads(spell(record)) == record
    (told,) = record["splits"].values()
    assert told["num_lost"] == len(told["lost"])
    lost = told["lost"]
    return (
        without_lost(split, record, folder / "quarantine.json"),
        {one["id"] for one in lost},
        [o["why"] for o in lost],
    )


def assert_the_rest_is_right(split: Split, lost: set[int], pixels: Callable[[int], np.ndarray], total: int) -> None:
    """What remains has its own pixels, keys and order."""
    kept = [number for number in range(total) if number not in lost]
    store = ShardStore(split.folder, split.index)
    assert split.index.num_samples == len(kept)
    assert split.index.num_lost == len(lost)
    for row, number in enumerate(kept):
        assert int(store.key(row)) == number
    np.testing.assert_array_equal(store.read_images(range(len(kept))).numpy(), [pixels(number) for number in kept])


def touching(body: bytes, chunks: set[int]) -> set[int]:
    """The samples of the big shard whose headers or members touch some MiB, by tarfile, an independent reader."""
    found, begin = set[int](), 0
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        for info in tar:
            end = info.offset_data + -(-info.size // 512) * 512
            if chunks & set(range(begin // CHUNK_BYTES, -(-end // CHUNK_BYTES))):
                found.add(int(info.name[:3]))
            begin = end
    return found


def flipped(body: bytes, *places: int) -> bytes:
    changed = bytearray(body)
    for place in places:
        changed[place] ^= 0x10
    return bytes(changed)


def header_near(body: bytes, place: int) -> int:
    return next(m.header_offset for m in members(body, "it") if m.header_offset >= place)


def test_row_13_a_flipped_pixel_loses_the_samples_of_its_mib_and_no_other(tmp_path: Path, big: Big) -> None:
    """The flipped image might still decode; which one it is, nobody can say, so the whole MiB is not proved."""
    body, index = big
    (tmp_path / "a.tar").write_bytes(flipped(body, 1_500_000))
    split, lost, reasons = looked_through(tmp_path, index)
    assert lost == touching(body, {1})
    assert 8 < len(lost) < 16
    assert all("a.tar" in why and "damaged between bytes 1048576 and 2097152" in why for why in reasons)
    assert_the_rest_is_right(split, lost, noise, 40)


def test_row_13_behind_a_broken_header_samples_are_counted_from_the_end(tmp_path: Path, big: Big) -> None:
    body, index = big
    (tmp_path / "a.tar").write_bytes(flipped(body, header_near(body, 1_500_000) + 2))
    split, lost, _ = looked_through(tmp_path, index)
    assert touching(body, {1}) <= lost
    assert lost - touching(body, {1}) <= {min(touching(body, {1})) - 1, max(touching(body, {1})) + 1}
    assert_the_rest_is_right(split, lost, noise, 40)


def test_row_13_between_two_broken_headers_nothing_has_a_sure_number(tmp_path: Path, big: Big) -> None:
    body, index = big
    broken = flipped(body, header_near(body, 600_000) + 2, header_near(body, 2_500_000) + 2)
    (tmp_path / "a.tar").write_bytes(broken)
    with pytest.raises(UserError, match="more than a quarantine is for"):
        looked_through(tmp_path, index)


@settings(max_examples=25)
@given(data=st.data())
def test_rows_12_and_13_any_flips_and_cuts_lose_samples_but_never_change_or_shift_one(
    tmp_path_factory: pytest.TempPathFactory, big: Big, data: st.DataObject
) -> None:
    body, index = big
    places = data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3, unique=True))
    broken = flipped(body, *places)[: data.draw(st.none() | st.integers(len(body) * 2 // 3, len(body)))]
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.tar").write_bytes(broken)
    try:
        split, lost, _ = looked_through(folder, index)
    except UserError as error:
        assert "more than a quarantine is for" in str(error)  # noqa: PT017
        return
    assert lost >= touching(body, {place // CHUNK_BYTES for place in places if place < len(broken)})
    assert_the_rest_is_right(split, lost, noise, 40)


@pytest.mark.parametrize("grown", [b"x" * 700, bytes(10_240)], ids=["rubbish", "zeros"])
def test_row_13_a_shard_that_grew_is_not_the_one_that_was_indexed(tmp_path: Path, big: Big, grown: bytes) -> None:
    body, index = big
    (tmp_path / "a.tar").write_bytes(body + grown)
    with pytest.raises(DataDamage, match=r"bytes long.*more bytes follow its end"):
        ShardStore(tmp_path, index).read_images([0])
    with pytest.raises(UserError, match=r"40 of 40 samples cannot be used.*more bytes follow its end"):
        looked_through(tmp_path, index)


def write_odd(folder: Path) -> Index:
    """Three shards of 8; sums are right, but in the second some samples cannot be read as they were written."""
    index = write_split(folder, (8, 8, 8), seed=5)
    members_of = [
        (f"{n:05d}.{e}", body) for n in range(8, 16) for e, body in (("cls", b"1"), ("png", png(image(5, n))))
    ]
    odd = dict(members_of)
    odd["00009.png"] = b"no image"
    odd["00011.png"] = png(image(5, 11, (14, 12, 1)))
    odd["00013.cls"] = b"7"
    del odd["00014.png"]
    write_tar(folder / "part-000001.tar", list(odd.items()))
    changed = Shard("part-000001.tar", 8, *describe_bytes(folder / "part-000001.tar"))
    index = Index(index.name, index.split, SHAPE, index.classes, (index.shards[0], changed, index.shards[2]))
    write_index(folder, index)
    return index


def test_samples_that_cannot_be_read_though_their_sum_is_right_are_left_out_by_name(tmp_path: Path) -> None:
    index = write_odd(tmp_path)
    split, lost, reasons = looked_through(tmp_path, index)
    assert lost == {9, 11, 13, 14}
    for why, words in zip(
        reasons, ("00009.png at byte", "is 14 x 12", "class 7", "00014 at byte .*0 images"), strict=True
    ):
        assert re.search(words, why)
    assert_the_rest_is_right(split, lost, lambda number: image(5, number), 24)


def test_row_14_a_missing_shard_is_lost_whole_and_named(tmp_path: Path) -> None:
    index = write_split(tmp_path, (8, 8, 8), seed=5)
    (tmp_path / "part-000001.tar").unlink()
    split, lost, reasons = looked_through(tmp_path, index)
    assert lost == set(range(8, 16))
    assert all("part-000001.tar: cannot be read" in why for why in reasons)
    assert_the_rest_is_right(split, lost, lambda number: image(5, number), 24)


def test_what_is_damaged_after_the_look_stops_the_run(tmp_path: Path, big: Big) -> None:
    body, index = big
    (tmp_path / "a.tar").write_bytes(flipped(body, 1_500_000))
    split, *_ = looked_through(tmp_path, index)
    (tmp_path / "a.tar").write_bytes(flipped(body, 1_500_000, 3_000_000))
    with pytest.raises(DataDamage, match="cannot be proved, but could when the run looked"):
        ShardStore(split.folder, split.index).read_images([0])


def test_a_shard_that_was_mended_since_gives_the_same_samples(tmp_path: Path, big: Big) -> None:
    body, index = big
    (tmp_path / "a.tar").write_bytes(flipped(body, 1_500_000))
    split, lost, _ = looked_through(tmp_path, index)
    (tmp_path / "a.tar").write_bytes(body)
    assert_the_rest_is_right(split, lost, noise, 40)


def test_what_remains_is_other_data_by_its_fingerprint(tmp_path: Path) -> None:
    index = write_split(tmp_path, (8, 8), seed=5)
    prints = {index.without(lost).fingerprint for lost in ({}, {0: [1]}, {0: [2]}, {1: [1]}, {0: [1, 2]})}
    assert len(prints) == 5
    assert index.without({}).fingerprint == index.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-30],
        lambda text: "[" * 100_000,
        lambda text: text.replace('"id": 9,', '"id": 2,'),
        lambda text: text.replace('"id": 9,', '"id": "9",'),
        lambda text: text.replace('"num_lost": 4', '"num_lost": 3'),
        lambda text: text.replace("part-000001.tar", "../part-000001.tar"),
        lambda text: text.replace("aedist-quarantine-1", "aedist-quarantine-2"),
        lambda text: '{"format": "aedist-quarantine-1", "splits": {"%s": 3}}',
    ],
)
def test_a_damaged_list_is_refused_in_a_line(tmp_path: Path, change: Callable[[str], str]) -> None:
    index = write_odd(tmp_path / "train")
    split, path = Split(tmp_path / "train", index), tmp_path / "quarantine.json"
    text = spell(describe([(split, look_through(split, 0, 1, alone, 1, lambda _: None))]))
    changed = change(text).replace("%s", "train")
    assert changed != text
    path.write_text(changed)
    with pytest.raises(UserError, match=r"quarantine.json") as told:
        without_lost(split, read_quarantine(path), path)
    assert "\n" not in str(told.value)


# whole runs


def damage_in_the_middle(shards: Path) -> None:
    """A broken header, a missing shard, and an image that is none though the sum is right."""
    train = shards / "train"
    path = train / "part-000002.tar"
    path.write_bytes(flipped(path.read_bytes(), 700))
    (train / "part-000000.tar").unlink()


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    shards = tmp_path / "blobs"
    write_split(shards / "train", (10, 3, 12, 7, 1, 14, 40), seed=1)
    write_split(shards / "test", (20, 3), seed=2)
    damage_in_the_middle(shards)
    body = (shards / "test" / "part-000001.tar").read_bytes()
    (shards / "test" / "part-000001.tar").write_bytes(body[: len(body) // 2])
    return shards


CUTS = {
    "in the first header": 0.001, "in a header": None, "in an image": 0.3, "between members": -1, "in the end": 0.95,
    "half": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
def test_row_12_strict_a_truncated_shard_stops_the_run_before_step_0(tmp_path: Path, cut: str) -> None:
    shards, directory = tmp_path / "blobs", tmp_path / "run"
    write_split(shards / "train", (12, 12), seed=1)
    write_split(shards / "test", (4,), seed=2)
    path = shards / "train" / "part-000001.tar"
    body = path.read_bytes()
    header = list(members(body, "it"))[9].header_offset
    share = CUTS[cut]
    end = header + 100 if share is None else header if share < 0 else int(len(body) * share)
    path.write_bytes(body[:end])
    config = write_config(tmp_path / "c.yaml", shards, directory)
    launched = launch(tmp_path, 1, "train", config)
    assert launched.wait() == [2]
    assert f"{path}: has another length than the index says: {end} bytes, not {len(body)}" in launched.text()
    assert not (directory / "ledger").exists()


def test_row_14_strict_a_missing_shard_stops_the_run_before_step_0(tmp_path: Path) -> None:
    shards, directory = tmp_path / "blobs", tmp_path / "run"
    write_split(shards / "train", (12, 12), seed=1)
    write_split(shards / "test", (4,), seed=2)
    (shards / "train" / "part-000001.tar").unlink()
    launched = launch(tmp_path, 2, "train", write_config(tmp_path / "c.yaml", shards, directory))
    assert launched.wait() == [2, 2]
    assert "part-000001.tar: is missing" in launched.text()
    assert not (directory / "ledger").exists()


@pytest.mark.parametrize("mode", ["stream", "resident"])
def test_row_13_strict_a_flipped_bit_stops_both_processes_and_is_named(tmp_path: Path, mode: str) -> None:
    shards, directory = tmp_path / "blobs", tmp_path / "run"
    write_split(shards / "train", (12, 12), seed=1)
    write_split(shards / "test", (4,), seed=2)
    path = shards / "train" / "part-000001.tar"
    place = next(m for m in members(path.read_bytes(), "it") if m.name == "00017.png")
    path.write_bytes(flipped(path.read_bytes(), place.offset + place.size // 2))
    config = write_config(tmp_path / "c.yaml", shards, directory, data={"mode": mode})
    launched = launch(tmp_path, 2, "train", config)
    codes = launched.wait()
    assert 2 in codes
    assert 0 not in codes
    text = launched.text(0) + launched.text(1)
    assert f"{path}: is damaged between bytes 0 and " in text
    assert f"00017.png at byte {place.offset}" in text


def test_quarantine_trains_the_same_steps_on_any_number_of_processes_and_lists_every_lost_sample(
    tmp_path: Path, damaged: Path
) -> None:
    sets = {"data": {"on_error": "quarantine"}, "train": {"epochs": 2, "reduce": "exact"}}
    states, told = [], []
    for world, mode in ((1, "stream"), (2, "resident"), (3, "stream")):
        directory = tmp_path / f"run-{world}"
        config = write_config(tmp_path / "c.yaml", damaged, directory, **sets)
        run(tmp_path, world, "train", config, f"data.mode={mode}", f"data.workers={world - 1}")
        states.append(state_bytes(directory))
        told.append((directory / "quarantine.json").read_text())
    assert states[0] == states[1] == states[2]
    assert told[0] == told[1] == told[2]
    splits = json.loads(told[0])["splits"]
    # of the small shards each is one MiB, so one flipped bit leaves nothing of it that is proved
    assert {one["id"] for one in splits["train"]["lost"]} == {*range(10), *range(13, 25)}
    assert {one["id"] for one in splits["test"]["lost"]} == {20, 21, 22}
    assert all(one["why"] and one["shard"] for split in splits.values() for one in split["lost"])
    found, steps = ledger(tmp_path / "run-3"), 2 * (65 // 12)
    assert sorted(set(found["step"].tolist())) == list(range(steps))
    assert found["sample_ids"].max() < 65
    evaluation = [record for record in records(tmp_path / "run-1") if record["kind"] == "evaluation"]
    assert all(record["num_images"] == 20 for record in evaluation)


def test_quarantine_goes_on_evaluates_and_verifies_by_the_list_that_it_began_with(
    tmp_path: Path, damaged: Path
) -> None:
    directory = tmp_path / "run"
    config = write_config(tmp_path / "c.yaml", damaged, directory, data={"on_error": "quarantine"})
    launched = run(tmp_path, 1, "train", config, "train.epochs=1")
    assert "22 of 87 samples, in 2 shards, cannot be used and are left out" in launched.text()
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["data"]["num_samples"] == 65
    launched = run(tmp_path, 2, "train", config, "train.epochs=2")
    assert "looking through" not in launched.text(), "the list is there"
    run(tmp_path, 2, "evaluate", directory, "evaluate.fid_images=0")
    record = json.loads((directory / "evaluation" / "comprehensive_evaluation.json").read_text())
    assert (record["data"]["num_images"], record["data"]["left_out"]) == (20, 3)
    assert all(math.isfinite(block["mean"]) for block in record["metrics"].values())
    verified = verify_run(directory, hash_shards=True)
    assert verified.verdict == "proven", verified.lines
    assert "22 of 87 samples are left out, quarantine.json says why" in "\n".join(verified.lines)
    # without the list, or with another, it is another run's data
    text = (directory / "quarantine.json").read_text()
    (directory / "quarantine.json").unlink()
    assert verify_run(directory).verdict == "wrong"
    changed = text.replace('"id": 13,', '"id": 12,', 1)
    (directory / "quarantine.json").write_text(changed)
    assert verify_run(directory).verdict == "wrong"
    launched = launch(tmp_path, 1, "train", config, "train.epochs=3")
    assert launched.wait() == [2]
    assert "quarantine.json: is damaged" in launched.text()


def test_strict_goes_not_on_where_quarantine_began(tmp_path: Path, damaged: Path) -> None:
    directory = tmp_path / "run"
    config = write_config(tmp_path / "c.yaml", damaged, directory, data={"on_error": "quarantine"}, train={"epochs": 1})
    run(tmp_path, 1, "train", config)
    launched = launch(tmp_path, 1, "train", config, "data.on_error=strict")
    assert launched.wait() == [2]


def test_of_sound_data_quarantine_trains_what_strict_does(tmp_path: Path, shards: Path) -> None:
    states = []
    for on_error in ("strict", "quarantine"):
        directory = tmp_path / on_error
        config = write_config(tmp_path / "c.yaml", shards, directory, data={"on_error": on_error}, train={"epochs": 1})
        run(tmp_path, 1, "train", config)
        states.append(state_bytes(directory))
        assert_ledger_is_exact(directory)
    assert states[0] == states[1]
    assert json.loads((tmp_path / "quarantine" / "quarantine.json").read_text())["splits"]["train"]["lost"] == []
    assert not (tmp_path / "strict" / "quarantine.json").exists()
    assert read_index(shards / "train").num_lost == 0
