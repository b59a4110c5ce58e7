"""Writing the index of shards that someone else wrote, so that they can be used as they are.

Each tar is looked through once. What the index promises of every sample (one image, of one size, a class that is a
number) is checked here by the images' headers; ``verify`` decodes them. Where every ``.json`` of a split holds
attributes, the index sums them up; others' ``.json`` may hold anything else, which is said and left alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

from aedist.errors import UserError
from aedist.shards.attributes import MAX_JSON_BYTES, Kinds, merge, note, parse_attributes, summarise
from aedist.shards.decode import MOST_EXTRA_BYTES
from aedist.shards.fields import MAX_CLASS_BYTES, class_number, image_extension, image_size
from aedist.shards.index import INDEX_NAME, Index, Shard, describe_bytes, read_index, write_index
from aedist.shards.tar import RawSample, mapped, samples, shown


@dataclass(frozen=True)
class _Traits:
    """What an image is, and where it was first seen, for the message about one that differs."""

    height: int
    width: int
    channels: int
    num_classes: int
    has_class: bool
    where: str


@dataclass(frozen=True)
class _Split:
    folder: Path
    shards: tuple[Shard, ...]
    traits: _Traits
    kinds: Kinds


def index_folder(folder: Path, say: Callable[[str], None], *, force: bool = False) -> list[Path]:
    """Write ``index.json`` beside the tars of ``folder``, or of each of its sub-folders (splits) that holds tars.

    All splits get one image shape and one list of classes, since a model is trained on one and judged on another:
    colour if any image is, and a class for every number up to the largest seen, named by the number.

    Args:
        folder: where the tars are; its name becomes the data's name.
        say: is told of each shard when it was read.
        force: write over an index that says something else.

    Returns:
        the index files.

    Raises:
        UserError: naming shard and sample, if some tar is damaged, or some sample is not one image of the common
            size with plain text beside it; or if there is another index already.
    """
    folder = folder.absolute()
    splits = [_look_through(path, say) for path in _split_folders(folder)]
    traits = _common(split.traits for split in splits)
    shape = (traits.height, traits.width, traits.channels)
    classes = tuple(str(number) for number in range(traits.num_classes))
    indices = [
        (
            split.folder,
            Index(folder.name, split.folder.name, shape, classes, split.shards, attributes=summarise(split.kinds)),
        )
        for split in splits
    ]
    if not force:
        for path, index in indices:
            _refuse_other(path, index)
    written: list[Path] = []
    for path, index in indices:
        written.append(_write(path, index))
        spelt = " x ".join(str(size) for size in shape)
        say(f"{written[-1]}: {index.num_samples:,} images, {spelt}, {len(classes)} classes")
    return written


def _split_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the folder that holds the tars")
    here, below = any(folder.glob("*.tar")), sorted({path.parent for path in folder.glob("*/*.tar")})
    if here and below:
        raise UserError(f"{folder}: holds tars, and so does {below[0]}; put each split's tars into a folder of its own")
    if not here and not below:
        packed = next((path for path in folder.rglob("*.t*gz")), None)
        fix = f"unpack {packed.name} first (gunzip)" if packed else "name the folder that holds them"
        raise UserError(f"{folder}: holds no .tar, nor does a folder in it; {fix}")
    return [folder] if here else below


def _look_through(folder: Path, say: Callable[[str], None]) -> _Split:
    """Describe the shards of one folder, in the order of their names."""
    shards: list[Shard] = []
    found: list[_Traits] = []
    kinds: list[Kinds] = []
    no_attributes = ""
    for path in sorted(folder.glob("*.tar")):
        size, sha256, crcs = describe_bytes(path)
        with mapped(path) as data:
            in_shard = samples(data, str(path))
            if not in_shard:
                raise UserError(f"{path}: holds no sample; remove it, or give its members names such as KEY.png")
            found.append(_common(_traits(data, sample, path) for sample in in_shard))
            try:
                kinds = [merge([*kinds, _kinds(data, in_shard)])]
            except ValueError as error:
                no_attributes = no_attributes or f"{path}: {error}; so {folder.name} has no attributes"
        shards.append(Shard(path.name, len(in_shard), size, sha256, crcs))
        say(f"{path}: {len(in_shard):,} samples, {size:,} bytes")
    if no_attributes:
        say(no_attributes)
    return _Split(folder, tuple(shards), _common(found), {} if no_attributes else merge(kinds))


def _kinds(data: mmap, in_shard: Iterable[RawSample]) -> Kinds:
    """The attributes of a shard's samples; raises ValueError where a ``.json`` holds anything else."""
    kinds: Kinds = {}
    for sample in in_shard:
        if "json" in sample.fields:
            offset, size = sample.fields["json"]
            try:
                note(kinds, parse_attributes(data[offset : offset + min(size, MAX_JSON_BYTES + 1)]))
            except ValueError as error:
                raise ValueError(f"sample {shown(sample.key)}: {error}") from error
    return kinds


def _traits(data: mmap, sample: RawSample, path: Path) -> _Traits:
    """What one sample is, by its headers."""
    where = f"{path}: byte {sample.header_offset}: sample {shown(sample.key)}"
    try:
        extension = image_extension(sample.fields)
        offset, size = sample.fields[extension]
        height, width, channels = image_size(data[offset : offset + min(size, MOST_EXTRA_BYTES)], extension)
        num_classes = 0
        if "cls" in sample.fields:
            offset, size = sample.fields["cls"]
            num_classes = class_number(data[offset : offset + min(size, MAX_CLASS_BYTES + 1)]) + 1
    except ValueError as error:
        raise UserError(f"{where}: {error}; write the shard without it") from error
    return _Traits(height, width, channels, num_classes, "cls" in sample.fields, where)


def _common(many: Iterable[_Traits]) -> _Traits:
    """What all images share: the size; the larger of channels and classes.

    Raises:
        UserError: naming the first sample that differs from the first of all.
    """
    each = iter(many)
    first = next(each)
    channels, num_classes = first.channels, first.num_classes
    for one in each:
        if (one.height, one.width) != (first.height, first.width):
            raise UserError(
                f"{one.where}: is {one.height} x {one.width}, but {first.where} is {first.height} x {first.width}; "
                f"all images must have one size, so crop or resize them first"
            )
        if one.has_class != first.has_class:
            without = first if one.has_class else one
            raise UserError(f"{without.where}: has no .cls, though others have; give every sample one, or none")
        channels, num_classes = max(channels, one.channels), max(num_classes, one.num_classes)
    return _Traits(first.height, first.width, channels, num_classes, first.has_class, first.where)


def _refuse_other(folder: Path, index: Index) -> None:
    """Refuse to write over an index that says something else."""
    path = folder / INDEX_NAME
    if not path.exists():
        return
    try:
        same = read_index(folder) == index
    except UserError:
        same = False
    if not same:
        raise UserError(
            f"{path}: is there and says something else; "
            f"'aedist shards verify {folder}' tells what, and --force writes over it"
        )


def _write(folder: Path, index: Index) -> Path:
    try:
        return write_index(folder, index)
    except OSError as error:
        raise UserError(
            f"{folder / INDEX_NAME}: cannot be written ({error.strerror}); copy the shards first"
        ) from error
