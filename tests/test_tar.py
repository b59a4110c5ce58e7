"""The tar scanner reads what ``tarfile`` reads, and never silently less of a damaged tar."""

import io
import pickle
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aedist.errors import UserError
from aedist.shards.tar import BLOCK, Member, TarDamage, mapped, members, samples

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def make_tar(files: dict[str, bytes], kind: str = "ustar") -> bytes:
    """A tar that the standard library writes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=FORMATS[kind]) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def scan(data: bytes) -> list[tuple[str, bytes]]:
    return [(member.name, data[member.offset : member.offset + member.size]) for member in members(data, "it")]


def scan_with_tarfile(data: bytes) -> list[tuple[str, bytes]]:
    """The independent reference."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar if info.isreg()]


def structure(data: bytes) -> list[Member] | TarDamage:
    """What the scanner makes of these bytes; any other exception is a fault."""
    try:
        return list(members(data, "it"))
    except TarDamage as damage:
        return damage


def with_checksum(header: bytes) -> bytes:
    """The header with the checksum that its bytes call for."""
    total = sum(header) - sum(header[148:156]) + 8 * 32
    return header[:148] + b"%06o\0 " % total + header[156:]


FILES = {"000001.png": b"p" * 700, "000001.cls": b"3", "000002.png": b"", "000002.cls": b"4"}
SMALL = make_tar(FILES)


@pytest.mark.parametrize("kind", FORMATS)
def test_members_are_those_that_tarfile_reads(kind: str):
    data = make_tar(FILES, kind)
    assert scan(data) == scan_with_tarfile(data) == list(FILES.items())


@pytest.mark.parametrize(
    ("kind", "name", "marked"),
    [
        ("gnu", "folder/" + "n" * 150 + ".png", b"././@LongLink"),
        ("pax", "folder/" + "n" * 150 + ".png", b" path="),
        ("pax", "grün/ß.png", b" path="),
        ("ustar", "/".join(["f" * 60, "g" * 60, "key.png"]), b"\0" + b"f" * 60 + b"\0"),
    ],
)
def test_long_names_of_every_format(kind: str, name: str, marked: bytes):
    data = make_tar({name: b"long", "short.png": b"next"}, kind)
    assert marked in data  # the writer did use the extension that this case is about
    assert scan(data) == scan_with_tarfile(data) == [(name, b"long"), ("short.png", b"next")]


def extended(kind: bytes, records: bytes) -> bytes:
    """An extended header of a tar, with its body."""
    head = tarfile.TarInfo("extended")
    head.type, head.size = kind, len(records)
    return head.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % BLOCK)


def test_pax_size_overrides_the_header_of_the_next_member_and_of_no_other():
    a, b, end = make_tar({"a.png": b"x" * 600})[: 3 * BLOCK], make_tar({"b.png": b"y" * 5})[: 2 * BLOCK], bytes(1024)
    a = with_checksum(a[:124] + b"%011o\0" % 7 + a[136:BLOCK]) + a[BLOCK:]  # a header that understates
    data = extended(tarfile.XHDTYPE, b"12 size=600\n") + a + b + end
    assert scan(data) == scan_with_tarfile(data) == [("a.png", b"x" * 600), ("b.png", b"y" * 5)]


def test_base_256_sizes():
    header = with_checksum(SMALL[:124] + b"\x80" + (700).to_bytes(11, "big") + SMALL[136:BLOCK])
    data = header + SMALL[BLOCK:]
    assert data != SMALL
    assert scan(data) == scan_with_tarfile(data) == list(FILES.items())


def test_folders_are_passed_over_and_other_kinds_refused():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        folder, link = tarfile.TarInfo("sub"), tarfile.TarInfo("link.png")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(folder)
        inside = tarfile.TarInfo("sub/1.png")
        inside.size = 3
        tar.addfile(inside, io.BytesIO(b"abc"))
        without_link = stream.getvalue() + bytes(2 * BLOCK)
        tar.addfile(link)
    assert scan(without_link) == [("sub/1.png", b"abc")]
    with pytest.raises(TarDamage, match="type b'2'"):
        scan(stream.getvalue())


def test_cutting_never_loses_a_sample_silently():
    """Every block boundary, and cuts inside headers, payloads and fillings."""
    mark = SMALL.index(bytes(2 * BLOCK))
    mark += -mark % BLOCK
    whole = samples(SMALL, "it")
    assert len(whole) == 2
    cuts = {*range(0, len(SMALL), BLOCK), *range(1, mark + BLOCK, 97), mark + BLOCK - 1}
    seen_damage = 0
    for cut in sorted(cuts):
        if cut < mark + BLOCK:
            with pytest.raises(TarDamage) as caught:
                samples(SMALL[:cut], "it")
            assert caught.value.offset <= cut
            seen_damage += 1
        else:
            assert samples(SMALL[:cut], "it") == whole
    assert seen_damage > 20


def test_every_changed_byte_of_every_header_is_found_at_its_offset():
    """But for the checksum's own filling, which may be 0 or blank before it, and blank or NUL behind."""
    whole = list(members(SMALL, "it"))
    harmless = 0
    for member in whole:
        for place in range(BLOCK):
            for flip in (0x01, 0x10, 0x20, 0xFF):
                data = bytearray(SMALL)
                data[member.header_offset + place] ^= flip
                found = structure(bytes(data))
                if isinstance(found, TarDamage):
                    assert found.offset == member.header_offset
                else:
                    assert found == whole
                    assert place in (148, 154, 155)
                    assert data[member.header_offset + place] in b" \0"
                    harmless += 1
    assert harmless == 3 * len(whole)


def test_a_zeroed_header_is_not_the_end_of_the_tar():
    second = list(members(SMALL, "it"))[1].header_offset
    data = SMALL[:second] + bytes(BLOCK) + SMALL[second + BLOCK :]
    assert len(scan_with_tarfile(data)) == 1  # which is what makes this fault a silent one elsewhere
    with pytest.raises(TarDamage, match="more bytes behind") as caught:
        scan(data)
    assert caught.value.offset == second


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (b"7 size=\n", "PAX"),
        (b"99999999999999999999 size=1\n", "record's length"),
        (b"9" * 5000 + b" size=1\n", "record's length"),
        (b"11 size=-1\n", "PAX size"),
        (b"5015 size=" + b"9" * 5004 + b"\n", "PAX size"),
        (b"13 size=\xd9\xa1\xd9\xa2\n", "PAX size"),
        (b"22 GNU.sparse.major=1\n", "sparse"),
    ],
)
def test_nonsense_in_a_pax_header_is_damage_not_a_fault(records: bytes, why: str):
    with pytest.raises(TarDamage, match=why):
        scan(extended(tarfile.XHDTYPE, records) + SMALL)


def test_a_global_header_may_remark_but_not_rename():
    assert scan(extended(tarfile.XGLTYPE, b"13 comment=c\n") + SMALL) == list(FILES.items())
    with pytest.raises(TarDamage, match="global"):
        scan(extended(tarfile.XGLTYPE, b"10 path=a\n") + SMALL)


def test_samples_are_grouped_by_the_first_dot_of_the_base_name():
    names = ["a.b/1.PNG", "a.b/1.seg.txt", "1.png", "README", ".hidden"]
    found = samples(make_tar(dict.fromkeys(names, b"-")), "it")
    assert [(sample.key, list(sample.fields)) for sample in found] == [("a.b/1", ["png", "seg.txt"]), ("1", ["png"])]


@pytest.mark.parametrize(
    ("names", "why"),
    [(["1.png", "1.PNG"], "twice"), (["1.png", "2.png", "1.cls"], "two places")],
)
def test_ambiguous_samples_are_refused(names: list[str], why: str):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(TarDamage, match=why):
        samples(stream.getvalue(), "it")


def test_names_that_lead_away_stay_names(tmp_path: Path):
    """A key is what stands in the tar; nothing is opened or written by it."""
    names = ["../../escaped.png", "/absolute/key.png"]
    (tmp_path / "shard.tar").write_bytes(make_tar(dict.fromkeys(names, b"-")))
    with mapped(tmp_path / "shard.tar") as data:
        assert [sample.key for sample in samples(data, "it")] == ["../../escaped", "/absolute/key"]
    assert [path.name for path in tmp_path.iterdir()] == ["shard.tar"]


def test_mapping_what_is_no_shard_is_told_in_a_line(tmp_path: Path):
    (tmp_path / "empty.tar").touch()
    for name, why in (("empty.tar", "is empty"), ("missing.tar", "cannot be read")):
        with pytest.raises(UserError, match=why), mapped(tmp_path / name):
            pass


def test_damage_survives_the_way_out_of_a_worker():
    damage = pickle.loads(pickle.dumps(TarDamage("a.tar", 512, "it is broken")))
    assert (str(damage), damage.offset) == (str(TarDamage("a.tar", 512, "it is broken")), 512)


_NAMES = st.text("abcdefghä.-_ /", min_size=1, max_size=180).filter(lambda name: not name.endswith("/"))


@given(st.dictionaries(_NAMES, st.binary(max_size=1500), max_size=5), st.sampled_from(["gnu", "pax"]))
def test_any_names_and_sizes_are_read_as_tarfile_reads_them(files: dict[str, bytes], kind: str):
    data = make_tar(files, kind)
    assert scan(data) == scan_with_tarfile(data)


@given(st.binary(max_size=3 * BLOCK), st.integers(0, 2**20))
def test_any_bytes_are_damage_or_members_that_lie_inside(junk: bytes, place: int):
    at = place % len(SMALL) // BLOCK * BLOCK
    data = SMALL[:at] + junk + SMALL[at:]
    found = structure(data)
    if isinstance(found, TarDamage):
        assert 0 <= found.offset <= len(data)
    else:
        assert all(BLOCK <= member.offset <= member.offset + member.size <= len(data) for member in found)


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_damage_or_the_same_structure(changes: list[tuple[int, int]]):
    data = bytearray(SMALL)
    for place, value in changes:
        data[place] = value
    found = structure(bytes(data))
    assert isinstance(found, TarDamage) or found == list(members(SMALL, "it"))
