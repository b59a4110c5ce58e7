"""Hostile data (rows 19 to 22 of the catalogue, and secrets): nothing that is read is run, opened, unfolded or kept.

Each threat is shown to be one first, where another reader falls for it; then that this one names it in a line.
"""

import contextlib
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import aedist
from aedist.data.source import open_split
from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.export import read_export
from aedist.rundir import RunDir, Start, begin_attempt, read_environment
from aedist.shards.describe import index_folder
from aedist.shards.index import Index, Shard, describe_bytes, parse_index, read_index, write_index
from aedist.shards.recipe import read_recipe
from aedist.shards.salvage import lost_samples
from aedist.shards.tar import members
from aedist.shards.verify import verify_folder
from processes import run
from samples import SHAPE, image, png, write_config, write_split, write_tar

PNG = png(image(0, 0))
MARKER = "marker-5d41402abc4b2a76b9719d911017c592"


class Malice:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def index_of(folder: Path, **changes: Any) -> Index:
    """An index that agrees with the one tar of a folder, whatever is in it, and is written beside it."""
    (path,) = folder.glob("*.tar")
    index = Index("blobs", "train", SHAPE, ("0", "1"), (Shard(path.name, 1, *describe_bytes(path)),))
    write_index(folder, index)
    return replace(index, **changes)


def refused_everywhere(folder: Path, words: str) -> None:
    """Reading, indexing, verifying and quarantine each tell it in one line."""
    index = index_of(folder)
    store = ShardStore(folder, index)
    (path,) = folder.glob("*.tar")
    for use in (
        lambda: store.read_images([0]),
        lambda: index_folder(folder, lambda _: None, force=True),
        lambda: verify_folder(folder, lambda _: None),
    ):
        with pytest.raises(UserError, match=words) as told:
            use()
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 1000
    (lost,) = lost_samples(path, index.shards[0], index)
    assert lost.number == 0


# row 20: what could run


@pytest.mark.parametrize(
    "extension", ["pkl", "pickle", "pth", "pt", "pyd", "npy", "npz", "bin", "py", "dill", "txt.gz"]
)
def test_row_20_a_member_that_could_run_is_refused_by_its_extension(tmp_path: Path, extension: str) -> None:
    marker, body = tmp_path / "executed", pickle.dumps(Malice(tmp_path / "executed"))
    write_tar(tmp_path / "s" / "a.tar", [("x.png", PNG), (f"x.{extension}", body)])
    refused_everywhere(tmp_path / "s", rf"x.*\.{extension} is not read; fields are \.png")
    assert not marker.exists()


@pytest.mark.parametrize("extension", ["png", "jpg", "cls", "json"])
def test_row_20_a_pickle_under_the_name_of_another_field_is_not_run(tmp_path: Path, extension: str) -> None:
    marker, body = tmp_path / "executed", pickle.dumps(Malice(tmp_path / "executed"))
    image_field = [] if extension in ("png", "jpg") else [("x.png", PNG)]
    write_tar(tmp_path / "s" / "a.tar", [*image_field, (f"x.{extension}", body)])
    index = replace(index_of(tmp_path / "s"), attributes={"a": "bool"})
    store = ShardStore(tmp_path / "s", index)
    with pytest.raises(UserError, match=rf"x\.{extension}"):
        {"cls": store.label, "json": store.attributes}.get(extension, lambda _: store.read_images([0]))(0)
    assert not marker.exists()


def test_row_20_the_usual_reader_would_have_run_it(tmp_path: Path) -> None:
    import webdataset

    write_tar(tmp_path / "a.tar", [("x.png", PNG), ("x.pyd", pickle.dumps(Malice(tmp_path / "executed")))])
    next(iter(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode()))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.mkdir ['{marker}']\n",
        "!!python/object/new:os.mkdir ['{marker}']\n",
        "splits: {{train: !!python/name:os.system }}\n",
        "name: &a [x, x, x, x]\nclasses: [*a, *a, *a]\n",
        "[" * 10_000,
        "name: ../../etc\n",
        "name: x\nsource: ../../evil\n",
    ],
)
def test_row_20_a_recipe_runs_nothing_unfolds_nothing_and_leads_nowhere(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text.replace("{marker}", str(tmp_path / "executed")).replace("{{", "{").replace("}}", "}"))
    with pytest.raises(UserError, match=r"r\.yaml"):
        read_recipe(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r.yaml"]


def model_folder(folder: Path, weights: bytes, **record: Any) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    told = {"kind": "mlp", "options": {"image_shape": [12, 12, 1], "hidden_dim": 4, "latent_dim": 2}}
    told |= {"weights_sha256": sha256(weights).hexdigest(), "sha256": sha256(weights).hexdigest(), **record}
    (folder / "config.json").write_text(json.dumps(told))
    return folder


def test_row_20_a_model_of_the_hub_is_not_unpickled(tmp_path: Path) -> None:
    body = pickle.dumps(Malice(tmp_path / "executed"))
    folder = model_folder(tmp_path / "m", body)
    for name in ("pytorch_model.bin", "model.pt", "modeling_x.py"):
        (folder / name).write_bytes(body)
    with pytest.raises(UserError, match="is not an exported model"):
        aedist.load(folder)
    assert not (tmp_path / "executed").exists()
    pickle.loads(body)
    assert (tmp_path / "executed").exists(), "the forgery would have worked"


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "os.system"},
        {"kind": ["mlp"]},
        {"kind": "mlp", "options": {"image_shape": [12, 12, 1], "hidden_dim": 10**5, "latent_dim": 2}},
        {"kind": "mlp", "options": {"image_shape": [12, 12, 1], "hidden_dim": 10**9, "latent_dim": 2}},
        {"kind": "mlp", "options": {"hidden_dim": 10**30}},
        {"kind": "mlp", "options": {"__class__": 3}},
        {"kind": "mlp", "options": ["hidden_dim"]},
    ],
    ids=str,
)
def test_row_20_a_model_of_the_hub_is_what_its_file_holds_and_no_larger(tmp_path: Path, record: dict[str, Any]) -> None:
    folder = model_folder(tmp_path / "m", b"\x02\0\0\0\0\0\0\0{}", **record)
    with few_bytes(), pytest.raises(UserError, match="is not an exported model"):
        read_export(folder)


# row 19: what could be opened


@pytest.mark.parametrize(
    "shards",
    ["pipe:touch {marker}", "pipe: touch {marker} |", "file:///etc", "gopen:{marker}", "a::pipe:touch {marker}"],
)
def test_row_19_a_place_of_shards_is_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: str) -> None:
    monkeypatch.setenv("GOPEN_REWRITE", f"/=pipe:touch {tmp_path / 'executed'};")
    with pytest.raises(UserError, match=r"data\.shards"):
        open_split(shards.format(marker=tmp_path / "executed"), "train")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name", ["pipe:touch executed", "file:executed", "a{0..9}.tar", "$(touch executed).tar", "-.tar"]
)
def test_row_19_a_shards_file_name_is_only_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOPEN_REWRITE", "=pipe:touch executed;")
    write_tar(tmp_path / name, [("x.png", PNG)])
    shard = Shard(name, 1, *describe_bytes(tmp_path / name))
    write_index(tmp_path, Index("blobs", "train", SHAPE, (), (shard,)))
    assert len(ShardStore(tmp_path, read_index(tmp_path)).read_images([0])) == 1
    assert not (tmp_path / "executed").exists()


def test_row_19_reading_and_training_never_load_the_reader_that_opens_pipes() -> None:
    words = "import sys, aedist.training.run, aedist.evaluation.verb; sys.exit('webdataset' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


# row 21: names that lead away

NAMES = ["../../evil", "/evil", "..", "a/../../evil", "x\x1b[2Jy", "line\nbreak", "\udcff", "<script>alert(1)</script>"]


@pytest.mark.parametrize("name", [*NAMES[:4], "", ".", "a\0b.tar", "a\nb.tar", "a/b.tar", 7, None, ["a"]], ids=repr)
def test_row_21_an_index_names_no_file_elsewhere(tmp_path: Path, name: object) -> None:
    index = write_split(tmp_path, (2,), seed=1)
    text = (tmp_path / "index.json").read_text().replace(json.dumps(index.shards[0].file), json.dumps(name))
    with pytest.raises(UserError) as told:
        parse_index(text.encode(), "index.json")
    assert "\n" not in str(told.value)
    assert str(told.value).isprintable()


def test_row_21_a_sha256_in_an_index_which_names_a_file_in_the_cache_is_one(tmp_path: Path) -> None:
    index = write_split(tmp_path, (2,), seed=1)
    for name in ("../" * 21 + "x", "/" + "a" * 63, "A" * 64, "\u0661" * 64):
        text = (tmp_path / "index.json").read_text().replace(index.shards[0].sha256, name)
        with pytest.raises(UserError, match="sha256 must be 64 hexadecimal digits"):
            parse_index(text.encode(), "index.json")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_row_21_a_key_that_could_steer_a_terminal_is_told_as_text(tmp_path: Path, form: int) -> None:
    for number, name in enumerate(NAMES):
        folder = tmp_path / str(number)
        folder.mkdir()
        with tarfile.open(folder / "a.tar", "w", format=form) as tar:
            info = tarfile.TarInfo(f"{name}k.png")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"bad"))
        index = index_of(folder)
        with pytest.raises(UserError) as told:
            ShardStore(folder, index).read_images([0])
        assert str(told.value).isprintable()
        str(told.value).encode()


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_row_21_runs_evaluations_and_reports_stay_in_their_folder_whatever_keys_and_classes_are_called(
    tmp_path: Path,
) -> None:
    shards, directory = tmp_path / "in" / "blobs", tmp_path / "in" / "runs" / "run"
    names = ["../../evil", "/evil/abs", "<script>alert(1)</script>", "a/../b"]
    for split, count in (("train", 24), ("test", 12)):
        rows = [
            (f"{names[n % 4]}-{split}{n}.{e}", body)
            for n in range(count)
            for e, body in (("cls", str(n % 4).encode()), ("png", png(image(3, n))))
        ]
        write_tar(shards / split / "a.tar", rows)
        shard = Shard("a.tar", count, *describe_bytes(shards / split / "a.tar"))
        write_index(shards / split, Index("../../evil", split, SHAPE, tuple(names), (shard,)))
    before = everything_in(tmp_path)
    config = write_config(tmp_path / "in" / "c.yaml", shards, directory, train={"epochs": 1})
    for words in (
        ["train", config],
        ["evaluate", directory, "evaluate.fid_images=0", "evaluate.fit_images=20"],
        ["reconstruct", directory],
        ["report", directory],
    ):
        run(tmp_path / "in" / "output", 1, *words)
    after = everything_in(tmp_path)
    assert before.items() <= after.items()
    new = [path for path in after.keys() - before.keys() if not path.startswith((str(directory), str(tmp_path / "in")))]
    assert new == []
    assert not Path("/evil").exists()
    stray = [path for path in (tmp_path / "in").rglob("*") if "evil" in path.name or "script" in path.name]
    assert stray == []
    assert "<script>alert(1)" not in (directory / "report.html").read_text()


# row 22: bombs


@contextlib.contextmanager
def few_bytes(most: int = 200 * 2**20) -> Iterator[None]:
    """No more memory than ``most`` above what the process has by now: what would be more is a MemoryError."""
    status = Path("/proc/self/status").read_text()
    now = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData")) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def test_the_limit_on_memory_is_one() -> None:
    with few_bytes(), pytest.raises(MemoryError):
        bytearray(2**28)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb_png(height: int, width: int, *more: bytes, rows: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def inflates_to(size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(size // 2**20)) + packer.flush()


BIG = inflates_to(2**29)
BOMBS = {
    "png of 20000 x 20000": ("png", bomb_png(20_000, 20_000, rows=inflates_to(400 * 2**20)), "is 20000 x 20000"),
    "png of 13000 x 13000, below Pillow's limit": ("png", bomb_png(13_000, 13_000, rows=BIG), "is 13000 x 13000"),
    "png text that inflates": ("png", bomb_png(12, 12, chunk(b"zTXt", b"a\0\0" + BIG), rows=BIG), "png"),
    "png text in Unicode": ("png", bomb_png(12, 12, chunk(b"iTXt", b"a\0\1\0\0\0" + BIG), rows=BIG), "png"),
    "a thousand png texts": ("png", bomb_png(12, 12, *[chunk(b"zTXt", b"a\0\0" + inflates_to(2**20))] * 1000), "png"),
    "jpeg of 60000 x 60000": (
        "jpg",
        b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", 60_000, 60_000) + b"\x01\x01\x11\0\xff\xd9",
        "jpg",
    ),
    "webp": ("webp", b"RIFF", ".webp is not read"),
    "gzip": ("txt.gz", BIG, ".txt.gz is not read"),
    "deep json": ("json", b"[" * 60_000, "nested too deeply|not read"),
    "wide json": ("json", b"[" + b"1," * 2**22 + b"1]", "attributes take"),
    "long class": ("cls", b"1" * 2**24, r"\.cls holds"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_row_22_bombs_in_members_take_little_memory(tmp_path: Path, bomb: str) -> None:
    extension, body, words = BOMBS[bomb]
    first = [] if extension in ("png", "jpg") else [("x.png", PNG)]
    write_tar(tmp_path / "a.tar", [*first, (f"x.{extension}", body)])
    index = replace(index_of(tmp_path), attributes={"a": "bool"})
    store = ShardStore(tmp_path, index)

    def read() -> None:
        store.read_images([0])
        store.label(0)
        store.attributes(0)

    with few_bytes(), pytest.raises(UserError, match=words) as told:
        read()
    assert len(str(told.value)) < 1000
    with few_bytes():
        assert lost_samples(tmp_path / "a.tar", index.shards[0], index)


def test_row_22_pixels_that_inflate_further_than_the_image_is_are_not_unfolded(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("x.png", bomb_png(12, 12, rows=BIG))])
    with few_bytes():
        assert ShardStore(tmp_path, index_of(tmp_path)).read_images([0]).sum() == 0


@pytest.mark.parametrize("extension", ["png", "cls", "json"])
def test_row_22_a_member_of_a_gigabyte_is_not_copied(tmp_path: Path, extension: str) -> None:
    """A sparse file: its bytes are only in the length."""
    first = [] if extension == "png" else [("x.png", PNG)]
    size = 2**30
    info = tarfile.TarInfo(f"x.{extension}")
    info.size = size
    write_tar(tmp_path / "a.tar", first)
    with (tmp_path / "a.tar").open("r+b") as file:
        file.seek(1024 * len(first))
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(1024 * len(first) + 512 + size + 1024)
    shard = Shard("a.tar", 1, (tmp_path / "a.tar").stat().st_size, "0" * 64, ())
    import torch

    checked = torch.ones(1, dtype=torch.uint8)  # to hash it is another matter
    store = ShardStore(tmp_path, Index("b", "train", SHAPE, ("0",), (shard,), attributes={"a": "bool"}), checked)
    with few_bytes(), pytest.raises(UserError, match=rf"x\.{extension}"):
        {"cls": store.label, "json": store.attributes}.get(extension, lambda _: store.read_images([0]))(0)


def header(**changes: object) -> bytes:
    info = tarfile.TarInfo("x.png")
    for name, value in changes.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def with_size(field: bytes) -> bytes:
    changed = header()[:124] + field.ljust(12, b"\0")[:12] + header()[136:]
    total = sum(changed) - sum(changed[148:156]) + 256
    return changed[:148] + b"%06o\0 " % total + changed[156:]


TARS = {
    "a terabyte": header(size=2**40),
    "a negative size": with_size(b"\xff" * 12),
    "a size in base 256 beyond 64 bits": with_size(b"\x80" + b"\xff" * 11),
    "a size of minus one in octal": with_size(b"-0000000001"),
    "a size that is text": with_size(b"0x7fffffff"),
    "a size that overflows octal": with_size(b"7" * 12),
    "a symbolic link": header(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": header(type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "a character device": header(type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a block device": header(type=tarfile.BLKTYPE),
    "a pipe": header(type=tarfile.FIFOTYPE),
    "a sparse file": header(type=tarfile.GNUTYPE_SPARSE, size=0),
    "a long name of a gigabyte": header(type=tarfile.GNUTYPE_LONGNAME, size=2**30),
    "an endless chain of long names": header(type=tarfile.GNUTYPE_LONGNAME, size=0) * 10_000,
}


@pytest.mark.parametrize("tar", TARS)
def test_row_22_a_tar_of_what_shards_do_not_hold_is_damage_at_an_offset(tmp_path: Path, tar: str) -> None:
    body = TARS[tar]
    (tmp_path / "a.tar").write_bytes(body + (b"" if tar.startswith("an endless") else bytes(1024)))
    with few_bytes(), pytest.raises(UserError, match=r"a\.tar: damaged at byte \d+"):
        ShardStore(tmp_path, index_of(tmp_path)).read_images([0])
    with few_bytes(), pytest.raises(UserError):
        list(members((tmp_path / "a.tar").read_bytes(), "a.tar"))


def test_row_22_a_compressed_tar_is_no_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x.png"))
    with few_bytes(), pytest.raises(UserError, match=r"a\.tar: damaged at byte 0"):
        ShardStore(tmp_path, index_of(tmp_path)).read_images([0])


INDEX = b'{"format": "aedist-shards-1", "name": "n", "split": "s", "classes": [], %s}'
INDICES = {
    "nested lists": b"[" * 10**6,
    "nested objects": b'{"a":' * 10**5,
    "a number of a million digits": b'{"format": ' + b"9" * 10**6 + b"}",
    "images of a million by a million": INDEX % b'"image_shape": [1000000, 1000000, 3], "shards": [{}]',
    "images of a thousand channels": INDEX % b'"image_shape": [8, 8, 1000], "shards": [{}]',
    "a shard of samples without end": INDEX
    % (
        b'"image_shape": [8, 8, 1], "shards": [{"file": "a", "samples": 1e999, "bytes": 9, "sha256": "", '
        b'"crc32_per_mib": []}]'
    ),
    "more samples than bytes": INDEX
    % (
        b'"image_shape": [8, 8, 1], "shards": [{"file": "a", "samples": 1000000000000, "bytes": 512, "sha256": "%s", '
        b'"crc32_per_mib": [0]}]' % (b"0" * 64)
    ),
    "a long format": b'{"format": "' + b"x" * 10**6 + b'"}',
    "not UTF-8": b"\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", INDICES)
def test_row_22_an_index_that_is_a_bomb_is_one_short_line(kind: str) -> None:
    with few_bytes(), pytest.raises(UserError) as told:
        parse_index(INDICES[kind], "index.json")
    assert len(str(told.value)) < 500
    assert str(told.value).isprintable()


def test_row_22_an_index_without_end_is_not_read(tmp_path: Path) -> None:
    write_split(tmp_path, (2,), seed=1)
    os.truncate(tmp_path / "index.json", 2**40)
    with few_bytes(2**29), pytest.raises(UserError, match=r"more than [\d,]+ bytes"):
        read_index(tmp_path)


# secrets


def test_secrets_of_the_environment_are_in_no_file_of_a_run_and_on_no_screen(tmp_path: Path, shards: Path) -> None:
    secret = MARKER.replace("marker-", "")
    assert len(secret) == 32
    names = ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "HF_TOKEN")
    environment = dict.fromkeys(names, f"{secret}{secret[:8]}")
    directory = tmp_path / "run"
    config = write_config(tmp_path / "c.yaml", shards, directory, train={"epochs": 1}, track={"wandb": "offline"})
    outputs = [
        run(tmp_path / "out", 1, *words, environment=environment).text()
        for words in (["train", config], ["evaluate", directory, "evaluate.fid_images=0"], ["report", directory])
    ]
    files = everything_in(directory)
    assert any(path.endswith(".wandb") for path in files)
    assert any(path.endswith("report.html") for path in files)
    assert [path for path, body in files.items() if secret.encode() in body] == []
    assert not any(secret in output for output in outputs)


@pytest.mark.parametrize(
    "word", ["track.api_key=%s", "hf_token=%s", "AWS_SECRET_ACCESS_KEY=%s", "--password=%s", "track.group=token:%s"]
)
def test_a_command_line_is_kept_without_what_sounds_like_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: Path, word: str
) -> None:
    from aedist.configfile import load_config

    monkeypatch.setattr(sys, "argv", ["aedist", "train", "c.yaml", word % MARKER, "model.hidden_dim=3"])
    config = load_config(write_config(tmp_path / "c.yaml", shards, tmp_path / "run"))
    index = read_index(shards / "train")
    (tmp_path / "run").mkdir()
    begin_attempt(RunDir(tmp_path / "run"), config, Start(index, index, {}, 0, 1, "cpu"))
    (attempt,) = read_environment(RunDir(tmp_path / "run"))["attempts"]
    assert MARKER not in json.dumps(attempt)
    assert "***" in attempt["command"]
    assert attempt["command"].endswith("model.hidden_dim=3")
