"""Checkpoints that are whole or absent.

A checkpoint is written beside its place, every file and the folder fsynced, with the sha256 of each file in
a manifest, and then renamed: a kill at any moment leaves either no new checkpoint or a sound one. Loading
takes the newest whose every byte agrees with its manifest. The last few and the best one are kept, and
nothing is deleted before what replaces it is durable. Only safetensors and JSON are read, never pickle; only plain
files, never links; and no more of them than the manifest states. Names and order go by steps, never by a clock.
"""

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from aedist.errors import UserError
from aedist.tensorfile import file_pieces
from aedist.whole import sync_folder

_MANIFEST, _NUMBERS = "manifest.json", "state.json"
_PARTIAL, _DOOMED = ".partial-", ".doomed-"
_NAME = re.compile(r"step-[0-9]{9,}")
_FILE = re.compile(r"[a-z]+\.(safetensors|json)")
_MANIFEST_BYTES = 2**16
_PIECE_BYTES = 2**22

Tensors = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class _Stated:
    """What a manifest says of a file."""

    bytes: int
    sha256: str


def name_of(step: int) -> str:
    """The folder name of the checkpoint after ``step`` steps."""
    return f"step-{step:09d}"


def save_checkpoint(folder: Path, step: int, tensors: Tensors, numbers: dict[str, Any]) -> Path:
    """Write the checkpoint of ``step`` into ``folder``, durable when this returns.

    Checkpoints of later steps are removed then: a run that comes to this step went on from an earlier one, so they
    are unsound, and the newest must not be hidden behind them.

    Raises:
        UserError: if the disk does not take it; what was there before is untouched.
    """
    place, beside = folder / name_of(step), folder / (_PARTIAL + name_of(step))
    files: dict[str, Iterable[bytes | memoryview]] = {
        f"{group}.safetensors": file_pieces(group_tensors) for group, group_tensors in tensors.items()
    }
    files[_NUMBERS] = [json.dumps(numbers, indent=1).encode()]
    try:
        _remove_left_overs(folder)
        beside.mkdir(parents=True)
        manifest = {name: _write_durably(beside / name, pieces) for name, pieces in files.items()}
        _write_durably(beside / _MANIFEST, [json.dumps({"step": step, "files": manifest}, indent=1).encode()])
        sync_folder(beside)
        if place.exists():  # an unsound one of the same step, or one a resumed run passes again
            _remove(place)
        beside.rename(place)
        sync_folder(folder)
        for later in checkpoints(folder):
            if step_of(later) > step:
                _remove(later)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise UserError(
            f"{place}: the checkpoint cannot be written ({error.strerror or error}); make room, or give the right to"
        ) from error
    except UserError:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return place


def load_checkpoint(place: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and numbers of one checkpoint, every byte checked against its manifest.

    Raises:
        UserError: saying what is wrong with which file.
    """
    tensors, numbers = dict[str, dict[str, Tensor]](), dict[str, Any]()
    for name, stated in _read_manifest(place).items():
        body = b"".join(_sound_pieces(place / name, stated))
        if name == _NUMBERS:
            numbers = _parse_numbers(place, body)
        elif name.endswith(".safetensors"):
            try:
                tensors[Path(name).stem] = load(body)
            except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"{place / name}: is not a checkpoint of this version ({reason})") from error
    return tensors, numbers


def check_bytes(place: Path) -> int:
    """Compare every byte of a checkpoint with its manifest, a few MiB in memory at a time; returns how many.

    Raises:
        UserError: saying what is wrong with which file.
    """
    files = _read_manifest(place)
    return sum(len(piece) for name, stated in files.items() for piece in _sound_pieces(place / name, stated))


def read_numbers(place: Path) -> dict[str, Any]:
    """The numbers of one checkpoint alone; of its other files nothing is read.

    Raises:
        UserError: saying what is wrong with which file.
    """
    stated = _read_manifest(place)[_NUMBERS]
    return _parse_numbers(place, b"".join(_sound_pieces(place / _NUMBERS, stated)))


def newest_sound(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is sound; ``say`` is told of every newer one that is not, and why."""
    for place in reversed(checkpoints(folder)):
        try:
            check_bytes(place)
        except UserError as error:
            say(f"{error}; looking for the one before")
            continue
        return place
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, oldest first, whether sound or not."""
    found = [place for place in folder.glob("step-*") if _NAME.fullmatch(place.name) and place.is_dir()]
    return sorted(found, key=step_of)


def step_of(place: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(place.name.removeprefix("step-"))


def keep(folder: Path, last: int, best_step: int | None) -> None:
    """Remove all checkpoints but the ``last`` newest and the best one, and what interrupted writes left."""
    spare = {place.name for place in checkpoints(folder)[-last:]}
    if best_step is not None:
        spare.add(name_of(best_step))
    for place in checkpoints(folder):
        if place.name not in spare:
            _remove(place)
    _remove_left_overs(folder)


def _read_manifest(place: Path) -> dict[str, _Stated]:
    """What a checkpoint's manifest says of each file."""
    path = place / _MANIFEST
    try:
        with _open_plain(path) as file:
            text = file.read(_MANIFEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(text) > _MANIFEST_BYTES:
        raise UserError(f"{path}: is longer than the {_MANIFEST_BYTES} bytes of any manifest, so it was damaged")
    try:
        manifest = json.loads(text)
        files = {name: _Stated(entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
        step = manifest["step"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: is not a manifest, so it was damaged") from error
    if step != step_of(place):
        raise UserError(f"{path}: is the manifest of step {step!r:.40}, so it was damaged or moved")
    for name, stated in files.items():
        if not _FILE.fullmatch(name):
            raise UserError(f"{path}: names a file outside the checkpoint: {name!r:.80}")
        if type(stated.bytes) is not int or type(stated.sha256) is not str:
            raise UserError(f"{path}: does not state the bytes and sha256 of {name}, so it was damaged")
    if _NUMBERS not in files:
        raise UserError(f"{path}: names no {_NUMBERS}, so it was damaged")
    return files


def _parse_numbers(place: Path, body: bytes) -> dict[str, Any]:
    try:
        numbers = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200]
        raise UserError(f"{place / _NUMBERS}: is not a checkpoint of this version ({reason})") from error
    if not isinstance(numbers, dict):
        raise UserError(f"{place / _NUMBERS}: is not a checkpoint of this version (no object of numbers)")
    return numbers


def _sound_pieces(path: Path, stated: _Stated) -> Iterator[bytes]:
    """The bytes of a file, piece by piece; whoever comes to the end knows that they are as stated."""
    digest = hashlib.sha256()
    try:
        with _open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != stated.bytes:
                raise UserError(f"{path}: has {size} bytes, not {stated.bytes}, so it was damaged")
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                yield piece
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if digest.hexdigest() != stated.sha256:
        raise UserError(f"{path}: its sha256 is not the manifest's, so it was damaged")


def _open_plain(path: Path) -> IO[bytes]:
    """Open a file to read. A link is refused by the system; a device or a pipe, which may have no end, here."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: is not a plain file, so it was damaged")
    return file


def _write_durably(path: Path, pieces: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Write a file and put it on the disk; returns what a manifest says of it."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}


def _remove_left_overs(folder: Path) -> None:
    """Delete what interrupted writes and removals left."""
    for left in [*folder.glob(_PARTIAL + "*"), *folder.glob(_DOOMED + "*")]:
        _delete(left)


def _remove(place: Path) -> None:
    """Delete a checkpoint so that a kill half way leaves nothing that looks like one."""
    doomed = place.with_name(_DOOMED + place.name)
    _delete(doomed)
    place.rename(doomed)
    _delete(doomed)


def _delete(path: Path) -> None:
    """Delete a folder with what is in it, or a link, as far as that goes."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
