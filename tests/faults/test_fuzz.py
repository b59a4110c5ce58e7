"""Fuzzing everything that reads what others wrote: the outcome is sound, or a mistake told in a line; never a fault.

Memory is bounded while a test runs, by the kernel, and work by the bytes that are looked at, so that neither depends on
how fast the machine is. ``AEDIST_FUZZ=20`` in the environment looks at twenty times as many examples. Checkpoints are
fuzzed in ``test_checkpoints``.
"""

import contextlib
import hashlib
import io
import json
import os
import resource
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from aedist.configfile import load_config
from aedist.data.loader import Split
from aedist.data.quarantine import FORMAT, read_quarantine, without_lost
from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.export import read_export
from aedist.shards.attributes import parse_attributes
from aedist.shards.decode import decode
from aedist.shards.fields import class_number, image_size
from aedist.shards.index import Index, Shard, describe_bytes, parse_index, write_index
from aedist.shards.png import broken_chunk
from aedist.shards.recipe import read_recipe
from aedist.shards.salvage import lost_samples
from aedist.shards.tar import TarDamage, members, samples
from samples import SHAPE, image, png, write_split

MOST_MEMORY = 2**28
"""Bytes that a test may take beyond what the process has: enough for what is right, too few for a bomb."""
_PATIENCE = int(os.environ.get("AEDIST_FUZZ", "1"))
_ROOT = Path(__file__).parent.parent.parent


def fuzz(examples: int) -> settings:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=3 * examples * _PATIENCE, deadline=None, suppress_health_check=checks)


@pytest.fixture(autouse=True)
def memory_is_bounded() -> Iterator[None]:
    status = Path("/proc/self/status").read_text()
    now = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData")) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + MOST_MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def told(use: Callable[[], object], kind: type[Exception] = UserError) -> None:
    """Whatever comes of it, it is a result, or a mistake in a line of bearable length."""
    try:
        use()
    except kind as error:
        line = str(error)
        assert line
        assert "\n" not in line.strip()
        assert len(line) < 2000
        line.encode()


@st.composite
def mutations(draw: st.DrawFn, sound: bytes) -> bytes:
    """A sound file after a few flips, cuts, insertions, repetitions and moves."""
    body = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        length = draw(st.integers(1, 600))
        kind = draw(st.sampled_from(["flip", "set", "cut", "remove", "insert", "repeat", "zero"]))
        if kind == "flip" and body:
            body[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            body[at : at + 8] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "cut":
            del body[at:]
        elif kind == "remove":
            del body[at : at + length]
        elif kind == "insert":
            body[at:at] = draw(st.binary(max_size=40))
        elif kind == "repeat":
            body[at:at] = body[at : at + length]
        else:
            body[at : at + length] = bytes(length)
    return bytes(body)


def make_tar(form: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for number in range(4):
            for extension, body in (("cls", b"1"), ("png", png(image(1, number))), ("json", b'{"a": true}')):
                info = tarfile.TarInfo(f"{'long/' * 30 * (number == 2)}{number}ä.{extension}")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    return stream.getvalue()


class Counted(bytes):
    """Bytes that count how many of them were looked at."""

    looked_at = 0

    def __getitem__(self, place: int | slice) -> int | bytes:  # pyright: ignore
        found = super().__getitem__(place)
        self.looked_at += len(found) if isinstance(found, bytes) else 1
        return found


TARS = {form: make_tar(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[1:]}


@fuzz(300)
@given(body=st.binary(max_size=1500) | st.sampled_from(list(TARS.values())).flatmap(mutations))
def test_fuzz_the_tar_reader(body: bytes) -> None:
    """Every byte is looked at a few times at most, and every member lies inside."""
    counted = Counted(body)
    told(lambda: samples(counted, "it"), TarDamage)
    assert counted.looked_at <= 4 * len(body) + 4096
    try:
        found = list(members(body, "it"))
    except TarDamage as damage:
        assert 0 <= damage.offset <= len(body)  # noqa: PT017
        return
    ends = [0, *(member.offset + member.size for member in found)]
    assert all(end <= member.header_offset for end, member in zip(ends, found, strict=False))
    assert ends[-1] <= len(body)


@pytest.mark.parametrize("form", TARS)
@fuzz(80)
@given(data=st.data())
def test_fuzz_a_shard_is_read_as_it_was_or_what_is_lost_is_known(
    tmp_path_factory: pytest.TempPathFactory, form: int, data: st.DataObject
) -> None:
    """With the index of the sound one, what remains of any file is what was written; with its own, it is a mistake."""
    folder = tmp_path_factory.getbasetemp() / f"fuzzed-{form}"
    folder.mkdir(exist_ok=True)
    path = folder / "a.tar"
    path.write_bytes(TARS[form])
    index = Index(
        "b", "train", SHAPE, ("0", "1"), (Shard("a.tar", 4, *describe_bytes(path)),), attributes={"a": "bool"}
    )
    path.write_bytes(data.draw(mutations(TARS[form])))
    lost = {one.number for one in lost_samples(path, index.shards[0], index)}
    assert lost in (set(), set(range(4))), "the shard is one MiB"
    if not lost:
        assert path.read_bytes() == TARS[form]
    its_own = Index(
        "b", "train", SHAPE, ("0", "1"), (Shard("a.tar", 4, *describe_bytes(path)),), attributes={"a": "bool"}
    )
    store = ShardStore(folder, its_own)
    for number in range(4):
        for use in (lambda n: store.read_images([n]), store.label, store.attributes, store.key):
            told(lambda use=use, number=number: use(number))
    lost_samples(path, its_own.shards[0], its_own)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(2**70) | st.just("../x"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def changed_json(draw: st.DrawFn, record: object) -> object:
    """A JSON value, somewhere in which something else stands."""
    if isinstance(record, dict) and record and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(record)))
        rest = {key: value for key, value in record.items() if key != name}
        return rest | ({name: draw(changed_json(record[name]))} if draw(st.integers(0, 8)) else {})
    if isinstance(record, list) and record and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(record) - 1))
        return [*record[:at], draw(changed_json(record[at])), *record[at + 1 :]]
    return draw(_json)


@pytest.fixture(scope="module")
def index_text(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("index")
    return write_index(folder, write_split(folder, (3, 2), seed=1)).read_bytes()


def vouched(record: object) -> object:
    """With the fingerprint that follows from its shards, where that can be said: another hides the rest."""
    with contextlib.suppress(TypeError, KeyError, UnicodeEncodeError):
        text = "\n".join(f"{shard['samples']} {shard['sha256']}" for shard in record["shards"])
        return {**record, "fingerprint": hashlib.sha256(text.encode()).hexdigest()}
    return record


@fuzz(300)
@given(data=st.data())
def test_fuzz_an_index(index_text: bytes, data: st.DataObject) -> None:
    """What is taken has shards with plain names and sizes that can be: no more can be asked of a reader for them."""
    text = data.draw(
        st.binary(max_size=200)
        | changed_json(json.loads(index_text)).map(lambda value: json.dumps(vouched(value)).encode())
        | mutations(index_text)
    )
    read = list[Index]()
    told(lambda: read.append(parse_index(text, "index.json")))
    if not read:
        return
    (index,) = read
    assert all(Path(shard.file).name == shard.file and shard.file != ".." for shard in index.shards)
    assert all(0 < 512 * shard.samples <= shard.bytes < 2**51 for shard in index.shards)
    assert len(index.fingerprint) == 64


@fuzz(100)
@given(data=st.data())
def test_fuzz_attributes_and_classes(data: st.DataObject) -> None:
    body = data.draw(
        st.binary(max_size=80) | _json.map(lambda value: json.dumps(value).encode()) | mutations(b'{"a": 1}')
    )
    told(lambda: parse_attributes(body), ValueError)
    told(lambda: class_number(body), ValueError)


def encoded(kind: str, colour: bool, **options: object) -> bytes:
    pixels = np.repeat(image(4, 1, SHAPE), 3, axis=2) if colour else image(4, 1)[..., 0]
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, kind, **options)
    return body.getvalue()


IMAGES = {
    "png": ("png", png(image(1, 1))),
    "png with a palette": ("png", encoded("PNG", colour=True, optimize=True)),
    "jpg": ("jpg", encoded("JPEG", colour=True)),
    "progressive jpg": ("jpg", encoded("JPEG", colour=False, progressive=True)),
}


@pytest.mark.parametrize("kind", IMAGES)
@fuzz(250)
@given(data=st.data())
def test_fuzz_the_image_decoder(kind: str, data: st.DataObject) -> None:
    extension, sound = IMAGES[kind]
    body = data.draw(mutations(sound) | st.binary(max_size=40).map(lambda junk: sound[:33] + junk))
    for shape in (SHAPE, (12, 12, 3)):
        told(lambda shape=shape: decode(body, extension, shape), ValueError)
    told(lambda: image_size(body, extension), ValueError)
    broken_chunk(body)


def _files(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(_ROOT.glob(pattern))]


@pytest.mark.parametrize(
    ("pattern", "read"),
    [("shards/*.yaml", read_recipe), ("configs/*.yaml", load_config)],
    ids=["recipes", "configurations"],
)
@fuzz(120)
@given(data=st.data())
def test_fuzz_recipes_and_configurations(
    tmp_path_factory: pytest.TempPathFactory, pattern: str, read: Callable[[Path], object], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(data.draw(st.sampled_from(_files(pattern)).flatmap(mutations) | st.binary(max_size=60)))
    try:
        read(path)
    except UserError as error:
        assert all(line.startswith(str(path)) or "give" in line for line in str(error).splitlines())  # noqa: PT017
        str(error).encode()


@fuzz(100)
@given(data=st.data())
def test_fuzz_a_list_of_lost_samples(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    index = Index("b", "train", SHAPE, (), tuple(Shard(f"{n}.tar", 3, 2000, "0" * 64, (1,)) for n in range(2)))
    lost = [{"id": 4, "shard": "1.tar", "key": None, "why": "it is"}]
    sound = {"fingerprint": index.fingerprint, "num_samples": 6, "num_lost": 1, "lost": lost}
    record = {"format": FORMAT, "splits": {"train": sound}}
    path = tmp_path_factory.getbasetemp() / "quarantine.json"
    path.write_text(json.dumps(data.draw(changed_json(record))))
    split = Split(path.parent, index)
    told(lambda: without_lost(split, read_quarantine(path), path))


@fuzz(60)
@given(data=st.data())
def test_fuzz_the_model_of_a_hub(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed-model"
    folder.mkdir(exist_ok=True)
    record = {
        "kind": "mlp",
        "options": {"image_shape": [12, 12, 1], "hidden_dim": 4, "latent_dim": 2},
        "weights_sha256": "0" * 64,
    }
    (folder / "config.json").write_text(json.dumps(data.draw(changed_json(record))))
    (folder / "model.safetensors").write_bytes(data.draw(mutations(b"\x02\0\0\0\0\0\0\0{}")))
    told(lambda: read_export(folder))
