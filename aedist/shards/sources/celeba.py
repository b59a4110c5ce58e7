"""CelebA: 202,599 photographs of faces, aligned, 178 x 218, each with 40 attributes.

The originals are laid out as torchvision has them: ``celeba/`` with ``img_align_celeba/`` or its zip,
``list_attr_celeba.txt`` and ``list_eval_partition.txt``. They are for research that is not commercial, and are given
by their makers to each user, so ``--from`` names them; what is known of them are MD5 sums, which are compared.
(Z. Liu, P. Luo, X. Wang and X. Tang, "Deep learning face attributes in the wild", ICCV 2015.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aedist.errors import UserError
from aedist.section import key
from aedist.shards.attributes import write_attributes
from aedist.shards.recipe import ImageRecipe
from aedist.shards.samples import FOLDER, Described, Looked, listing_digest
from aedist.shards.sources.files import Files, FolderFiles, ZipFiles, file_digest, shown, shown_some
from aedist.shards.sources.photographs import Framing, frame

_PARTITIONS = {"train": "0", "val": "1", "test": "2"}
_ATTRIBUTES, _PARTITION, _IMAGES = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"
_MD5 = {
    f"{_IMAGES}.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    _ATTRIBUTES: "75e246fa4810816ffd6ee81facbd244c",
    _PARTITION: "d32c9cbf5e040fd4025c592c306e6668",
}


class Options(Framing):
    """What a recipe tells about CelebA."""

    folder: str | None = key(None, "Where the originals are, unless --from says so.")
    num_attributes: int = key(40, "How many attributes the list must name.", ge=1)
    check_md5: bool = key(True, "Whether zip and lists must be those that their makers gave out.")
    skip_unreadable: bool = key(False, "Leave out images that cannot be read, and record them, rather than refuse.")


@dataclass(frozen=True)
class Faces:
    """Photographs by path, framed as a recipe says, and the attributes of each as 1 and -1."""

    files: Files
    names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    signs: tuple[str, ...]
    image: ImageRecipe
    framing: Framing

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        name = self.names[number]
        framed = frame(self.files.read(name), name, self.image, self.framing)
        has = dict(zip(self.attribute_names, (sign == "+" for sign in self.signs[number]), strict=True))
        return {self.image.encoding: framed, "json": write_attributes(has)}


def open_splits(
    originals: Mapping[str, Path], options: Options, image: ImageRecipe, looked: Looked
) -> Callable[[str], Described]:
    """Read the lists, and give what opens a split; a sample's number is its place among those of the split in the list.

    Raises:
        UserError: if the files are not CelebA's, naming what is wrong; and what is given, if there is no such split.
    """
    home = _home(originals[FOLDER])
    packed = home / f"{_IMAGES}.zip"
    if options.check_md5:
        for name in (_ATTRIBUTES, _PARTITION, *([] if (home / _IMAGES).is_dir() else [packed.name])):
            _check_md5(home / name, looked)
    names, signs = _attributes(home / _ATTRIBUTES, options.num_attributes)
    partition = _partition(home / _PARTITION)
    if partition.keys() != signs.keys():
        other = sorted(partition.keys() ^ signs.keys())
        raise UserError(
            f"{home}: {len(other):,} images are in only one of the two lists: {shown_some(other)}; copy both again"
        )
    files = FolderFiles(home / _IMAGES) if (home / _IMAGES).is_dir() else ZipFiles(packed, f"{_IMAGES}/")
    sizes = files.sizes()
    if missing := sorted(partition.keys() - sizes.keys()):
        raise UserError(
            f"{files.place}: {len(missing):,} images of the lists are missing: {shown_some(missing)}; copy them again"
        )
    others = sorted(sizes.keys() - partition.keys())
    told = f"{files.place}: {len(others):,} files are in no list and are passed over: {shown_some(others)}"

    def of_split(split: str) -> Described:
        if split not in _PARTITIONS:
            raise UserError(f"splits.{split}: CelebA has {', '.join(_PARTITIONS)} only; correct the recipe")
        chosen = [name for name, number in partition.items() if number == _PARTITIONS[split]]
        listing = [" ".join(names), *(f"{sizes[name]} {name} {signs[name]}" for name in chosen)]
        return Described(
            Faces(files, tuple(chosen), names, tuple(signs[name] for name in chosen), image, options),
            files=tuple(chosen),
            notes={"num_passed_over": len(others)} if others else {},
            remarks=(told,) if others else (),
            listing=listing_digest(listing),
            skip_unreadable=options.skip_unreadable,
        )

    return of_split


def _home(place: Path) -> Path:
    """The folder that holds the lists and the images."""
    for folder in (place, place / "celeba"):
        if (folder / _ATTRIBUTES).is_file():
            if not (folder / _PARTITION).is_file():
                raise UserError(f"{folder}: holds no {_PARTITION}; copy it there")
            if not (folder / _IMAGES).is_dir() and not (folder / f"{_IMAGES}.zip").is_file():
                raise UserError(f"{folder}: holds neither {_IMAGES}/ nor {_IMAGES}.zip; copy one of them there")
            return folder
    raise UserError(
        f"{place}: holds no {_ATTRIBUTES}, nor does a folder celeba in it; name the folder that torchvision's CelebA "
        f"was given as root"
    )


def _attributes(path: Path, num_attributes: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """The attributes' names, and for each image a ``+`` or ``-`` for each of them."""
    lines = _lines(path)
    names = tuple(lines[1].split()) if len(lines) > 1 else ()
    if len(set(names)) != num_attributes or len(names) != num_attributes:
        raise UserError(
            f"options.num_attributes: the recipe says {num_attributes}, {path} names {len(set(names))} in its second "
            f"line; copy it again, or correct the recipe"
        )
    signs: dict[str, str] = {}
    for number, line in enumerate(lines[2:], start=3):
        name, *values = line.split()
        if len(values) != len(names) or not set(values) <= {"1", "-1"} or name in signs:
            what = "names an image again" if name in signs else f"must be a name and {len(names)} times 1 or -1"
            raise UserError(f"{path}, line {number}: {what}; copy it again")
        signs[name] = "".join("+" if value == "1" else "-" for value in values)
    if lines[0].strip() != str(len(signs)):
        raise UserError(f"{path}: says {shown(lines[0][:20])!r} images and lists {len(signs):,}; copy it again")
    return names, signs


def _partition(path: Path) -> dict[str, str]:
    """Which part each image belongs to, in the order of the list."""
    parts: dict[str, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        name, _, part = line.strip().partition(" ")
        if part.strip() not in _PARTITIONS.values() or name in parts:
            what = "names an image again" if name in parts else "must be a name and 0, 1 or 2"
            raise UserError(f"{path}, line {number}: {what}; copy it again")
        parts[name] = part.strip()
    return parts


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); copy it again") from error


def _check_md5(path: Path, looked: Looked) -> None:
    found = file_digest(path, "md5", looked)
    if found != _MD5[path.name]:
        raise UserError(
            f"{path}: its MD5 is {found}, not {_MD5[path.name]}; copy it again, or set options.check_md5: false to "
            f"take it as it is"
        )
