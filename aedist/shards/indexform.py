"""The form of an ``index.json``: which values may stand where, judged before anything is made of them.

An index may come from anywhere. So its names are plain file names, its texts one line, its numbers such as can be true
of a tar and of an image that memory holds, and what is wrong is told in a line that shows no more than it must.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHUNK_BYTES = 2**20
"""Bytes that a CRC-32 of an index is of."""
_LONGEST_SIDE = 8192  # of an image, which is held in memory whole: what a header may make a decoder allocate
_MOST_BYTES = 2**50  # of a shard
_SAMPLE_BYTES = 512  # a tar's header alone
_LONGEST_SHOWN = 200
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_form(record: dict[str, Any]) -> dict[str, Any]:
    """The values of an index that a JSON record spells, by the names of its fields; of shards, theirs.

    Raises:
        ValueError: with what is wrong.
        KeyError: if something is missing.
        TypeError: if it is no record at all.
    """
    shape, shards, classes = record["image_shape"], record["shards"], record["classes"]
    if not _are_sizes(shape) or len(shape) != 3:
        raise ValueError(f"image_shape must be [height, width, channels], not {shown(shape)}")
    if max(shape[:2]) > _LONGEST_SIDE or shape[2] not in (1, 3):
        raise ValueError(f"image_shape is {shown(shape)}: sides go to {_LONGEST_SIDE}, channels are 1 or 3")
    if not isinstance(shards, list) or not shards:
        raise ValueError("shards must be a list of at least one shard")
    if not _are_texts(classes):
        raise ValueError("classes must be a list of names")
    if not _are_texts([record["name"], record["split"]]):
        raise ValueError("name and split must be texts")
    parsed = tuple(_parse_shard(shard) for shard in shards)
    if len({shard["file"] for shard in parsed}) < len(parsed):
        raise ValueError("a shard stands twice")
    return {
        "name": record["name"],
        "split": record["split"],
        "image_shape": (shape[0], shape[1], shape[2]),
        "classes": tuple(classes),
        "shards": parsed,
        "class_ids": _parse_class_ids(record.get("class_ids", []), len(classes)),
        "attributes": _parse_attributes(record.get("attributes", {})),
    }


def _parse_class_ids(ids: object, num_classes: int) -> tuple[str, ...]:
    if not isinstance(ids, list) or not _are_texts(ids) or len(ids) not in (0, num_classes):
        raise ValueError("class_ids must be a list of one identifier a class")
    return tuple(ids)


def _parse_attributes(record: object) -> dict[str, str | tuple[str, ...]]:
    if not isinstance(record, dict):
        raise ValueError("attributes must be an object of names")
    found = dict[str, str | tuple[str, ...]]()
    for name, kind in record.items():
        texts = isinstance(kind, list) and all(isinstance(text, str) for text in kind)
        if not texts and kind not in ("bool", "int"):
            raise ValueError(f"attributes: {shown(name)} must be 'bool', 'int' or a list of texts")
        found[str(name)] = tuple(str(text) for text in kind) if isinstance(kind, list) else str(kind)
    return found


def _parse_shard(record: object) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError(f"a shard must be an object, not {shown(record)}")
    file, samples, size, sha256 = (record[name] for name in ("file", "samples", "bytes", "sha256"))
    crcs = record["crc32_per_mib"]
    if not _are_texts([file]) or Path(file).name != file or file in ("", ".."):
        raise ValueError(f"shard file {shown(file)} must be a plain file name")
    if not _are_sizes([samples, size]):
        raise ValueError(f"{file}: samples and bytes must be positive whole numbers")
    if size > _MOST_BYTES or samples * _SAMPLE_BYTES > size:
        raise ValueError(f"{file}: {shown(samples)} samples in {shown(size)} bytes cannot be")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):  # it names a file in the cache
        raise ValueError(f"{file}: sha256 must be 64 hexadecimal digits")
    if not isinstance(crcs, list) or len(crcs) != -(-size // CHUNK_BYTES) or not all(isinstance(c, int) for c in crcs):
        raise ValueError(f"{file}: crc32_per_mib must hold a number for every MiB")
    return {"file": file, "samples": samples, "bytes": size, "sha256": sha256, "crc32_per_mib": tuple(crcs)}


def shown(value: object, spell: Callable[[object], str] = repr) -> str:
    """A value as a message shows it, on one line of bearable length."""
    text = spell(value)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _are_texts(values: object) -> bool:
    """Whether ``values`` is a list of texts of one line."""
    return isinstance(values, list) and all(isinstance(text, str) and not _UNPRINTABLE.search(text) for text in values)


def _are_sizes(values: object) -> bool:
    """Whether ``values`` is a list of positive integers (true and false are not)."""
    return isinstance(values, list) and all(type(v) is int and v > 0 for v in values)
