"""Checkpoints that are whole or absent.

A checkpoint is written beside its place, every file and the folder fsynced, with the sha256 of each file in
a manifest, and then renamed: a kill at any moment leaves either no new checkpoint or a sound one. Loading
takes the newest whose every byte agrees with its manifest. The last few and the best one are kept, and
nothing is deleted before what replaces it is durable. Only safetensors and JSON are read, never pickle.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from aedist.errors import UserError
from aedist.whole import sync_folder

_MANIFEST, _NUMBERS = "manifest.json", "state.json"
_PARTIAL, _DOOMED = ".partial-", ".doomed-"
_NAME = re.compile(r"step-[0-9]{9,}")

Tensors = dict[str, dict[str, Tensor]]


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
    files = {f"{group}.safetensors": save(group_tensors) for group, group_tensors in tensors.items()}
    files[_NUMBERS] = json.dumps(numbers, indent=1).encode()
    manifest = {name: {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in files.items()}
    files[_MANIFEST] = json.dumps({"step": step, "files": manifest}, indent=1).encode()
    try:
        _remove_left_overs(folder)
        beside.mkdir(parents=True)
        for name, body in files.items():
            _write_durably(beside / name, body)
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
            f"{place}: the checkpoint cannot be written ({error.strerror}); make room and start again"
        ) from error
    return place


def load_checkpoint(place: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and numbers of one checkpoint, every byte checked against its manifest.

    Raises:
        UserError: saying what is wrong with which file.
    """
    files = _sound_files(place)
    try:
        tensors = {Path(name).stem: load(body) for name, body in files.items() if name.endswith(".safetensors")}
        return tensors, json.loads(files[_NUMBERS])
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{place}: is not a checkpoint of this version ({error})") from error


def newest_sound(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is sound; ``say`` is told of every newer one that is not, and why."""
    for place in reversed(checkpoints(folder)):
        try:
            _sound_files(place)
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


def _sound_files(place: Path) -> dict[str, bytes]:
    """The files of a checkpoint, each agreeing with the manifest."""
    try:
        manifest = json.loads((place / _MANIFEST).read_bytes())
        stated = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
        step = manifest["step"]
    except OSError as error:
        raise UserError(f"{place / _MANIFEST}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{place / _MANIFEST}: is not a manifest, so it was damaged") from error
    if step != step_of(place):
        raise UserError(f"{place / _MANIFEST}: is the manifest of step {step!r}, so it was damaged or moved")
    files: dict[str, bytes] = {}
    for name, (size, sha256) in stated.items():
        if Path(name).name != name:
            raise UserError(f"{place / _MANIFEST}: names a file outside the checkpoint: {name!r}")
        try:
            files[name] = (place / name).read_bytes()
        except OSError as error:
            raise UserError(f"{place / name}: cannot be read ({error.strerror})") from error
        if len(files[name]) != size:
            raise UserError(f"{place / name}: has {len(files[name])} bytes, not {size}, so it was damaged")
        if hashlib.sha256(files[name]).hexdigest() != sha256:
            raise UserError(f"{place / name}: its sha256 is not the manifest's, so it was damaged")
    return files


def _write_durably(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _remove_left_overs(folder: Path) -> None:
    """Delete what interrupted writes and removals left."""
    for left in [*folder.glob(_PARTIAL + "*"), *folder.glob(_DOOMED + "*")]:
        shutil.rmtree(left, ignore_errors=True)


def _remove(place: Path) -> None:
    """Delete a checkpoint so that a kill half way leaves nothing that looks like one."""
    doomed = place.with_name(_DOOMED + place.name)
    shutil.rmtree(doomed, ignore_errors=True)
    place.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
