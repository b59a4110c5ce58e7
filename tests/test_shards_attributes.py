"""Attributes are what a JSON object says, summed up in the index, or a reason is given."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aedist.data.store import ShardStore
from aedist.errors import DataDamage, UserError
from aedist.shards.attributes import MAX_TEXTS, merge, note, parse_attributes, summarise, write_attributes
from aedist.shards.describe import index_folder
from aedist.shards.index import Index, read_index, write_index
from aedist.shards.verify import verify_folder
from samples import image, png, write_split, write_tar

VALUES = st.one_of(
    st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def ignore(_: str) -> None:
    """Nobody listens."""


@given(st.dictionaries(NAMES, VALUES))
def test_attributes_are_read_as_they_were_written(attributes: dict[str, bool | int | str]):
    raw = write_attributes(attributes)
    read = parse_attributes(raw)
    assert read == attributes
    assert [type(read[name]) for name in attributes] == [type(value) for value in attributes.values()]
    assert write_attributes(dict(reversed(attributes.items()))) == raw


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.one_of(st.binary(), ANY_JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_attributes_or_a_reason_is_given(raw: bytes):
    attributes: dict[str, bool | int | str] = {}
    with suppress(ValueError):
        attributes = parse_attributes(raw)
    assert all(type(value) in (bool, int, str) for value in attributes.values())


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[1]", "holds no object"),
        (b"", "is not read"),
        (b'{"a": 1.5}', "'a' is 1.5, but an attribute is true, false, a whole number or a text"),
        (b'{"a": null}', "'a' is None"),
        (b'{"a": {"b": 1}}', "'a' is"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1, "a": 2}', "a name stands twice"),
        (b'{"": 1}', "is no attribute"),
        (b'{"a": "\\ud800"}', "cannot be printed"),
        (b"\xff{}", "is not read"),
        (b"[" * 50_000, r"\.json"),
        (b'{"a": ' + b"1" * 6000 + b"}", "is not read"),
        (b'{"a": "' + b"x" * 2**16 + b'"}', "attributes take 65,536 at most"),
    ],
)
def test_what_is_no_attribute_is_told(raw: bytes, why: str):
    with pytest.raises(ValueError, match=why):
        parse_attributes(raw)


def test_a_summary_has_the_kind_of_each_name_and_every_text():
    parts: list[dict[str, str | set[str]]] = []
    for many in ([{"hat": True, "age": 3}, {"hat": False, "hair": "red"}], [{"hair": "black"}, {}, {"hair": "red"}]):
        parts.append({})
        for attributes in many:
            note(parts[-1], attributes)
    assert summarise(merge(parts)) == {"age": "int", "hair": ("black", "red"), "hat": "bool"}
    with pytest.raises(ValueError, match="'hat' is a whole number here and true or false in other samples"):
        note(parts[0], {"hat": 1})
    with pytest.raises(ValueError, match="'hair' is true or false here and a text in other samples"):
        merge([*parts, {"hair": "bool"}])
    with pytest.raises(ValueError, match=f"'file' has more than {MAX_TEXTS} texts"):
        merge([{"file": {str(number) for number in range(MAX_TEXTS + 1)}}])


def shard(path: Path, many: list[bytes | None]) -> None:
    members: list[tuple[str, bytes]] = []
    for number, raw in enumerate(many):
        members.append((f"{number}.png", png(image(0, number))))
        if raw is not None:
            members.append((f"{number}.json", raw))
    write_tar(path, members)


def test_the_store_gives_the_attributes_and_names_what_are_none(tmp_path: Path):
    shard(tmp_path / "a.tar", [b'{"glasses": true, "age": 4}', None, b"[1]", b'{"x": "' + b"y" * 2**17 + b'"}'])
    said: list[str] = []
    index_folder(tmp_path, said.append)
    assert any("a.tar: sample 2: .json holds no object" in line and "has no attributes" in line for line in said)
    store = ShardStore(tmp_path, read_index(tmp_path))
    assert store.attributes(0) == {"glasses": True, "age": 4}
    assert store.attributes(1) == {}
    for sample, why in ((2, "holds no object"), (3, "attributes take")):
        with pytest.raises(DataDamage, match=rf"a\.tar: byte \d+: {sample}\.json: .*{why}"):
            store.attributes(sample)
    assert verify_folder(tmp_path, ignore) == 4, "of others' shards, which promise no attributes"


def test_others_attributes_are_summed_up_and_verified(tmp_path: Path):
    shard(tmp_path / "a.tar", [b'{"glasses": true}', b'{"hair": "red"}'])
    shard(tmp_path / "b.tar", [b'{"hair": "black", "glasses": false}', None])
    index_folder(tmp_path, ignore)
    index = read_index(tmp_path)
    assert index.attributes == {"glasses": "bool", "hair": ("black", "red")}
    assert verify_folder(tmp_path, ignore) == 4
    write_index(tmp_path, replace(index, attributes={"glasses": "bool", "hair": ("red",)}))
    with pytest.raises(UserError, match=r"b\.tar: 0\.json at byte \d+: attribute 'hair' is 'black', which the index"):
        verify_folder(tmp_path, ignore)


def test_an_index_of_before_there_were_attributes_is_read_and_written_as_it_was(tmp_path: Path):
    index = write_split(tmp_path, (3, 2), seed=1)
    before = (tmp_path / "index.json").read_bytes()
    assert b"attributes" not in before
    assert b"class_ids" not in before
    assert read_index(tmp_path) == index
    more = replace(index, attributes={"a": "bool", "b": ("x", "y")}, class_ids=("n0", "n1", "n2"))
    write_index(tmp_path, more)
    assert read_index(tmp_path) == more
    assert more.fingerprint == index.fingerprint


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"attributes": []}, "attributes must be an object"),
        ({"attributes": {"a": "float"}}, "attributes: 'a' must be"),
        ({"attributes": {"a": [1]}}, "attributes: 'a' must be"),
        ({"class_ids": ["n0"]}, "class_ids must be a list of one identifier a class"),
        ({"class_ids": "n0"}, "class_ids must be"),
    ],
)
def test_an_index_with_strange_attributes_is_refused(tmp_path: Path, change: dict[str, object], why: str):
    index: Index = write_split(tmp_path, (2,), seed=1)
    path = tmp_path / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=why):
        read_index(tmp_path)
    assert index.classes
