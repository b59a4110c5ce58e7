"""Checkpoints survive: kills at any moment, full disks, damage at any byte, refused renames, clocks, forgery.

A sound checkpoint is always found afterwards, at most the interval under way is lost, and what is wrong is one line.
"""

import errno
import io
import json
import os
import pickle
import resource
import shutil
import signal
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aedist.checkpoint import checkpoints, keep, load_checkpoint, name_of, newest_sound, save_checkpoint, step_of
from aedist.errors import UserError
from saved import FILES, NUMBERS, assert_is_as_saved, save


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Checkpoints of steps 8 and 16."""
    save(tmp_path, 8)
    save(tmp_path, 16)
    return tmp_path


def assert_falls_back(folder: Path, damaged: str) -> None:
    """The damaged file of step 16 is named in one line, and step 8 is taken."""
    told = list[str]()
    assert newest_sound(folder, told.append) == folder / name_of(8)
    assert len(told) == 1
    assert str(folder / name_of(16) / damaged) in told[0]
    assert "looking for the one before" in told[0]
    assert "\n" not in told[0]
    with pytest.raises(UserError):
        load_checkpoint(folder / name_of(16))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, -1], ids=["0", "1", "100", "half", "all but 1"])
def test_a_file_truncated_at_any_byte_falls_back(two: Path, file: str, cut: float) -> None:
    path = two / name_of(16) / file
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * cut) if isinstance(cut, float) else cut])
    assert_falls_back(two, file)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_grew_falls_back(two: Path, file: str) -> None:
    with (two / name_of(16) / file).open("ab") as grown:
        grown.write(b"0")
    assert_falls_back(two, file)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_falls_back(two: Path, file: str) -> None:
    (two / name_of(16) / file).unlink()
    assert_falls_back(two, file)


@pytest.mark.parametrize("file", FILES[1:])
def test_one_flipped_bit_falls_back(two: Path, file: str) -> None:
    path = two / name_of(16) / file
    body = bytearray(path.read_bytes())
    for place in (0, len(body) // 3, len(body) - 1):
        body[place] ^= 1
        path.write_bytes(body)
        assert_falls_back(two, file)
        body[place] ^= 1


def test_every_single_flipped_bit_of_a_manifest_is_found(two: Path) -> None:
    path = two / name_of(16) / "manifest.json"
    body = path.read_bytes()
    for bit in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError):
            load_checkpoint(path.parent)
    path.write_bytes(body)
    assert_is_as_saved(path.parent)


@pytest.mark.parametrize("manifest", ["[]", "null", '{"files": 3}', "[" * 100_000, '{"step": 16, "files": {"x": 1}}'])
def test_what_is_no_manifest_falls_back(two: Path, manifest: str) -> None:
    (two / name_of(16) / "manifest.json").write_text(manifest)
    assert_falls_back(two, "manifest.json")


def test_a_checkpoint_under_the_name_of_another_step_is_not_taken(two: Path) -> None:
    (two / name_of(16)).rename(two / name_of(24))
    told = list[str]()
    assert newest_sound(two, told.append) == two / name_of(8)
    assert "the manifest of step 16" in told[0]


def forge(place: Path, name: str, body: bytes) -> None:
    """Put a file into a checkpoint, and make the manifest vouch for it."""
    (place / name).write_bytes(body)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(body), "sha256": sha256(body).hexdigest()}
    (place / "manifest.json").write_text(json.dumps(manifest))


class Malice:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "evil.safetensors"])
def test_a_pickle_is_never_executed_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    place, marker = save(tmp_path, 8), tmp_path / "executed"
    body = pickle.dumps(Malice(marker))
    forge(place, name, body)
    with pytest.raises(UserError, match="is not a checkpoint of this version") as told:
        load_checkpoint(place)
    assert "\n" not in str(told.value)
    assert not marker.exists()
    pickle.loads(body)
    assert marker.exists(), "the forgery would have worked"


def test_a_pickle_that_no_manifest_names_is_not_even_read(tmp_path: Path) -> None:
    """As a .pt or a torch.distributed .metadata file beside a sound checkpoint's."""
    place, marker = save(tmp_path, 8), tmp_path / "executed"
    for name in ("model.pt", ".metadata", "data.pkl"):
        (place / name).write_bytes(pickle.dumps(Malice(marker)))
    assert newest_sound(tmp_path, pytest.fail) == place
    assert_is_as_saved(place)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["../../secret.safetensors", "/etc/passwd", "..", ".", "", "a\0b.json", "A.json", "x.pt", "\ud800.json"]
)
def test_a_manifest_names_no_file_outside(tmp_path: Path, name: str) -> None:
    place = save(tmp_path / "run", 8)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": 6, "sha256": sha256(b"secret").hexdigest()}
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="names a file outside the checkpoint"):
        load_checkpoint(place)


@pytest.mark.parametrize("file", FILES)
def test_a_link_is_not_followed(two: Path, tmp_path: Path, file: str) -> None:
    path = two / name_of(16) / file
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert_falls_back(two, file)


@pytest.mark.parametrize("file", FILES)
def test_a_pipe_or_an_endless_device_is_not_read(two: Path, file: str) -> None:
    path = two / name_of(16) / file
    path.unlink()
    os.mkfifo(path)
    assert_falls_back(two, file)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert_falls_back(two, file)


@pytest.mark.parametrize("file", FILES)
def test_a_file_of_a_terabyte_is_refused_by_its_length(two: Path, file: str) -> None:
    """A sparse one: were it read, memory would not hold it."""
    os.truncate(two / name_of(16) / file, 2**40)
    assert_falls_back(two, file)


def test_a_link_in_the_place_of_a_checkpoint_is_cleared_away_and_what_it_names_stays(two: Path, tmp_path: Path) -> None:
    kept = save(tmp_path / "elsewhere", 4)
    (two / name_of(4)).symlink_to(kept)
    keep(two, 2, best_step=None)
    assert sorted(path.name for path in two.iterdir()) == ["elsewhere", name_of(8), name_of(16)]
    assert_is_as_saved(kept)


class _Torn:
    """A file whose every write is two, so that a kill between them leaves a part."""

    def __init__(self, file: io.BufferedWriter, before: Callable[[], None]) -> None:
        self._file, self._before = file, before

    def write(self, body: bytes) -> None:
        self._file.write(body[: len(body) // 2])
        self._file.flush()
        self._before()
        self._file.write(body[len(body) // 2 :])

    def __enter__(self) -> "_Torn":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _kill_at(fatal: int, work: Callable[[Callable[[int], None]], None]) -> tuple[bool, list[int]]:
    """Do ``work`` in a forked process that is killed before its ``fatal``-th file operation.

    Returns:
        Whether it came to its end before that, and the numbers that ``work`` told of.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            count = 0

            def before() -> None:
                nonlocal count
                count += 1
                if count == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

            def counted(function: Callable[..., Any]) -> Callable[..., Any]:
                def call(*args: Any, **options: Any) -> Any:
                    before()
                    return function(*args, **options)

                return call

            for name in ("open", "fsync", "rename", "replace", "mkdir", "rmdir", "unlink"):
                setattr(os, name, counted(getattr(os, name)))
            shutil.rmtree = counted(shutil.rmtree)
            opened = counted(io.open)

            def torn(*args: Any, **options: Any) -> Any:
                file = opened(*args, **options)
                return _Torn(file, before) if isinstance(file, io.BufferedWriter) else file

            io.open = torn
            work(lambda number: os.write(writing, f"{number} ".encode()) and None)
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        numbers = [int(word) for word in told.read().split()]
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), "the work itself failed"
    return code == 0, numbers


@pytest.mark.parametrize("before", ["sound", "unsound at this step"])
def test_kill_9_at_any_file_operation_of_saves_and_retention_deletes_loses_one_interval_at_most(
    tmp_path: Path, before: str
) -> None:
    """Two saves, each with its clearing up, killed before each operation in turn and in the middle of each write."""
    base, folder = tmp_path / "base", tmp_path / "folder"
    for step in (4, 8, 12):
        save(base, step)
    if before == "unsound at this step":
        save(base, 16)
        (base / name_of(16) / "model.safetensors").write_bytes(b"")

    def save_and_clear_up(tell: Callable[[int], None]) -> None:
        for step in (16, 20):
            tell(step)
            save(folder, step)
            keep(folder, 1, best_step=4)

    found, fatal, finished = list[int](), 0, False
    while not finished:
        fatal += 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        finished, began = _kill_at(fatal, save_and_clear_up)
        newest = newest_sound(folder, lambda line: None)
        assert newest is not None
        found.append(step_of(newest))
        assert found[-1] >= began[-1] - 4, "more than the interval under way was lost"
        assert_is_as_saved(newest)
        assert_is_as_saved(folder / name_of(4))
        save_and_clear_up(lambda step: None)  # the run, started again
        assert sorted(path.name for path in folder.iterdir()) == [name_of(4), name_of(20)]
        assert_is_as_saved(folder / name_of(20))
    assert found == sorted(found), "once the new one is there, it stays"
    assert set(found) == {12, 16, 20}
    assert fatal > 60


def test_a_disk_that_is_full_is_one_clear_line_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    """By the kernel's limit on a file's size, which gives an error as a full disk does."""
    save(tmp_path, 8)
    big = {"model": {"weight": torch.zeros(100_000)}}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        try:
            save_checkpoint(tmp_path, 16, big, NUMBERS)
        except UserError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        line = told.read()
    os.waitpid(child, 0)
    assert line.startswith(f"{tmp_path / name_of(16)}: the checkpoint cannot be written (File too large); make room")
    assert "\n" not in line
    assert sorted(path.name for path in tmp_path.iterdir()) == [name_of(8)]
    assert_is_as_saved(tmp_path / name_of(8))
    assert save_checkpoint(tmp_path, 16, big, NUMBERS).is_dir(), "it would have fitted without the limit"


def _refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int) -> None:
    """Let the ``number``-th call of a function of ``os`` fail, and all after it."""
    real, count = getattr(os, name), 0

    def call(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count >= number:
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("number", range(1, 7))  # four files, the folder, and the folder above it after the rename
def test_no_space_left_at_any_sync_keeps_the_old_checkpoint(
    two: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    _refuse(monkeypatch, "fsync", number, errno.ENOSPC)
    with pytest.raises(UserError) as told:
        save(two, 24)
    assert str(told.value) == (
        f"{two / name_of(24)}: the checkpoint cannot be written (No space left on device); make room, or give the "
        f"right to"
    )
    monkeypatch.undo()
    assert not list(two.glob(".partial-*"))
    assert_is_as_saved(two / name_of(16))
    newest = newest_sound(two, pytest.fail)
    assert newest == two / name_of(24 if number == 6 else 16)


def test_no_space_left_in_the_middle_of_a_write_keeps_the_old_checkpoint(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    opened = io.open
    monkeypatch.setattr(
        io,
        "open",
        lambda path, mode="r", *rest, **options: (
            _Torn(opened(path, mode, *rest, **options), fail) if mode == "wb" else opened(path, mode, *rest, **options)
        ),
    )
    with pytest.raises(UserError, match="No space left on device"):
        save(two, 24)
    monkeypatch.undo()
    assert sorted(path.name for path in two.iterdir()) == [name_of(8), name_of(16)]
    assert newest_sound(two, pytest.fail) == two / name_of(16)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EXDEV])
def test_a_refused_rename_keeps_the_old_checkpoint(two: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    _refuse(monkeypatch, "rename", 1, code)
    with pytest.raises(UserError, match="the checkpoint cannot be written") as told:
        save(two, 24)
    assert os.strerror(code) in str(told.value)
    monkeypatch.undo()
    assert sorted(path.name for path in two.iterdir()) == [name_of(8), name_of(16)]
    assert newest_sound(two, pytest.fail) == two / name_of(16)
    save(two, 24)
    assert newest_sound(two, pytest.fail) == two / name_of(24)


def test_a_clock_that_jumps_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes back a day a step and files seem older the newer they are; and nobody looks at a clock at all."""
    asked = list[str]()
    for name in ("time", "time_ns", "monotonic", "localtime", "gmtime"):
        monkeypatch.setattr(time, name, lambda *_, name=name: asked.append(name) or 0)
    for number, step in enumerate((4, 8, 12, 16)):
        place = save(tmp_path, step)
        for path in (place, *place.iterdir()):
            os.utime(path, (10**9 - 86_400 * number,) * 2)
        keep(tmp_path, 2, best_step=4)
    assert newest_sound(tmp_path, pytest.fail) == tmp_path / name_of(16)
    assert [step_of(place) for place in checkpoints(tmp_path)] == [4, 12, 16]
    assert asked == []


def only_sound_or_told(place: Path) -> None:
    """Loading gives what a checkpoint holds, or one line; nothing else."""
    told = None
    try:
        tensors, numbers = load_checkpoint(place)
    except UserError as error:
        told = str(error)
    if told is not None:
        assert len(told.splitlines()) == 1
        assert told.startswith(str(place))
    else:
        assert isinstance(numbers, dict)
        assert all(isinstance(tensor, torch.Tensor) for named in tensors.values() for tensor in named.values())


_fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@_fuzz
@given(body=st.binary(max_size=300) | _json.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize("file", ["manifest.json", "state.json"])
def test_fuzz_any_manifest_or_state_is_told_or_sound(
    tmp_path_factory: pytest.TempPathFactory, file: str, body: bytes
) -> None:
    place = _fuzzed_place(tmp_path_factory)
    if file == "manifest.json":
        (place / file).write_bytes(body)
    else:
        forge(place, file, body)
    only_sound_or_told(place)


@_fuzz
@given(files=st.dictionaries(st.sampled_from(["state.json", "model.safetensors", "x.json", "../a"]), _json), step=_json)
def test_fuzz_any_entries_of_a_manifest_are_told_or_sound(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any], step: Any
) -> None:
    place = _fuzzed_place(tmp_path_factory)
    for manifest in ({"step": 8, "files": files}, {"step": step, "files": files}):
        (place / "manifest.json").write_text(json.dumps(manifest))
        only_sound_or_told(place)


_entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F64", "U8", "BOOL", "F8_E4M3", "U64", "C64", "X", "F4"]),
        "shape": st.lists(st.integers(-1, 2**62), max_size=4),
        "data_offsets": st.lists(st.integers(-1, 2**62), min_size=2, max_size=2)
        | st.just([0, 16])
        | st.tuples(st.integers(0, 16), st.integers(0, 16)).map(list),
    }
)


@_fuzz
@given(
    header=st.binary(max_size=200)
    | (st.dictionaries(st.text(max_size=5), _entries | _json, max_size=3)).map(
        lambda entries: json.dumps(entries).encode()
    ),
    length=st.none() | st.integers(0, 2**64 - 1),
    data=st.binary(max_size=32),
)
def test_fuzz_any_safetensors_header_is_told_or_sound(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, length: int | None, data: bytes
) -> None:
    """Vouched for by the manifest, so that only the reader of tensors stands between it and the run."""
    place = _fuzzed_place(tmp_path_factory)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stated = (len(header) if length is None else length).to_bytes(8, "little")
    forge(place, "model.safetensors", stated + header + data)
    only_sound_or_told(place)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "64 MiB for a file of 500 bytes"


def _fuzzed_place(factory: pytest.TempPathFactory) -> Path:
    """A fresh sound checkpoint, in one place for all examples."""
    folder = factory.getbasetemp() / "fuzzed"
    if not folder.exists():
        save(folder.with_name("pristine"), 8)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder.with_name("pristine"), folder)
    return folder / name_of(8)
