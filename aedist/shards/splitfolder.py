"""The folder of a split while it is being made and once it is there: what is kept, what is refused, what is recorded.

``recipe.json`` in it holds all that decided its bytes: of the recipe, and under ``found`` of the originals. A folder
is made beside its place, with a plan in it that says the same, so that a build which was stopped goes on only where it
would make the same split.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aedist.errors import UserError
from aedist.routes import Say
from aedist.shards.index import INDEX_NAME, Index, check_present, read_index, write_index
from aedist.shards.recipe import Recipe
from aedist.shards.samples import Described
from aedist.shards.write import Written, prove_shard, remove_notes
from aedist.whole import write_whole

RECORD_NAME = "recipe.json"
FILES_NAME = "files.txt"
_PLAN_NAME = ".plan.json"
_FOUND = "found"
_VERSION = 1  # of what is written; raised when the same recipe would give other bytes


def part_of(folder: Path) -> Path:
    """Where a split is made before it takes its place."""
    return folder.with_name(f".{folder.name}.part")


def record_of(recipe: Recipe, split: str, samples: Described | None = None) -> dict[str, Any]:
    """All that decides the bytes of a split: of the recipe, and of the originals where they are given."""
    told = recipe.model_dump(mode="json", exclude={"licence", "credit", "splits"})
    if not recipe.options:
        del told["options"]
    number = list(recipe.splits).index(split)
    record = {"version": _VERSION, "split": split, "number": number, "samples": recipe.splits[split].samples, **told}
    if samples is not None and (samples.notes or samples.listing):
        record[_FOUND] = {"listing": samples.listing, **samples.notes}
    return record


def is_finished(folder: Path, recipe: Recipe, split: str, say: Say) -> bool:
    """Whether the split is there as this recipe makes it. False if it is ours but incomplete, or not there.

    Raises:
        UserError: if the folder holds anything else.
    """
    if not folder.exists():
        return False
    record = _read_record(folder / RECORD_NAME)
    if not {"version", "split", "name"} <= record.keys():  # perhaps a user's photographs, named as a split
        raise UserError(
            f"{folder}: is there, and no build made it (it holds no {RECORD_NAME} of one); move it away, or build into "
            f"another folder"
        )
    if _without_found(record) != record_of(recipe, split):
        raise UserError(
            f"{folder}: is there, and this recipe did not make it; remove the folder, or build into another"
        )
    tars = {path.name for path in folder.glob(f"{recipe.name}-{split}-*.tar")}
    refuse_foreign(folder, tars | {INDEX_NAME, RECORD_NAME, FILES_NAME}, "a shard")
    try:
        index = read_index(folder)
        check_present(folder, index)
    except UserError as error:
        say(f"{error}: so the split is built again")
        return False
    say(f"{folder}: {index.num_samples:,} samples are there already (aedist shards verify {folder} checks every byte)")
    return True


def refuse_other_originals(folder: Path, samples: Described) -> None:
    """Refuse to keep a split that was made from other originals than those that are given now.

    Raises:
        UserError: if their names, sizes, or what their lists say of them are others.
    """
    before = _read_record(folder / RECORD_NAME).get(_FOUND, {}).get("listing", "")
    if before != samples.listing:
        raise UserError(
            f"{folder}: was made from other originals than these, by what there is or what their lists say; remove the "
            f"folder to build it again, or build into another"
        )


def begin(part: Path, record: Mapping[str, Any], shards: Iterable[Path], say: Say) -> dict[Path, Written]:
    """Open the folder in which a split is made, and give the shards that a build of the same plan finished in it."""
    kept: dict[Path, Written] = {}
    if part.exists() and _read_record(part / _PLAN_NAME) == _as_read(record):
        kept = {path: written for path in shards if (written := prove_shard(path)) is not None}
        say(f"{part}: of a build that was stopped: {len(kept)} shards are right and are kept")
    elif part.exists():
        say(f"{part}: of a build that was stopped, of another recipe or other originals: begun again")
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    write_whole(part / _PLAN_NAME, json.dumps(record))
    return kept


def join(part: Path, record: Mapping[str, Any]) -> None:
    """Open the folder in which several builds make one split together.

    Raises:
        UserError: if what is there is of another split, by recipe or originals; that may be other parts' work.
    """
    if part.exists():
        before, ours = _read_record(part / _PLAN_NAME), _as_read(record)
        if before != ours and (before or any(part.glob("*.tar"))):
            differ = [name for name in ours.keys() | before.keys() if before.get(name) != ours.get(name)]
            named = ", ".join("originals" if name == _FOUND else name for name in sorted(differ))
            raise UserError(
                f"{part}: was begun with another recipe or other originals (by {named}); give all parts the same, or "
                f"remove the folder to begin again"
            )
    part.mkdir(parents=True, exist_ok=True)
    write_whole(part / _PLAN_NAME, json.dumps(record))


def finish(part: Path, folder: Path, record: Mapping[str, Any], samples: Described, index: Index) -> None:
    """Write what describes a split whose shards are all there, and put it into its place."""
    for path in set(part.glob("*.tar")) - {part / shard.file for shard in index.shards}:
        path.unlink()  # of samples that were all unreadable
    if samples.files:
        names = "".join(f"{_one_line(name)}\n" for name in samples.files)
        write_whole(part / FILES_NAME, names)
    write_whole(part / RECORD_NAME, json.dumps(record, indent=1) + "\n")
    write_index(part, index)
    _put(part, folder)


def put_if_described(part: Path, folder: Path, record: Mapping[str, Any], say: Say) -> bool:
    """Put a split into its place whose index was written already when its build was stopped. Whether there was one."""
    if not (part / INDEX_NAME).is_file():
        return False
    before = _read_record(part / RECORD_NAME)
    found, found_before = record.get(_FOUND, {}), before.get(_FOUND, {})
    if _without_found(before) != _without_found(_as_read(record)) or found_before.get("listing") != found.get(
        "listing"
    ):
        return False
    try:
        check_present(part, read_index(part))
    except UserError:
        return False
    _put(part, folder)
    say(f"{folder}: of a build that was stopped at its very end: finished")
    return True


def _put(part: Path, folder: Path) -> None:
    remove_notes(part)
    (part / _PLAN_NAME).unlink(missing_ok=True)
    if folder.exists():  # ours, and damaged: see is_finished
        (folder / INDEX_NAME).unlink(missing_ok=True)
        shutil.rmtree(folder)
    part.replace(folder)


def with_unreadable(record: Mapping[str, Any], unreadable: Mapping[str, str]) -> dict[str, Any]:
    """The record with the originals that turned out to be unreadable while they were written."""
    found = dict(record.get(_FOUND, {}))
    listed = {**found.get("unreadable", {}), **unreadable}
    return {**record, _FOUND: {**found, "num_unreadable": len(listed), "unreadable": listed}}


def refuse_foreign(folder: Path, allowed: set[str], what: str, start: str | None = None) -> None:
    """Refuse a folder that holds what did not come from here; what begins with ``start`` did."""
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    foreign = [name for name in names if name not in allowed and not (start and name.startswith(start))]
    if foreign:
        raise UserError(
            f"{folder / foreign[0]}: is not {what} of this data set; move it away, or build into another folder"
        )


def _read_record(path: Path) -> dict[str, Any]:
    """The record of a folder; empty where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _without_found(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != _FOUND}


def _as_read(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it comes back from its file."""
    return json.loads(json.dumps(record))


def _one_line(name: str) -> str:
    """A file's name as a line: what is no printable character, escaped as Python does."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()
