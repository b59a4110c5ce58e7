"""The index of a split: which shards there are, how many samples each holds, and what their bytes are.

One ``index.json`` lies beside the tars of a split. It is the contract between writing shards and reading
them: counts make the data plan a pure function, sizes and hashes make damage visible, and the CRC-32 of
every MiB says where a damaged shard is damaged. Its fingerprint names the data of a run.
"""

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from aedist.errors import UserError
from aedist.shards.attributes import Summary
from aedist.shards.indexform import CHUNK_BYTES, check_form, shown
from aedist.whole import write_whole

FORMAT = "aedist-shards-1"
INDEX_NAME = "index.json"
MAX_INDEX_BYTES = 2**28


@dataclass(frozen=True)
class Shard:
    """One tar: its file name beside the index, and what is in it."""

    file: str
    samples: int
    """How many samples of it are used: all that it holds, but for the lost ones."""
    bytes: int
    sha256: str
    crc32_per_mib: tuple[int, ...]
    lost: tuple[int, ...] = ()
    """The samples that cannot be used, by their numbers in the tar, from 0. Never in a file: see ``Index.without``."""


@dataclass(frozen=True)
class Index:
    """The shards of one split, in order. ``image_shape`` is (height, width, channels) of every image.

    ``class_ids`` are the identifiers that the originals give the classes, where those are not their names;
    ``attributes`` says of each attribute ``bool``, ``int``, or the texts that occur. Both may be empty.
    """

    name: str
    split: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]
    class_ids: tuple[str, ...] = ()
    attributes: Summary = field(default_factory=dict[str, str | tuple[str, ...]])

    @property
    def num_samples(self) -> int:
        """N, the samples of all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of all tars."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all images as uint8."""
        height, width, channels = self.image_shape
        return self.num_samples * height * width * channels

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the shards' sample counts and sha256: equal for equal data, wherever they lie."""
        text = "\n".join(f"{shard.samples} {shard.sha256}{_spell_lost(shard)}" for shard in self.shards)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def num_lost(self) -> int:
        """Samples that the tars should hold and that are left out."""
        return sum(len(shard.lost) for shard in self.shards)

    def without(self, lost: Mapping[int, Collection[int]]) -> "Index":
        """The same split without some samples: other data, with a fingerprint of its own and ids that close up.

        Args:
            lost: by the number of a shard, the numbers of samples in it.
        """
        shards = list(self.shards)
        for number, gone in lost.items():
            whole = self.shards[number]
            shards[number] = replace(whole, samples=whole.samples - len(set(gone)), lost=tuple(sorted(set(gone))))
        return replace(self, shards=tuple(shards))


def describe_bytes(path: Path) -> tuple[int, str, tuple[int, ...]]:
    """(bytes, sha256, CRC-32 of every MiB) of a file, read once."""
    digest, crcs, size = hashlib.sha256(), list[int](), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            crcs.append(zlib.crc32(chunk))
            size += len(chunk)
    return size, digest.hexdigest(), tuple(crcs)


def write_index(folder: Path, index: Index) -> Path:
    """Write ``folder/index.json`` whole or not at all; a shard a line, so that two indices can be compared."""
    assert not index.num_lost  # noqa: S101 (an index tells what is in the tars)
    record: dict[str, Any] = {"format": FORMAT, **asdict(index), "fingerprint": index.fingerprint}
    shards = [{name: value for name, value in shard.items() if name != "lost"} for shard in record.pop("shards")]
    for name in ("class_ids", "attributes"):  # named where there are any
        if not record[name]:
            del record[name]
    head = json.dumps(record, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(shard) for shard in shards)
    path = folder / INDEX_NAME
    write_whole(path, f'{head},\n "shards": [\n{lines}\n ]\n}}\n', durable=True)
    return path


def read_index(folder: Path) -> Index:
    """The index in ``folder``, its form checked (not its shards: see ``check_present``).

    Raises:
        UserError: if it is missing, is not an index of this format, or contradicts itself.
    """
    path = folder / INDEX_NAME
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of shards; build it with 'aedist shards build'")
    if not path.is_file():
        raise UserError(f"{path}: missing; 'aedist shards index {folder}' writes it for shards that others wrote")
    try:
        with path.open("rb") as file:
            text = file.read(MAX_INDEX_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); write it anew with 'aedist shards index'"
        ) from error
    return parse_index(text, str(path))


def parse_index(text: bytes, where: str) -> Index:
    """The index that the bytes of an ``index.json`` spell, its form checked.

    Args:
        text: its bytes.
        where: what to call it in messages.

    Raises:
        UserError: if it is not an index of this format, or contradicts itself.
    """
    try:
        if len(text) > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES:,} bytes")
        record = json.loads(text.decode("utf-8"))
        found = record["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else shown(error, str)
        raise UserError(f"{where}: is not an index ({reason}); write it anew with 'aedist shards index'") from error
    if found != FORMAT:
        raise UserError(f"{where}: format is {shown(found)}, this version reads {FORMAT!r}; write it anew")
    try:
        form = check_form(record)
        shards = tuple(Shard(**shard) for shard in form.pop("shards"))
        index = Index(shards=shards, **form)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else shown(error, str)
        raise UserError(f"{where}: {reason}; write it anew with 'aedist shards index'") from error
    if record.get("fingerprint") != index.fingerprint:
        raise UserError(f"{where}: its fingerprint does not follow from its shards, so it was edited; write it anew")
    return index


def _spell_lost(shard: Shard) -> str:
    return f" without {','.join(map(str, shard.lost))}" if shard.lost else ""


def check_present(folder: Path, index: Index) -> None:
    """Refuse, before any work, shards that are missing or of another length than the index says.

    A shard of which samples are lost is not judged: it was looked at when they were found out.

    Raises:
        UserError: naming the first such shard, and how many there are.
    """
    for problem, wrong in (
        ("is missing", [s for s in index.shards if not s.lost and not (folder / s.file).is_file()]),
        ("has another length than the index says", list(_of_other_length(folder, index))),
    ):
        if not wrong:
            continue
        path, more = folder / wrong[0].file, f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        size = f": {path.stat().st_size} bytes, not {wrong[0].bytes}" if path.is_file() else ""
        raise UserError(f"{path}: {problem}{size}{more}; build or copy it again, or index the folder anew")


def _of_other_length(folder: Path, index: Index) -> Iterator[Shard]:
    for shard in index.shards:
        path = folder / shard.file
        if not shard.lost and path.is_file() and path.stat().st_size != shard.bytes:
            yield shard
