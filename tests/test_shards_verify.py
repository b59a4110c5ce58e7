"""Damage of any kind to any shard is found, told in a line a shard, and placed as closely as its bytes allow."""

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aedist.errors import UserError
from aedist.shards.damage import explain_damage
from aedist.shards.describe import index_folder
from aedist.shards.index import CHUNK_BYTES, describe_bytes, read_index, write_index
from aedist.shards.png import encode_png
from aedist.shards.tar import BLOCK, Member, members
from aedist.shards.verify import verify_folder

SIDE, SAMPLES = 64, 90  # 12 kB an image, so that a shard is a little longer than a MiB


def ignore(_: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split of two PNG shards of two stretches of a MiB each."""
    folder = tmp_path_factory.mktemp("original")
    rng = np.random.Generator(np.random.PCG64(1))
    for shard in range(2):
        with tarfile.open(folder / f"s-{shard}.tar", "w") as tar:
            for number in range(SAMPLES):
                image = encode_png(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
                for extension, content in (("cls", b"1"), ("png", image)):
                    info = tarfile.TarInfo(f"{number:03d}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    index_folder(folder, ignore)
    assert [len(shard.crc32_per_mib) for shard in read_index(folder).shards] == [2, 2]
    return folder


@pytest.fixture
def split(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "split"))


def all_members(path: Path) -> list[Member]:
    return list(members(path.read_bytes(), str(path)))


def flip(path: Path, offset: int, mask: int = 0x01) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)


def explanation(split: Path, shard: int = 0) -> str:
    described = read_index(split).shards[shard]
    line = explain_damage(split / described.file, described)
    assert "\n" not in line
    return line


def test_whole_shards_are_counted(split: Path):
    said: list[str] = []
    assert verify_folder(split, said.append) == 2 * SAMPLES
    assert [line.rpartition(": ")[2] for line in said] == [f"{SAMPLES} samples are right"] * 2


def test_every_split_of_a_folder_is_checked(split: Path):
    shutil.copytree(split, split.parent / "other")
    assert verify_folder(split.parent, ignore) == 4 * SAMPLES


def test_all_damaged_shards_are_told_before_it_is_refused(split: Path):
    flip(split / "s-0.tar", 5000)
    (split / "s-1.tar").unlink()
    (split / "stray.tar").touch()
    said: list[str] = []
    with pytest.raises(UserError) as caught:
        verify_folder(split, said.append)
    lines = str(caught.value).splitlines()
    assert lines == said
    assert ["s-0.tar: is damaged" in lines[0], "s-1.tar: cannot be read" in lines[1]] == [True, True]
    assert "stray.tar: is not in the index" in lines[2]


@pytest.mark.parametrize("number", [0, 1, 77, 2 * SAMPLES - 1])
def test_a_changed_header_is_placed_to_the_byte(split: Path, number: int):
    member = all_members(split / "s-0.tar")[number]
    flip(split / "s-0.tar", member.header_offset + 3)
    line = explanation(split)
    assert f"at byte {member.header_offset}" in line
    assert "checksum" in line
    with pytest.raises(UserError, match=f"at byte {member.header_offset}"):
        verify_folder(split, ignore)


@pytest.mark.parametrize("number", [1, 77, 2 * SAMPLES - 1])
@pytest.mark.parametrize("place", [0, 20, 6000, -1])
def test_a_changed_image_is_named(split: Path, number: int, place: int):
    """In its signature, its header, its pixels, its last chunk."""
    member = all_members(split / "s-0.tar")[number]
    offset = member.offset + place % member.size
    flip(split / "s-0.tar", offset)
    line = explanation(split)
    start = offset // CHUNK_BYTES * CHUNK_BYTES
    assert f"is damaged between bytes {start} and " in line
    assert f"{member.name} at byte {member.offset}: " in line


def test_a_changed_class_is_named_where_it_is_no_number_and_placed_where_it_is(split: Path):
    member = next(m for m in all_members(split / "s-0.tar") if m.offset > CHUNK_BYTES and m.name.endswith(".cls"))
    flip(split / "s-0.tar", member.offset, 0x40)
    assert f"{member.name} at byte {member.offset}: .cls holds b'q'" in explanation(split)
    flip(split / "s-0.tar", member.offset, 0x40 ^ 0x02)
    line = explanation(split)
    assert "one of the members" in line
    assert f"between bytes {CHUNK_BYTES} and " in line
    with pytest.raises(UserError, match="one of the members"):
        verify_folder(split, ignore)


def test_changes_in_several_stretches_are_counted_and_the_first_is_placed(split: Path):
    first, *_, last = (m for m in all_members(split / "s-0.tar") if m.name.endswith(".png"))
    flip(split / "s-0.tar", first.offset + 100)
    flip(split / "s-0.tar", last.offset + 100)
    line = explanation(split)
    assert "between bytes 0 and 1048576 (and in 1 more MiB)" in line
    assert first.name in line


def test_cuts_and_additions_are_told_with_both_lengths(split: Path):
    path = split / "s-0.tar"
    whole = path.read_bytes()
    for cut in (0, 1, BLOCK, 5000, CHUNK_BYTES, CHUNK_BYTES + 700, len(whole) - BLOCK, len(whole) - 1):
        path.write_bytes(whole[:cut])
        line = explanation(split)
        assert ("is empty" if cut == 0 else f"is {cut} bytes long, not {len(whole)}, and is damaged") in line
        with pytest.raises(UserError, match="build or copy"):
            verify_folder(split, ignore)
    for cut in (5000, CHUNK_BYTES, CHUNK_BYTES + 700):
        path.write_bytes(whole[:cut])
        assert "so it was cut short" in explanation(split)
    path.write_bytes(whole + bytes(CHUNK_BYTES))
    assert "bytes long" in explanation(split)


def test_an_explanation_is_a_sentence_even_without_damage(split: Path):
    assert explanation(split).endswith("is what the index says")
    (split / "s-0.tar").unlink()
    assert "cannot be read" in explanation(split)
    shutil.copy(split / "s-1.tar", split / "s-0.tar")
    assert "is damaged between bytes 0" in explanation(split)
    described = replace(read_index(split).shards[1], sha256="0" * 64)
    assert "the index itself is wrong" in explain_damage(split / "s-1.tar", described)


def rewrite_index(split: Path, **changes: object) -> None:
    """An index that is of these very bytes, and says something else of what is in them."""
    write_index(split, replace(read_index(split), **changes))


def test_an_index_that_disagrees_with_its_shards_is_told(split: Path):
    index = read_index(split)
    for changes, why in (
        ({"image_shape": (SIDE, SIDE, 1)}, r"000\.png at byte 0: is a colour image.*\(and 89 more samples\)"),
        ({"image_shape": (SIDE, 32, 3)}, r"000\.png at byte 0: is 64 x 64"),
        ({"classes": ("only",)}, r"000\.cls at byte 0: class 1, but the index names 1"),
        ({"shards": (replace(index.shards[0], samples=7), index.shards[1])}, "holds 90 samples, the index says 7"),
    ):
        write_index(split, index)
        rewrite_index(split, **changes)
        with pytest.raises(UserError, match=why):
            verify_folder(split, ignore)
    (split / "index.json").write_text("{}")
    with pytest.raises(UserError, match="is not an index"):
        verify_folder(split, ignore)
    (split / "index.json").unlink()
    with pytest.raises(UserError, match="missing; 'aedist shards index"):
        verify_folder(split, ignore)


def test_an_image_that_was_damaged_before_it_was_indexed_is_found(split: Path):
    """Its header is right, so indexing takes it; decoding does not."""
    path = split / "s-0.tar"
    stream = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), 9).save(stream, "PNG")
    member = all_members(path)[5]
    data = bytearray(path.read_bytes())
    cut = stream.getvalue()[:60]
    data[member.offset : member.offset + member.size] = cut + bytes(member.size - len(cut))
    path.write_bytes(data)
    index = read_index(split)
    again = replace(
        index.shards[0], **dict(zip(("bytes", "sha256", "crc32_per_mib"), describe_bytes(path), strict=True))
    )
    rewrite_index(split, shards=(again, index.shards[1]))
    with pytest.raises(UserError, match=r"s-0\.tar: 002\.png at byte \d+: .*; replace it"):
        verify_folder(split, ignore)


def test_a_jpeg_that_cannot_be_read_is_named(tmp_path: Path):
    stream = io.BytesIO()
    noise = np.random.Generator(np.random.PCG64(2)).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = len(stream.getvalue())
            tar.addfile(info, io.BytesIO(stream.getvalue()))
    index_folder(tmp_path, ignore)
    member = all_members(tmp_path / "a.tar")[1]
    flip(tmp_path / "a.tar", member.offset, 0xFF)
    assert f"1.jpg at byte {member.offset}: " in explanation(tmp_path)


def test_a_folder_without_an_index_is_told_once(tmp_path: Path):
    said: list[str] = []
    with pytest.raises(UserError, match=r"index\.json: missing"):
        verify_folder(tmp_path, said.append)
    assert said == [], "the error says it"
