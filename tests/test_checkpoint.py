"""Checkpoints are whole or absent: killed at any file operation, cut, flipped or forged, only what was saved loads."""

import io
import json
import os
import pickle
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aedist import checkpoint
from aedist.checkpoint import checkpoints, keep, load_checkpoint, name_of, newest_sound, save_checkpoint, step_of
from aedist.errors import UserError
from aedist.training.state import Progress, TrainState

NUMBERS = {"progress": {"step": 8, "best_value": 0.1 + 0.2, "best_step": None}}
FILES = ("manifest.json", "state.json", "model.safetensors", "optimizer.safetensors")


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors of several types that a step names, a NaN, a negative zero and a scalar among them."""
    generator = torch.Generator().manual_seed(step)
    weights = torch.randn(7, 5, generator=generator)
    weights[0, :2] = torch.tensor([float("nan"), -0.0])
    return {
        "model": {"weight": weights, "bias": weights[1].bfloat16(), "wide": weights[2].double()},
        "optimizer": {"weight.step": torch.tensor(float(step)), "count": torch.arange(step)},
    }


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, step, tensors(step), {**NUMBERS, "progress": {**NUMBERS["progress"], "step": step}})


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def assert_is_as_saved(place: Path) -> None:
    found, numbers = load_checkpoint(place)
    assert numbers["progress"]["step"] == step_of(place)
    assert numbers["progress"]["best_value"] == 0.1 + 0.2
    expected = tensors(step_of(place))
    assert {group: set(named) for group, named in found.items()} == {g: set(named) for g, named in expected.items()}
    for group, named in expected.items():
        for name, tensor in named.items():
            assert bits(found[group][name]) == bits(tensor), (group, name)


def silent(line: str) -> None:
    pytest.fail(f"nothing is wrong, but was told: {line}")


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    place = save(tmp_path / "new" / "folder", 8)
    assert place == tmp_path / "new" / "folder" / "step-000000008"
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    assert_is_as_saved(place)
    assert newest_sound(place.parent, silent) == place


def test_no_checkpoints_are_none(tmp_path: Path) -> None:
    assert newest_sound(tmp_path / "nowhere", silent) is None
    assert checkpoints(tmp_path / "nowhere") == []


def test_checkpoints_are_in_the_order_of_steps_whatever_else_lies_there(tmp_path: Path) -> None:
    for step in (999_999_999, 1_000_000_000, 7):
        (tmp_path / name_of(step)).mkdir()
    (tmp_path / "step-of-somebody").mkdir()
    (tmp_path / name_of(8)).write_text("a file")
    assert [step_of(place) for place in checkpoints(tmp_path)] == [7, 999_999_999, 1_000_000_000]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_restored_optimiser_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    """Also where a parameter is frozen, and so has no moments."""

    def fresh(seed: int) -> TrainState:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
        model[0].bias.requires_grad_(False)
        cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return TrainState(model, cls(trained, lr=0.01, weight_decay=0.1, fused=True), None, Progress())

    def go_on(state: TrainState, steps: int) -> None:
        for _ in range(steps):
            x = torch.randn(4, 6, generator=torch.Generator().manual_seed(state.progress.step))
            state.model(x).square().mean().backward()
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.progress.step += 1

    straight = fresh(0)
    go_on(straight, 3)
    straight.progress.epoch_sums["squared_error"] = 1 / 3
    place = save_checkpoint(tmp_path, 3, straight.tensors(), straight.numbers())
    go_on(straight, 4)
    resumed = fresh(1)
    go_on(resumed, 1)
    resumed.restore(*load_checkpoint(place))
    assert (resumed.progress.step, resumed.progress.epoch_sums) == (3, {"squared_error": 1 / 3})
    go_on(resumed, 4)
    assert resumed.tensors().keys() == {"model", "optimizer"}
    for group, named in straight.tensors().items():
        for key, tensor in named.items():
            assert bits(resumed.tensors()[group][key]) == bits(tensor), key


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
@pytest.mark.parametrize("cut", [0, 1, 0.5, -1], ids=["empty", "one byte", "half", "all but one byte"])
def test_a_truncated_file_falls_back(two: Path, file: str, cut: float) -> None:
    path = two / name_of(16) / file
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * cut) if isinstance(cut, float) else cut])
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
    import hashlib

    (place / name).write_bytes(body)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
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


def test_a_manifest_names_no_file_outside(tmp_path: Path) -> None:
    place = save(tmp_path / "run", 8)
    forge(place, "../../secret.safetensors", b"secret")
    with pytest.raises(UserError, match="names a file outside the checkpoint"):
        load_checkpoint(place)


def steps(folder: Path) -> list[int]:
    return [step_of(place) for place in checkpoints(folder)]


def test_the_last_few_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (8, 16, 24, 32, 40):
        save(tmp_path, step)
    keep(tmp_path, 2, best_step=16)
    assert steps(tmp_path) == [16, 32, 40]
    keep(tmp_path, 2, best_step=40)
    assert steps(tmp_path) == [32, 40]
    keep(tmp_path, 1, best_step=None)
    assert steps(tmp_path) == [40]
    assert_is_as_saved(tmp_path / name_of(40))


def test_an_unsound_later_checkpoint_never_outlives_a_sound_one(two: Path) -> None:
    """A run that fell back to step 8 saves step 12: were step 16 still there, it would count as the last kept."""
    (two / name_of(16) / "model.safetensors").write_bytes(b"")
    save(two, 12)
    keep(two, 1, best_step=None)
    assert steps(two) == [12]
    assert_is_as_saved(two / name_of(12))


def test_saving_over_an_unsound_checkpoint_of_the_same_step(two: Path) -> None:
    (two / name_of(16) / "model.safetensors").write_bytes(b"")
    save(two, 16)
    assert newest_sound(two, silent) == two / name_of(16)
    assert_is_as_saved(two / name_of(16))


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


DIED = 77


def _die_at(fatal: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a forked process that ends without notice before its ``fatal``-th file operation.

    Returns whether it came to its end before that.
    """
    child = os.fork()
    if child == 0:
        try:
            count = 0

            def before() -> None:
                nonlocal count
                count += 1
                if count == fatal:
                    os._exit(DIED)

            def counted(function: Callable[..., Any]) -> Callable[..., Any]:
                def call(*args: Any, **options: Any) -> Any:
                    before()
                    return function(*args, **options)

                return call

            for name in ("open", "fsync", "rename", "mkdir", "rmdir", "unlink"):
                setattr(os, name, counted(getattr(os, name)))
            opened = counted(io.open)

            def torn(*args: Any, **options: Any) -> Any:
                file = opened(*args, **options)
                return _Torn(file, before) if isinstance(file, io.BufferedWriter) else file

            io.open = torn
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, DIED), "the work itself failed"
    return code == 0


@pytest.mark.parametrize("before", ["sound", "unsound at this step"])
def test_a_kill_at_any_file_operation_leaves_the_previous_checkpoint_or_the_new_one(
    tmp_path: Path, before: str
) -> None:
    """Saving and clearing up, killed before each operation in turn and in the middle of each write: 0 unusable."""
    base, folder = tmp_path / "base", tmp_path / "folder"
    for step in (4, 8, 12):
        save(base, step)
    if before == "unsound at this step":
        save(base, 16)
        (base / name_of(16) / "model.safetensors").write_bytes(b"")

    def save_and_clear_up() -> None:
        save(folder, 16)
        keep(folder, 1, best_step=4)

    found, fatal, finished = list[int](), 0, False
    while not finished:
        fatal += 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base, folder)
        finished = _die_at(fatal, save_and_clear_up)
        newest = newest_sound(folder, lambda line: None)
        assert newest is not None
        found.append(step_of(newest))
        assert_is_as_saved(newest)
        assert_is_as_saved(folder / name_of(4))
        save_and_clear_up()  # the run, started again
        assert sorted(path.name for path in folder.iterdir()) == [name_of(4), name_of(16)]
        assert_is_as_saved(folder / name_of(16))
    assert found == sorted(found), "once the new one is there, it stays"
    assert set(found) == {12, 16}
    assert fatal > 25


def test_a_full_disk_is_one_clear_line_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    save(tmp_path, 8)
    big = {"model": {"weight": torch.zeros(100_000)}}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
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


def test_left_overs_make_room_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".partial-step-000000004", ".doomed-step-000000003"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"x")
    there = list[list[str]]()
    write: Callable[[Path, bytes], None] = checkpoint._write_durably
    monkeypatch.setattr(
        checkpoint,
        "_write_durably",
        lambda path, body: (there.append(sorted(entry.name for entry in tmp_path.iterdir())), write(path, body)),
    )
    save(tmp_path, 8)
    assert there[0] == [".partial-step-000000008"]
