"""Photographs of the user's own: any tree of images, or one folder a class.

A tree that has a folder ``train`` is split by its folders. Any other is split by ``test_fraction``, class by class, in
an order that a seed names. Before anything is written, every file is opened; what cannot be used is named and
counted, and refused unless the recipe says to leave it out. A sample's number is its place in the order of paths.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aedist import keys
from aedist.errors import UserError
from aedist.section import key
from aedist.shards.recipe import ImageRecipe
from aedist.shards.samples import FOLDER, Described, listing_digest, name_some
from aedist.shards.sources.files import IMAGE_SUFFIXES, Files, FolderFiles, shown, sort_kinds
from aedist.shards.sources.photographs import Framing, find_problem, frame

_TRAIN, _TEST = _SPLITS = ("train", "test")
_SUFFIXES = ", ".join(IMAGE_SUFFIXES)
_MOST_RECORDED = 100  # names of files that are no images; all are counted
_HELD_OUT = ("test", "val", "valid", "validation")
"""The folders that may hold split test, the first that is there."""
_LIKE_TRAIN, _LIKE_TEST = ("train", "training"), (*_HELD_OUT, "testing")


class FolderOptions(Framing):
    """What a recipe tells about a user's tree of images."""

    folder: str | None = key(None, "Where the images are, unless --from says so.")
    test_fraction: float = key(
        0.1, "Part of every class that is kept from training, where no folders say so.", ge=0, lt=1
    )
    split_seed: int = key(0, "Names which these are.", ge=0, lt=2**63)
    skip_unreadable: bool = key(False, "Leave out what cannot be read, and record it, rather than refuse.")


@dataclass(frozen=True)
class Photographs:
    """Photographs by path, framed as a recipe says; ``labels`` has the class of each, or is empty."""

    files: Files
    names: tuple[str, ...]
    labels: tuple[int, ...]
    image: ImageRecipe
    framing: Framing

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        name = self.names[number]
        fields = {self.image.encoding: frame(self.files.read(name), name, self.image, self.framing)}
        if self.labels:
            fields["cls"] = b"%d" % self.labels[number]
        return fields


@dataclass(frozen=True)
class _Tree:
    """What a user's folder holds: bytes of every file, and the folder of each split where it has any."""

    files: FolderFiles
    sizes: dict[str, int]
    images: tuple[str, ...]
    folders: dict[str, str]
    remarks: tuple[str, ...]
    notes: dict[str, Any]


def by_class(originals: Mapping[str, Path], split: str, options: FolderOptions, image: ImageRecipe) -> Described:
    """The photographs of a split where each class has a folder.

    Raises:
        UserError: naming what is wrong with the layout, or the files that cannot be used.
    """
    tree = _look(originals, split)
    below = tree.folders.get(split, "")
    classes = _class_folders(tree, tree.folders.get(_TRAIN, below))
    members: dict[str, list[str]] = {name: [] for name in classes}
    stray: list[str] = []
    for name in tree.images:
        if name.startswith(below):
            folder, slash, _ = name.removeprefix(below).partition("/")
            (members[folder] if slash and folder in members else stray).append(name)
    where = shown(str(tree.files.place / below))
    if stray:
        raise UserError(
            f"{where}: {len(stray):,} images lie in no folder of a class that is trained on: {_list(stray)}; move each "
            f"into one, or use the recipe folder, which has no classes"
        )
    if empty := [name for name in classes if not members[name]]:
        raise UserError(f"{where}: class {_list(empty)} has no images; add some, or remove the folder")
    chosen = {
        name: number
        for number, many in enumerate(members.values())
        for name in (many if tree.folders else _share(many, split, options, number))
    }
    return _describe(tree, split, dict(sorted(chosen.items())), classes, options, image)


def of_tree(originals: Mapping[str, Path], split: str, options: FolderOptions, image: ImageRecipe) -> Described:
    """The photographs of a split, wherever they lie in the tree; they have no classes.

    Raises:
        UserError: if there are none, or naming the files that cannot be used.
    """
    tree = _look(originals, split)
    below = tree.folders.get(split, "")
    names = [name for name in tree.images if name.startswith(below)]
    chosen = names if tree.folders else _share(names, split, options, 0)
    return _describe(tree, split, dict.fromkeys(chosen, 0), [], options, image)


def _look(originals: Mapping[str, Path], split: str) -> _Tree:
    """What there is in the folder, and what of it is passed over."""
    place = originals[FOLDER]
    if split not in _SPLITS:
        raise UserError(f"splits.{split}: images of your own have {' and '.join(_SPLITS)} only; correct the recipe")
    if not place.is_dir():
        raise UserError(f"{place}: is no folder; unpack it, and name the folder that holds the images")
    files = FolderFiles(place)
    sizes = files.sizes()
    kinds = sort_kinds(list(sizes))
    top = sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    folders: dict[str, str] = {}
    passed_over: list[str] = []
    outside: list[str] = []
    if _TRAIN in top:
        held_out = [name for name in _HELD_OUT if name in top]
        folders = {_TRAIN: f"{_TRAIN}/", **({_TEST: f"{held_out[0]}/"} if held_out else {})}
        passed_over = sorted(set(top) - {folder[:-1] for folder in folders.values()})
        if split not in folders:
            raise UserError(f"{place}: has a folder train, but none of {', '.join(_HELD_OUT)} for split test; add one")
        outside = [name for name in kinds.images if not name.startswith(tuple(folders.values()))]
    elif misspelt := _misspelt_splits(top):
        raise UserError(
            f"{place}: folders {_list(misspelt)} look like splits, which are named train and one of "
            f"{', '.join(_HELD_OUT)}; rename them"
        )
    if not any(name.startswith(folders.get(split, "")) for name in kinds.images):
        tars = [name for name in kinds.others if name.endswith(".tar")]
        fix = "these are shards: 'aedist shards index' makes them usable" if tars else "name the folder that holds them"
        raise UserError(f"{place / folders.get(split, '')}: holds no images ({_SUFFIXES}); {fix}")
    remarks = [
        f"{place}: passed over: {len(names):,} {what}: {_list(names)}"
        for what, names in (
            (f"that are no {_SUFFIXES}", kinds.others),
            ("that are hidden", kinds.hidden),
            ("folders beside train that no split of this recipe takes", passed_over),
            ("images outside the folders of the splits", outside),
        )
        if names
    ]
    notes = {
        "num_no_images": len(kinds.others),
        "no_images": [shown(name) for name in kinds.others[:_MOST_RECORDED]],
        "num_hidden": len(kinds.hidden),
        "num_outside": len(outside),
        "folders_passed_over": [shown(name) for name in passed_over],
    }
    return _Tree(files, sizes, kinds.images, folders, tuple(remarks), notes)


def _misspelt_splits(top: Sequence[str]) -> list[str]:
    """Folders such as Train and Test, which would otherwise be taken for two classes."""
    like_train = [name for name in top if name.lower() in _LIKE_TRAIN]
    like_test = [name for name in top if name.lower() in _LIKE_TEST]
    return [*like_train, *like_test] if like_train and like_test else []


def _class_folders(tree: _Tree, below: str) -> list[str]:
    """The names of the folders of classes, sorted; empty ones too."""
    place = tree.files.place / below
    names = sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise UserError(
            f"{shown(str(place))}: holds no folder of a class; put the images of each class into a folder of its name, "
            f"or use the recipe folder, which has no classes"
        )
    if len(names) == 1:
        inside = f"{below}{names[0]}/"
        inner = {name.removeprefix(inside).rpartition("/")[0] for name in tree.images if name.startswith(inside)}
        if len(inner) > 1 and "" not in inner:
            raise UserError(
                f"{shown(str(place))}: its one folder {shown(names[0])} would be the one class, but holds folders of "
                f"images: {_list(sorted(inner))}; name {shown(str(place / names[0]))} if those are the classes, or use "
                f"the recipe folder, which has no classes"
            )
    return names


def _share(names: Sequence[str], split: str, options: FolderOptions, group: int) -> list[str]:
    """The names that fall to a split, in their order; of two and more, some fall to each."""
    num_test = round(options.test_fraction * len(names))
    if options.test_fraction > 0 and len(names) > 1:
        num_test = min(max(num_test, 1), len(names) - 1)
    order = keys.permutation(len(names), options.split_seed, group).tolist()
    kept = set(order[num_test:] if split == _TRAIN else order[:num_test])
    return [name for number, name in enumerate(names) if number in kept]


def _describe(
    tree: _Tree,
    split: str,
    labels: Mapping[str, int],
    classes: Sequence[str],
    options: FolderOptions,
    image: ImageRecipe,
) -> Described:
    """The samples with what is to be said and recorded; what cannot be used is refused or left out here."""
    problems = {name: problem for name in labels if (problem := find_problem(tree.files, name, options))}
    many = Counter(labels.values())
    counted = [f"{shown(name)} {many[number]:,}" for number, name in enumerate(classes)]
    of_class = f"; classes: {name_some(counted)}" if counted else ""
    remarks = [
        *tree.remarks,
        f"{split}: {len(labels):,} of the {len(tree.images):,} images in {tree.files.place}{of_class}",
    ]
    notes = dict(tree.notes)
    if problems:
        listed = [f"{shown(name)} ({problem})" for name, problem in problems.items()]
        told = f"{split}: {len(listed):,} of its {len(labels):,} images cannot be used: {name_some(listed)}"
        if not options.skip_unreadable:
            raise UserError(f"{told}; mend or remove them, or set options.skip_unreadable: true to leave them out")
        remarks.append(f"{told}; they are left out")
        notes |= {
            "num_unreadable": len(problems),
            "unreadable": {shown(name): problem for name, problem in problems.items()},
        }
    names = tuple(name for name in labels if name not in problems)
    return Described(
        Photographs(tree.files, names, tuple(labels[name] for name in names) if classes else (), image, options),
        classes=tuple(shown(name) for name in classes),
        files=names,
        notes=notes,
        remarks=tuple(remarks),
        listing=listing_digest(f"{tree.sizes[name]} {name}" for name in labels),
        skip_unreadable=options.skip_unreadable,
    )


def _list(names: Sequence[str]) -> str:
    return name_some([shown(name) for name in names])
