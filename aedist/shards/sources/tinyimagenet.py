"""Tiny ImageNet: 100,000 training and 10,000 validation photographs of 200 classes, 64 x 64.

The original is one zip, read in place; its unpacked tree will do as well. Training images lie in a folder a class,
validation images in one folder with a list of their classes. The JPEGs go into the shards as they are, byte for byte;
some are grey, which decoding widens to colour. Classes are numbered in the order of their WordNet identifiers and
named by the first of their words. The unlabelled test images are not used.
(Stanford CS231N; a part of ImageNet, Deng et al., CVPR 2009.)
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aedist.assets import Collection
from aedist.errors import UserError
from aedist.routes import Asset, from_web
from aedist.section import Section, key
from aedist.shards.decode import decode
from aedist.shards.recipe import ImageRecipe
from aedist.shards.samples import FOLDER, Described, Looked, Unreadable, listing_digest, name_some
from aedist.shards.sources.files import Files, FolderFiles, ZipFiles, file_digest, shown, shown_some

_ZIP = "tiny-imagenet-200.zip"
_ZIP_SHA256 = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
_SPLITS = ("train", "val")

ORIGINALS = Collection(
    "tinyimagenet",
    (Asset(_ZIP, _ZIP_SHA256, 248_100_043),),
    (from_web("http://cs231n.stanford.edu/", ""),),
)


class Options(Section):
    """What a recipe may tell of the originals."""

    num_classes: int = key(200, "How many classes wnids.txt must name.", ge=1)
    check_sha256: bool = key(True, "Whether a zip given with --from must be the one that its makers gave out.")


@dataclass(frozen=True)
class Jpegs:
    """The samples of a split: the bytes of each JPEG, and its class."""

    files: Files
    names: tuple[str, ...]
    labels: tuple[int, ...]
    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        raw = self.files.read(self.names[number])
        try:
            decode(raw, "jpg", self.image_shape)
        except ValueError as error:
            raise Unreadable(shown(self.names[number]), str(error)) from error
        return {"jpg": raw, "cls": b"%d" % self.labels[number]}


def open_splits(
    originals: Mapping[str, Path], options: Options, image: ImageRecipe, looked: Looked
) -> Callable[[str], Described]:
    """Read the lists, and give what opens ``train`` or ``val``.

    Raises:
        UserError: if the files are not laid out as Tiny ImageNet is, naming what is wrong, or the user's zip is another
            than the recipe's; and what is given, if there is no such split.
    """
    if _ZIP in originals:
        place = originals[_ZIP]  # fetched, and its sha256 compared
    else:
        place = _locate(originals[FOLDER])
        if options.check_sha256 and place.is_file():
            _check_sha256(place, looked)
    files = _open(place)
    sizes = files.sizes()
    wnids = _wnids(files, options.num_classes)
    classes = _class_names(files, wnids)
    shape = (image.height, image.width, image.channels)

    def of_split(split: str) -> Described:
        if split not in _SPLITS:
            raise UserError(f"splits.{split}: Tiny ImageNet has {' and '.join(_SPLITS)} only; correct the recipe")
        labels = _train_labels(files, sizes, wnids) if split == "train" else _val_labels(files, sizes, wnids)
        listing = [f"{wnid} {name}" for wnid, name in zip(wnids, classes, strict=True)]
        listing += [f"{sizes[name]} {name} {label}" for name, label in labels.items()]
        return Described(
            Jpegs(files, tuple(labels), tuple(labels.values()), shape),
            classes=classes,
            class_ids=tuple(wnids),
            files=tuple(labels),
            listing=listing_digest(listing),
        )

    return of_split


def _locate(place: Path) -> Path:
    """The folder that holds wnids.txt, or the zip."""
    if not place.is_dir():
        return place
    for folder in (place, place / "tiny-imagenet-200"):
        if (folder / "wnids.txt").is_file():
            return folder
    if (place / _ZIP).is_file():
        return place / _ZIP
    raise UserError(
        f"{place}: holds neither wnids.txt nor {_ZIP}; name the zip, or the folder tiny-imagenet-200 that it makes"
    )


def _check_sha256(path: Path, looked: Looked) -> None:
    found = file_digest(path, "sha256", looked)
    if found != _ZIP_SHA256:
        raise UserError(
            f"{path}: its sha256 is {found}, not {_ZIP_SHA256}; copy it again, leave --from out to have it fetched, or "
            f"set options.check_sha256: false to take a zip that was packed anew"
        )


def _open(place: Path) -> Files:
    """The files below the folder that holds wnids.txt, in a zip or on the disk."""
    if place.is_dir():
        return FolderFiles(place)
    if not place.is_file():
        raise UserError(f"{place}: is neither a folder nor a regular file; name {_ZIP}")
    roots = [
        name.removesuffix("wnids.txt") for name in ZipFiles(place).sizes() if name.rpartition("/")[2] == "wnids.txt"
    ]
    if len(roots) != 1:
        raise UserError(f"{place}: holds {len(roots)} files wnids.txt, Tiny ImageNet has one; name {_ZIP}")
    return ZipFiles(place, roots[0])


def _wnids(files: Files, num_classes: int) -> list[str]:
    """The identifiers of the classes, sorted."""
    wnids = _text(files, "wnids.txt").split()
    if twice := [name for name, count in Counter(wnids).items() if count > 1]:
        raise UserError(f"{files.place}: wnids.txt names {name_some(twice)} twice; fetch the originals again")
    if len(wnids) != num_classes:
        raise UserError(
            f"options.num_classes: the recipe says {num_classes}, wnids.txt in {files.place} names {len(wnids)}; fetch "
            f"the originals again, or correct the recipe"
        )
    return sorted(wnids)


def _train_labels(files: Files, sizes: Mapping[str, int], wnids: list[str]) -> dict[str, int]:
    """The class of every training image by path, in the order of classes and names."""
    labels: dict[str, int] = {}
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    strangers: list[str] = []
    for name in sizes:
        if not name.startswith("train/"):
            continue
        _, wnid, *rest = name.split("/")
        if wnid not in numbers or (rest[:1] == ["images"] and not _is_jpeg(name)):
            strangers.append(name)
        elif rest[:1] == ["images"]:
            labels[name] = numbers[wnid]
    _refuse(files, "are no training images of a class in wnids.txt", strangers)
    held = set(labels.values())
    _refuse(
        files, "are classes without training images", [wnid for wnid, number in numbers.items() if number not in held]
    )
    return labels


def _val_labels(files: Files, sizes: Mapping[str, int], wnids: list[str]) -> dict[str, int]:
    """The class of every validation image by path, in the order of the list."""
    labels: dict[str, int] = {}
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    for number, line in enumerate(_text(files, "val/val_annotations.txt").splitlines(), start=1):
        name, _, rest = line.partition("\t")
        wnid, path = rest.partition("\t")[0], f"val/images/{name}"
        where = f"{files.place}: val/val_annotations.txt, line {number}"
        if wnid not in numbers:
            raise UserError(f"{where}: {shown(wnid)!r} is no class of wnids.txt; fetch the originals again")
        if path in labels:
            raise UserError(f"{where}: {shown(name)} stands there twice; fetch the originals again")
        labels[path] = numbers[wnid]
    there = {name for name in sizes if name.startswith("val/images/")}
    _refuse(files, "are in val_annotations.txt and missing", sorted(labels.keys() - there))
    _refuse(files, "are not in val_annotations.txt", sorted(there - labels.keys()))
    return labels


def _class_names(files: Files, wnids: list[str]) -> tuple[str, ...]:
    """The first word of each class; where two share it, the identifier behind it."""
    words: dict[str, str] = {}
    for line in _text(files, "words.txt").splitlines():
        wnid, _, synonyms = line.partition("\t")
        words[wnid] = synonyms.partition(",")[0].strip()
    _refuse(files, "have no words in words.txt", [wnid for wnid in wnids if not words.get(wnid)])
    count = Counter(words[wnid] for wnid in wnids)
    return tuple(words[wnid] if count[words[wnid]] == 1 else f"{words[wnid]} ({wnid})" for wnid in wnids)


def _text(files: Files, name: str) -> str:
    try:
        return files.read(name).decode("utf-8")
    except (Unreadable, UnicodeDecodeError) as error:
        raise UserError(f"{files.place}: {name}: {error}; fetch the originals again") from error


def _refuse(files: Files, what: str, names: list[str]) -> None:
    if names:
        raise UserError(f"{files.place}: {len(names):,} {what}: {shown_some(names)}; fetch the originals again")


def _is_jpeg(name: str) -> bool:
    return name.lower().endswith((".jpeg", ".jpg"))
