"""The index of a split: which shards there are, how many samples each holds, and what their bytes are.

One ``index.json`` lies beside the tars of a split. It is the contract between writing shards and reading
them: counts make the data plan a pure function, sizes and hashes make damage visible, and the CRC-32 of
every MiB says where a damaged shard is damaged. Its fingerprint names the data of a run.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from aedist.errors import UserError
from aedist.shards.attributes import Summary
from aedist.whole import write_whole

FORMAT = "aedist-shards-1"
INDEX_NAME = "index.json"
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Shard:
    """One tar: its file name beside the index, and what is in it."""

    file: str
    samples: int
    bytes: int
    sha256: str
    crc32_per_mib: tuple[int, ...]


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
        text = "\n".join(f"{shard.samples} {shard.sha256}" for shard in self.shards)
        return hashlib.sha256(text.encode()).hexdigest()


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
    record = {"format": FORMAT, **asdict(index), "fingerprint": index.fingerprint}
    shards = record.pop("shards")
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
    return parse_index(path.read_bytes(), str(path))


def parse_index(text: bytes, where: str) -> Index:
    """The index that the bytes of an ``index.json`` spell, its form checked.

    Args:
        text: its bytes.
        where: what to call it in messages.

    Raises:
        UserError: if it is not an index of this format, or contradicts itself.
    """
    try:
        record = json.loads(text.decode("utf-8"))
        found = record["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{where}: is not an index ({error}); write it anew with 'aedist shards index'") from error
    if found != FORMAT:
        raise UserError(f"{where}: format is {found!r}, this version reads {FORMAT!r}; write it anew")
    try:
        index = _parse(record)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where}: {error}; write it anew with 'aedist shards index'") from error
    if record.get("fingerprint") != index.fingerprint:
        raise UserError(f"{where}: its fingerprint does not follow from its shards, so it was edited; write it anew")
    return index


def _parse(record: dict[str, Any]) -> Index:
    """The index that a JSON record spells; raises ValueError with what is wrong with it."""
    shape, shards, classes = record["image_shape"], record["shards"], record["classes"]
    if not _are_sizes(shape) or len(shape) != 3:
        raise ValueError(f"image_shape must be [height, width, channels], not {shape!r}")
    if not isinstance(shards, list) or not shards:
        raise ValueError("shards must be a list of at least one shard")
    if not isinstance(classes, list):
        raise ValueError("classes must be a list of names")
    return Index(
        name=str(record["name"]),
        split=str(record["split"]),
        image_shape=(shape[0], shape[1], shape[2]),
        classes=tuple(str(name) for name in classes),
        shards=tuple(_parse_shard(shard) for shard in shards),
        class_ids=_parse_class_ids(record.get("class_ids", []), len(classes)),
        attributes=_parse_attributes(record.get("attributes", {})),
    )


def _parse_class_ids(ids: object, num_classes: int) -> tuple[str, ...]:
    if not isinstance(ids, list) or len(ids) not in (0, num_classes):
        raise ValueError("class_ids must be a list of one identifier a class")
    return tuple(str(name) for name in ids)


def _parse_attributes(record: object) -> Summary:
    if not isinstance(record, dict):
        raise ValueError("attributes must be an object of names")
    found: Summary = {}
    for name, kind in record.items():
        texts = isinstance(kind, list) and all(isinstance(text, str) for text in kind)
        if not texts and kind not in ("bool", "int"):
            raise ValueError(f"attributes: {name} must be 'bool', 'int' or a list of texts")
        found[str(name)] = tuple(str(text) for text in kind) if isinstance(kind, list) else str(kind)
    return found


def _parse_shard(record: object) -> Shard:
    if not isinstance(record, dict):
        raise ValueError(f"a shard must be an object, not {record!r}")
    file, samples, size, sha256 = (record[name] for name in ("file", "samples", "bytes", "sha256"))
    crcs = record["crc32_per_mib"]
    if not isinstance(file, str) or Path(file).name != file or not file:
        raise ValueError(f"shard file {file!r} must be a plain file name")
    if not _are_sizes([samples, size]):
        raise ValueError(f"{file}: samples and bytes must be positive whole numbers")
    if not isinstance(sha256, str) or len(sha256) != 64:
        raise ValueError(f"{file}: sha256 must be 64 hexadecimal digits")
    if not isinstance(crcs, list) or len(crcs) != -(-size // CHUNK_BYTES) or not all(isinstance(c, int) for c in crcs):
        raise ValueError(f"{file}: crc32_per_mib must hold a number for every MiB")
    return Shard(file, samples, size, sha256, tuple(crcs))


def _are_sizes(values: object) -> bool:
    """Whether ``values`` is a list of positive integers (true and false are not)."""
    return isinstance(values, list) and all(type(v) is int and v > 0 for v in values)


def check_present(folder: Path, index: Index) -> None:
    """Refuse, before any work, shards that are missing or of another length than the index says.

    Raises:
        UserError: naming the first such shard, and how many there are.
    """
    for problem, wrong in (
        ("is missing", [s for s in index.shards if not (folder / s.file).is_file()]),
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
        if path.is_file() and path.stat().st_size != shard.bytes:
            yield shard
