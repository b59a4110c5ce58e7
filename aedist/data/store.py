"""Random access to the samples of a split, by id.

A shard is memory-mapped and its tar headers are scanned once, when the first of its samples is asked for; until
then it is not opened. Before its first use its sha256 is compared with the index, so that no damaged byte
ever reaches a model. Workers of one process share the note of which shards were compared. A shard that lies at an
address is fetched when it is opened, unless it is here by then.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aedist.data.remote import RemoteFolder
from aedist.errors import DataDamage
from aedist.shards.attributes import MAX_JSON_BYTES, parse_attributes
from aedist.shards.damage import explain_damage
from aedist.shards.decode import check_bytes, decode
from aedist.shards.fields import MAX_CLASS_BYTES, class_number, image_extension
from aedist.shards.index import Index, Shard
from aedist.shards.salvage import usable_samples
from aedist.shards.tar import RawSample, shown

_MOST_OPEN_SHARDS = 64
_MOST_FETCHES = 5  # of one shard that others displace, or that is damaged in the cache, before it is opened


@dataclass(frozen=True, slots=True)
class _OpenShard:
    data: mmap
    samples: list[RawSample]


class ShardStore:
    """The samples of the split whose tars lie in ``folder``, here or at an address. One store a process or worker."""

    def __init__(self, folder: Path | RemoteFolder, index: Index, verified: Tensor | None = None) -> None:
        """``verified`` is a shared uint8 per shard: 1 once some worker compared its sha256."""
        self.folder = folder
        self.index = index
        self._verified = verified if verified is not None else torch.zeros(len(index.shards), dtype=torch.uint8)
        self._first_ids = np.concatenate([[0], np.cumsum([shard.samples for shard in index.shards])])
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()

    def read_images(self, ids: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """The decoded images of some samples, uint8 (len(ids), H, W, C).

        Raises:
            DataDamage: naming shard, offset and key, if a shard is damaged or an image cannot be decoded.
        """
        images = np.empty((len(ids), *self.index.image_shape), dtype=np.uint8)
        for row, sample_id in enumerate(ids):
            images[row] = self._image(int(sample_id))
        return torch.from_numpy(images)

    def label(self, sample_id: int) -> int | None:
        """The class of a sample, an index into ``index.classes``; None where the sample has none.

        Raises:
            DataDamage: naming shard, offset and key, if the shard is damaged or names no class of the index.
        """
        number, shard, sample = self._locate(sample_id)
        if "cls" not in sample.fields:
            return None
        offset, size = sample.fields["cls"]
        with self._naming(number, offset, f"{sample.key}.cls"):
            label = class_number(shard.data[offset : offset + min(size, MAX_CLASS_BYTES + 1)])
            if label >= len(self.index.classes):
                raise ValueError(f"class {label}, but the index names {len(self.index.classes)}")
            return label

    def attributes(self, sample_id: int) -> dict[str, bool | int | str]:
        """The attributes of a sample by name, from its ``.json``; empty where it has none.

        Raises:
            DataDamage: naming shard, offset and key, if the shard is damaged, or what stands there are no attributes.
        """
        number, shard, sample = self._locate(sample_id)
        if "json" not in sample.fields:
            return {}
        offset, size = sample.fields["json"]
        with self._naming(number, offset, f"{sample.key}.json"):
            return parse_attributes(shard.data[offset : offset + min(size, MAX_JSON_BYTES + 1)])

    def key(self, sample_id: int) -> str:
        """The key of a sample in its shard."""
        return self._locate(sample_id)[2].key

    @property
    def open_shards(self) -> tuple[int, ...]:
        """The shards that are open, by number in the index."""
        return tuple(self._open)

    def _image(self, sample_id: int) -> NDArray[np.uint8]:
        number, shard, sample = self._locate(sample_id)
        with self._naming(number, sample.header_offset, f"sample {sample.key}"):
            extension = image_extension(sample.fields)
        offset, size = sample.fields[extension]
        with self._naming(number, offset, f"{sample.key}.{extension}"):
            check_bytes(size, self.index.image_shape)
            return decode(shard.data[offset : offset + size], extension, self.index.image_shape)

    @contextmanager
    def _naming(self, number: int, offset: int, what: str) -> Generator[None]:
        """What is wrong with a field becomes damage of a shard, at an offset."""
        try:
            yield
        except ValueError as error:
            path = f"{self.folder}/{self.index.shards[number].file}"
            raise DataDamage(
                f"{path}: byte {offset}: {shown(what)}: {error}; mend it and build the shard again"
            ) from error

    def _locate(self, sample_id: int) -> tuple[int, _OpenShard, RawSample]:
        number = int(np.searchsorted(self._first_ids, sample_id, side="right")) - 1
        shard = self._open.get(number) or self._open_shard(number)
        self._open.move_to_end(number)
        return number, shard, shard.samples[sample_id - int(self._first_ids[number])]

    def _open_shard(self, number: int) -> _OpenShard:
        described = self.index.shards[number]
        data = self._proved(number, described)
        where = f"{self.folder}/{described.file}"
        found = usable_samples(data, described, where, is_whole=bool(self._verified[number]))
        while len(self._open) >= _MOST_OPEN_SHARDS:
            self._open.popitem(last=False)
        self._open[number] = _OpenShard(data, found)
        return self._open[number]

    def _proved(self, number: int, described: Shard) -> mmap:
        """The bytes of a shard, compared with the index unless they were before."""
        if isinstance(self.folder, Path):
            path = self.folder / described.file
            data = _mapped(path)
            if self._verified[number] or _is_right(data, described):
                self._verified[number] = 1
                return data
            if described.lost:  # it was known to be damaged; what is used of it is proved otherwise
                return data
            raise DataDamage(explain_damage(path, described))
        for _ in range(_MOST_FETCHES):
            path = self.folder.obtain(described)
            try:
                data = _mapped(path)
            except DataDamage:
                continue  # displaced by others' shards before it was opened
            if self._verified[number] or _is_right(data, described):
                self._verified[number] = 1
                return data
            self.folder.cache.discard(described)  # the disk has changed it since it came
        raise DataDamage(
            f"{self.folder}/{described.file}: was fetched {_MOST_FETCHES} times, and each time displaced or damaged in "
            f"{self.folder.cache.folder} before it was read; raise data.cache_bytes, or name a sound disk in data.cache"
        )


def _mapped(path: Path) -> mmap:
    try:
        with path.open("rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DataDamage(f"{path}: cannot be read ({error}); build or copy it again") from error


def _is_right(data: mmap, described: Shard) -> bool:
    return hashlib.sha256(data).hexdigest() == described.sha256
