"""Writing one shard: a pure function of its samples, their numbers, and what the recipe says of each.

It depends on no other shard and on no process, so that any number of processes may write them in any order. A shard
takes its name only when it is whole, with a note beside it of what its bytes are: by that, a build that was stopped
goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from webdataset.writer import TarWriter

from aedist.errors import UserError
from aedist.shards.attributes import Kinds, Summary, note, parse_attributes, summarise
from aedist.shards.fields import class_number, image_extension, image_size
from aedist.shards.index import Shard, describe_bytes
from aedist.shards.samples import Samples, Unreadable
from aedist.whole import beside, write_whole

Tick = Callable[[int], None]
"""Is told how many more samples were written."""

_TICK_SAMPLES = 50


@dataclass(frozen=True)
class Expected:
    """What every sample of a split must be, and how its key is spelt."""

    split: str
    encoding: str
    image_shape: tuple[int, int, int]
    num_classes: int
    digits: int


@dataclass(frozen=True)
class Written:
    """A shard on the disk, the attributes in it, and the originals that could not be read, each with the reason."""

    shard: Shard
    attributes: Summary
    unreadable: tuple[tuple[str, str], ...]


def write_shard(samples: Samples, expected: Expected, job: tuple[Path, Sequence[int]], tick: Tick) -> Written:
    """Write the samples of some numbers as one tar, and beside it the note of what it is.

    ``job`` is where, and the numbers in their order; ``tick`` is told of the progress.
    Modes, owners and times are constant, and whole seconds, since a fraction would add a PAX header to every member.

    Raises:
        UserError: if a sample is not what the recipe says, or the tar cannot be written.
    """
    (path, numbers), kinds = job, Kinds()
    unreadable: list[tuple[str, str]] = []
    try:
        with beside(path).open("wb") as file, TarWriter(file, encoder=False, mtime=0) as tar:
            for done, number in enumerate(numbers, start=1):
                try:
                    fields = samples[number]
                except Unreadable as error:
                    unreadable.append((error.name, error.reason))
                else:
                    _check(fields, expected, number, kinds)
                    tar.write({"__key__": f"{number:0{expected.digits}d}", **fields})
                if done % _TICK_SAMPLES == 0 or done == len(numbers):
                    tick(_TICK_SAMPLES if done % _TICK_SAMPLES == 0 else done % _TICK_SAMPLES)
        described = describe_bytes(beside(path))
        written = Written(
            Shard(path.name, len(numbers) - len(unreadable), *described), summarise(kinds), tuple(unreadable)
        )
        beside(path).replace(path)
        write_whole(_note_path(path), json.dumps(asdict(written)))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room or rights") from error
    return written


def prove_shard(path: Path, tick: Tick | None = None, *, with_unreadable: bool = False) -> Written | None:
    """The shard at ``path`` if an earlier build had finished it, every byte compared; else None.

    Unless ``with_unreadable`` says so, one that lacks originals which could not be read is not taken: they may have
    been mended since. (``tick`` is for workers, and told nothing.)
    """
    del tick
    written = _noted(path)
    if written is None or (written.unreadable and not with_unreadable):
        return None
    try:
        found = describe_bytes(path)
    except OSError:
        return None
    return written if found == (written.shard.bytes, written.shard.sha256, written.shard.crc32_per_mib) else None


def is_noted(path: Path, *, with_unreadable: bool = False) -> bool:
    """Whether the shard at ``path`` is there by its note and its length, without a look at its bytes."""
    written = _noted(path)
    if written is None or (written.unreadable and not with_unreadable):
        return False
    return path.is_file() and path.stat().st_size == written.shard.bytes


def _noted(path: Path) -> Written | None:
    """What the note beside a shard says of it."""
    try:
        record = json.loads(_note_path(path).read_text(encoding="utf-8"))
        shard = record["shard"]
        shard = Shard(shard["file"], shard["samples"], shard["bytes"], shard["sha256"], tuple(shard["crc32_per_mib"]))
        attributes = {
            name: kind if isinstance(kind, str) else tuple(kind) for name, kind in record["attributes"].items()
        }
        unreadable = tuple((str(name), str(reason)) for name, reason in record["unreadable"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Written(shard, attributes, unreadable) if shard.file == path.name else None


def remove_notes(folder: Path) -> None:
    """Take the notes away when the shards of a folder are all there."""
    for path in folder.glob(".*.tar.written"):
        path.unlink()


def _note_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.written")


def _check(fields: dict[str, bytes], expected: Expected, number: int, kinds: Kinds) -> None:
    """Refuse a sample that the recipe does not describe; add its attributes to the kinds."""
    where = f"{expected.split} sample {number}"
    try:
        encoding = image_extension(fields)
        shape = image_size(fields[encoding], encoding)
        label = class_number(fields["cls"]) if "cls" in fields else -1
        if "json" in fields:
            note(kinds, parse_attributes(fields["json"]))
    except ValueError as error:
        raise UserError(f"{where}: {error}; the source must be corrected") from error
    widened = (*shape[:2], expected.image_shape[2]) if shape[2] == 1 else shape  # grey may stand among colour
    if (encoding, widened) != (expected.encoding, expected.image_shape):
        raise UserError(
            f"image: the recipe says {expected.encoding} of {expected.image_shape}, "
            f"{where} is {encoding} of {shape}; correct the recipe"
        )
    if label >= expected.num_classes:
        raise UserError(
            f"classes: the recipe has {expected.num_classes} names, {where} is of class {label}; add the missing names"
        )
