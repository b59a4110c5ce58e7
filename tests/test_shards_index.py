"""Shards that others wrote get the index that they deserve, or are refused by the sample that is at fault."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from aedist.errors import UserError
from aedist.shards.describe import index_folder
from aedist.shards.fields import class_number, image_size
from aedist.shards.index import read_index

GREY, COLOUR = "L", "RGB"


def ignore(_: str) -> None:
    """Nobody listens."""


def picture(mode: str = COLOUR, size: tuple[int, int] = (6, 4), kind: str = "JPEG") -> bytes:
    """An image file, ``size`` being (width, height)."""
    stream = io.BytesIO()
    Image.new(mode, size, 100).save(stream, kind)
    return stream.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_shards_of_the_stock_writer_are_described(tmp_path: Path):
    """Splits share the classes and the shape, colour where any image is."""
    data = tmp_path / "photos"
    for split, modes, classes in (("train", [GREY, COLOUR, COLOUR], [0, 4, 1]), ("val", [GREY], [2])):
        (data / split).mkdir(parents=True)
        with webdataset.ShardWriter(str(data / split / "s-%03d.tar"), maxcount=2, verbose=0) as writer:
            for number, (mode, label) in enumerate(zip(modes, classes, strict=True)):
                writer.write({"__key__": f"k{number}", "jpg": picture(mode), "cls": label, "json": {"a": 1}})
    (data / "README.md").touch()
    said: list[str] = []
    paths = index_folder(data, said.append)
    assert paths == [data / "train" / "index.json", data / "val" / "index.json"]
    train, val = (read_index(path.parent) for path in paths)
    assert (train.name, train.split, val.name, val.split) == ("photos", "train", "photos", "val")
    assert [(shard.file, shard.samples) for shard in train.shards] == [("s-000.tar", 2), ("s-001.tar", 1)]
    assert train.image_shape == val.image_shape == (4, 6, 3)
    assert train.classes == val.classes == ("0", "1", "2", "3", "4")
    for shard in train.shards:
        raw = (data / "train" / shard.file).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(raw), hashlib.sha256(raw).hexdigest())
    assert len(said) == 5


def test_a_folder_of_tars_is_one_split_and_needs_no_classes(tmp_path: Path):
    write_tar(tmp_path / "grey" / "a.tar", [("1.png", picture(GREY, kind="PNG")), ("2.png", picture("1", kind="PNG"))])
    assert index_folder(tmp_path / "grey", ignore) == [tmp_path / "grey" / "index.json"]
    index = read_index(tmp_path / "grey")
    assert (index.name, index.split, index.image_shape, index.classes) == ("grey", "grey", (4, 6, 1), ())


@pytest.mark.parametrize("extension", ["pkl", "pyd", "pth", "pt", "npy", "npz", "tar", "jpg.pkl", "gz", "txt.gz"])
def test_fields_that_a_reader_might_run_are_refused_by_name(tmp_path: Path, extension: str):
    write_tar(tmp_path / "a.tar", [("1.jpg", picture()), ("2.jpg", picture()), (f"2.{extension}", b"cos\nsystem\n")])
    with pytest.raises(UserError, match=rf"a\.tar: byte \d+: sample 2: \.{extension} is not read"):
        index_folder(tmp_path, ignore)
    assert not (tmp_path / "index.json").exists()


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("2.txt", b"words")], "sample 2: it has 0 images"),
        ([("2.jpg", picture()), ("2.png", picture(kind="PNG"))], "sample 2: it has 2 images"),
        ([("2.jpg", picture(size=(6, 5))), ("2.cls", b"0")], "sample 2: is 5 x 6, but .*sample 1 is 4 x 6"),
        ([("2.jpg", picture())], "sample 2: has no .cls"),
        ([("2.jpg", picture(kind="PNG")), ("2.cls", b"0")], "sample 2: "),
        ([("2.png", picture()), ("2.cls", b"0")], "sample 2: it does not begin as a PNG"),
        ([("2.png", picture("RGBA", kind="PNG")), ("2.cls", b"0")], "sample 2: it has 16 bits or transparency"),
        ([("2.png", picture("I;16", kind="PNG")), ("2.cls", b"0")], "sample 2: it has 16 bits or transparency"),
        ([("2.jpg", picture("CMYK")), ("2.cls", b"0")], "sample 2: its colours are"),
        ([("2.jpg", b""), ("2.cls", b"0")], "sample 2: "),
        ([("2.jpg", picture()), ("2.cls", b"cat")], "sample 2: .cls holds b'cat'"),
        ([("2.jpg", picture()), ("2.cls", b"")], "sample 2: .cls holds b''"),
        ([("2.jpg", picture()), ("2.cls", b"100000")], "sample 2: .cls holds b'100000'"),
        ([("2.jpg", picture()), ("1.cls", b"0")], "key '1' stands in two places"),
    ],
)
def test_the_sample_at_fault_is_named(tmp_path: Path, members: list[tuple[str, bytes]], why: str):
    write_tar(tmp_path / "a.tar", [("1.jpg", picture()), ("1.cls", b"3"), *members])
    with pytest.raises(UserError, match=why) as caught:
        index_folder(tmp_path, ignore)
    assert "a.tar" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "index.json").exists()


def test_splits_of_different_sizes_are_refused(tmp_path: Path):
    write_tar(tmp_path / "train" / "a.tar", [("1.jpg", picture())])
    write_tar(tmp_path / "val" / "a.tar", [("9.jpg", picture(size=(8, 8)))])
    with pytest.raises(UserError, match=r"val/a\.tar: byte 0: sample 9: is 8 x 8, but .*train/a\.tar: .* is 4 x 6"):
        index_folder(tmp_path, ignore)
    assert not list(tmp_path.rglob("index.json"))


def test_damaged_and_empty_tars_are_refused(tmp_path: Path):
    write_tar(tmp_path / "cut" / "a.tar", [("1.jpg", picture()), ("2.jpg", picture())])
    whole = (tmp_path / "cut" / "a.tar").read_bytes()
    for content, why in ((whole[:1500], "cut short"), (b"", "is empty"), (bytes(10240), "holds no sample")):
        (tmp_path / "cut" / "a.tar").write_bytes(content)
        with pytest.raises(UserError, match=why):
            index_folder(tmp_path / "cut", ignore)


def test_folders_without_shards_are_told_what_is_wanted(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder"):
        index_folder(tmp_path / "missing", ignore)
    with pytest.raises(UserError, match=r"holds no \.tar"):
        index_folder(tmp_path, ignore)
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(UserError, match=r"unpack a\.tar\.gz first"):
        index_folder(tmp_path, ignore)
    write_tar(tmp_path / "a.tar", [("1.jpg", picture())])
    write_tar(tmp_path / "val" / "a.tar", [("1.jpg", picture())])
    with pytest.raises(UserError, match="a folder of its own"):
        index_folder(tmp_path, ignore)


def test_another_index_is_written_over_only_by_force(tmp_path: Path):
    write_tar(tmp_path / "a.tar", [("1.jpg", picture())])
    (path,) = index_folder(tmp_path, ignore)
    right = path.read_bytes()
    index_folder(tmp_path, ignore)  # the same once more is no conflict
    for other in (b"{}", json.dumps(json.loads(right) | {"name": "other"}).encode()):
        path.write_bytes(other)
        with pytest.raises(UserError, match=r"says something else.*--force"):
            index_folder(tmp_path, ignore)
        assert path.read_bytes() == other
        index_folder(tmp_path, ignore, force=True)
        assert path.read_bytes() == right


def test_names_that_lead_away_write_nothing_there(tmp_path: Path):
    inner = tmp_path / "inner"
    write_tar(inner / "a.tar", [("../escaped.jpg", picture()), (f"{tmp_path}/absolute.jpg", picture())])
    index_folder(inner, ignore)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "index.json", "inner"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_image_sizes_by_the_header_are_those_of_the_decoded_image(mode: str, kind: str):
    if (mode, kind) in (("1", "JPEG"), ("P", "JPEG")):
        mode = GREY
    raw = picture(mode, (7, 3), kind)
    with Image.open(io.BytesIO(raw)) as image:
        channels = 1 if image.mode in ("1", "L") else 3
        assert image_size(raw, kind.lower()) == (*np.asarray(image.convert("L")).shape, channels)


def test_class_numbers_may_end_in_a_line_feed_and_nothing_else():
    assert (class_number(b"0"), class_number(b"12\n"), class_number(b"99999")) == (0, 12, 99999)
    for wrong in (b"-1", b"1.0", b"1e3", b"0x1", b"1 2", b"1_0", b"\xd9\xa1", b"1" * 5000):
        with pytest.raises(ValueError, match="a class is a whole number"):
            class_number(wrong)
