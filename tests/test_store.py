"""The store gives what was written for every id, opens no more than it must, and names any damage by its place."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aedist.data.store import ShardStore
from aedist.errors import DataDamage
from aedist.shards.index import Index, Shard, describe_bytes, read_index
from aedist.shards.tar import members
from samples import SHAPE, UNEVEN, image, png, write_split, write_tar

TOTAL = sum(UNEVEN)


def index_of(folder: Path, classes: int = 3, shape: tuple[int, int, int] = SHAPE) -> Index:
    """An index that agrees with whatever tars lie in a folder, one sample a shard."""
    shards = [Shard(path.name, 1, *describe_bytes(path)) for path in sorted(folder.glob("*.tar"))]
    return Index("blobs", "train", shape, tuple(str(number) for number in range(classes)), tuple(shards))


@pytest.fixture
def store(shards: Path) -> ShardStore:
    return ShardStore(shards / "train", read_index(shards / "train"))


def test_every_id_gives_its_pixels_label_and_key(store: ShardStore) -> None:
    ids = np.random.default_rng(3).permutation(TOTAL)
    images = store.read_images(ids)
    assert images.shape == (TOTAL, *SHAPE)
    for row, number in enumerate(ids.tolist()):
        np.testing.assert_array_equal(images[row].numpy(), image(1, number))
        assert store.label(number) == number % 3
        assert store.key(number) == f"{number:05d}"


def test_ids_may_repeat_and_may_be_none(store: ShardStore) -> None:
    np.testing.assert_array_equal(
        store.read_images([70, 0, 70])[:, 0, 0, 0], [image(1, i)[0, 0, 0] for i in (70, 0, 70)]
    )
    assert store.read_images([]).shape == (0, *SHAPE)


def test_only_the_shards_that_are_asked_for_are_opened(store: ShardStore) -> None:
    assert store.open_shards == ()
    store.read_images([45])  # the first id behind 10 + 3 + 25 + 7
    assert store.open_shards == (4,)
    store.read_images([12, 10])
    assert store.open_shards == (4, 1)


def test_a_shard_that_is_not_asked_for_need_not_even_be_there(tmp_path: Path) -> None:
    index = write_split(tmp_path, (2, 2, 2), seed=1)
    (tmp_path / index.shards[1].file).unlink()
    store = ShardStore(tmp_path, index)
    assert len(store.read_images([0, 1, 4, 5])) == 4
    with pytest.raises(DataDamage, match=r"part-000001.tar: cannot be read"):
        store.read_images([2])


def test_more_shards_than_are_kept_open(tmp_path: Path) -> None:
    index = write_split(tmp_path, [1] * 70, seed=4)
    store = ShardStore(tmp_path, index)
    for ids in (range(70), range(69, -1, -1)):
        images = store.read_images(list(ids)).numpy()
        np.testing.assert_array_equal(images, [image(4, number) for number in ids])
    assert 1 < len(store.open_shards) < 70


def test_a_sample_may_lack_a_label(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("x.png", png(image(0, 0)))])
    assert ShardStore(tmp_path, index_of(tmp_path)).label(0) is None


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_keys_longer_than_a_tar_header_holds(tmp_path: Path, form: int) -> None:
    key = "a folder/" * 20 + "ä" * 120
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
        for name, body in ((f"{key}.png", png(image(0, 0))), (f"{key}.cls", b"2")):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    store = ShardStore(tmp_path, index_of(tmp_path))
    assert store.key(0) == key
    assert store.label(0) == 2
    np.testing.assert_array_equal(store.read_images([0])[0].numpy(), image(0, 0))


def flip(path: Path, offset: int) -> None:
    body = bytearray(path.read_bytes())
    body[offset] ^= 0x10
    path.write_bytes(body)


def place_of(path: Path, name: str) -> tuple[int, int, int]:
    """(offset of the header, offset of the bytes, how many) of a member."""
    return next((m.header_offset, m.offset, m.size) for m in members(path.read_bytes(), "test") if m.name == name)


def cut_in_a_header(path: Path) -> str:
    header, *_ = place_of(path, "00007.png")
    path.write_bytes(path.read_bytes()[: header + 100])
    return f"at byte {header}.*00007.cls"


def cut_in_an_image(path: Path) -> str:
    header, offset, _ = place_of(path, "00007.png")
    path.write_bytes(path.read_bytes()[: offset + 20])
    return f"at byte {header}.*00007.cls.*cut short"


def cut_between_samples(path: Path) -> str:
    header, *_ = place_of(path, "00008.cls")
    path.write_bytes(path.read_bytes()[:header])
    return f"bytes long.*at byte {header}.*00007.png.*end-of-archive"


def flip_a_header(path: Path) -> str:
    header, *_ = place_of(path, "00007.png")
    flip(path, header + 3)
    return f"at byte {header}.*behind 00007.cls.*checksum"


def flip_an_image(path: Path) -> str:
    _, offset, size = place_of(path, "00007.png")
    flip(path, offset + size // 2)
    return f"00007.png at byte {offset}"


def flip_a_label(path: Path) -> str:
    _, offset, _ = place_of(path, "00007.cls")
    body = bytearray(path.read_bytes())
    body[offset] ^= 0x80
    path.write_bytes(body)
    return f"00007.cls at byte {offset}"


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return "part-000000.tar: (is empty|cannot be read)"


def remove(path: Path) -> str:
    path.unlink()
    return "part-000000.tar: cannot be read"


@pytest.mark.parametrize(
    "damage",
    [cut_in_a_header, cut_in_an_image, cut_between_samples, flip_a_header, flip_an_image, flip_a_label, empty, remove],
)
def test_damage_is_found_before_any_sample_of_the_shard_is_given(tmp_path: Path, damage: Callable[[Path], str]) -> None:
    """One line with the shard, the offset and the key, also when asked for a sample whose own bytes are sound."""
    index = write_split(tmp_path, (12, 4), seed=1)
    pattern = damage(tmp_path / "part-000000.tar")
    store = ShardStore(tmp_path, index)
    with pytest.raises(DataDamage, match=pattern) as told:
        store.read_images([0])
    assert str(told.value).startswith(str(tmp_path / "part-000000.tar"))
    assert "\n" not in str(told.value)
    assert len(store.read_images([12])) == 1, "the other shard is sound"


def test_a_changed_label_that_still_is_one_is_found_by_the_sha256(tmp_path: Path) -> None:
    index = write_split(tmp_path, (12,), seed=1)
    _, offset, _ = place_of(tmp_path / "part-000000.tar", "00007.cls")
    body = bytearray((tmp_path / "part-000000.tar").read_bytes())
    body[offset] = ord("0") if body[offset] != ord("0") else ord("2")
    (tmp_path / "part-000000.tar").write_bytes(body)
    with pytest.raises(DataDamage, match="damaged between bytes 0 and "):
        ShardStore(tmp_path, index).label(0)


def test_an_index_that_disagrees_is_refused(tmp_path: Path) -> None:
    index = write_split(tmp_path, (5,), seed=1)
    (shard,) = index.shards
    for wrong, words in (
        (replace(shard, samples=6), "holds 5 samples, the index says 6"),
        (replace(shard, samples=4), "holds 5 samples, the index says 4"),
        (replace(shard, sha256=hashlib.sha256(b"").hexdigest()), "the index itself is wrong"),
    ):
        with pytest.raises(DataDamage, match=words):
            ShardStore(tmp_path, replace(index, shards=(wrong,))).read_images([0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cls": b"1"}, "it has 0 images"),
        ({"png": png(image(0, 0)), "jpg": b"x"}, "it has 2 images"),
        ({"png": png(image(0, 0)), "pth": b"x"}, ".pth is not read"),
        ({"png": b"no image"}, "sample.png"),
        ({"png": png(image(0, 0, (14, 12, 1)))}, "is 14 x 12, but the data set's images are 12 x 12"),
    ],
)
def test_a_sample_that_cannot_be_read_is_named_though_the_sha256_is_right(
    tmp_path: Path, fields: dict[str, bytes], words: str
) -> None:
    write_tar(tmp_path / "a.tar", [(f"a/sample.{name}", body) for name, body in fields.items()])
    with pytest.raises(DataDamage, match=words) as told:
        ShardStore(tmp_path, index_of(tmp_path)).read_images([0])
    first = place_of(tmp_path / "a.tar", f"a/sample.{next(iter(fields))}")
    assert str(tmp_path / "a.tar") in str(told.value)
    assert "a/sample" in str(told.value)
    assert any(f"byte {offset}:" in str(told.value) for offset in first[:2])


@pytest.mark.parametrize("label", [b"3", b"-1", b"one", b"", b"1.0"])
def test_a_label_that_is_no_class_of_the_index_is_named(tmp_path: Path, label: bytes) -> None:
    write_tar(tmp_path / "a.tar", [("s.png", png(image(0, 0))), ("s.cls", label)])
    store = ShardStore(tmp_path, index_of(tmp_path, classes=3))
    assert len(store.read_images([0])) == 1
    with pytest.raises(DataDamage, match=f"a.tar: byte {place_of(tmp_path / 'a.tar', 's.cls')[1]}: s.cls: "):
        store.label(0)


def test_a_shard_is_compared_with_its_sha256_once_for_all_workers_of_a_process(tmp_path: Path) -> None:
    """The note that workers share is what spares the second comparison, and it is set by a right shard only."""
    import torch

    index = write_split(tmp_path, (3, 3), seed=1)
    verified = torch.zeros(2, dtype=torch.uint8)
    ShardStore(tmp_path, index, verified).read_images([0])
    assert verified.tolist() == [1, 0]
    flip(tmp_path / "part-000001.tar", place_of(tmp_path / "part-000001.tar", "00004.png")[1] + 40)
    with pytest.raises(DataDamage, match=r"00004.png"):
        ShardStore(tmp_path, index, verified).read_images([3])
    assert verified.tolist() == [1, 0]
    body = (tmp_path / "part-000000.tar").read_bytes()
    (tmp_path / "part-000000.tar").write_bytes(body + bytes(512))
    assert len(ShardStore(tmp_path, index, verified).read_images([0])) == 1
