"""How a user's tree of images is laid out: which folders are splits and which are classes, and what is passed over.

A folder ``train`` at the top means that the tree is split by its folders. What looks like a layout and is another is
refused rather than guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aedist.errors import UserError
from aedist.shards.sources.files import IMAGE_SUFFIXES, FolderFiles, shown, shown_some, sort_kinds

TRAIN, TEST = SPLITS = ("train", "test")
_SUFFIXES = ", ".join(IMAGE_SUFFIXES)
_MOST_RECORDED = 100  # names of files that are no images; all are counted
_HELD_OUT = ("test", "val", "valid", "validation")
"""The folders that may hold split test, the first that is there."""
_LIKE_TRAIN, _LIKE_TEST = ("train", "training"), (*_HELD_OUT, "testing")


@dataclass(frozen=True)
class Tree:
    """What a user's folder holds.

    ``sizes`` has the bytes of every file, ``images`` those that are images by their names, and ``folders`` the folder
    of each split, with its ``/``, if the tree is split by folders. ``others`` are no images.
    """

    files: FolderFiles
    sizes: dict[str, int]
    images: tuple[str, ...]
    others: tuple[str, ...]
    folders: dict[str, str]
    remarks: tuple[str, ...]
    notes: dict[str, Any]


def read_tree(place: Path) -> Tree:
    """What there is in a folder, and what of it is passed over.

    Raises:
        UserError: if it is no folder that can be read, or its folders are nearly named as splits are.
    """
    if not place.is_dir():
        raise UserError(f"{place}: is no folder; unpack it, and name the folder that holds the images")
    files = FolderFiles(place)
    sizes = files.sizes()
    kinds = sort_kinds(list(sizes))
    top = _folders_in(place)
    folders: dict[str, str] = {}
    passed_over: list[str] = []
    outside: list[str] = []
    if TRAIN in top:
        held_out = [name for name in _HELD_OUT if name in top]
        folders = {TRAIN: f"{TRAIN}/", **({TEST: f"{held_out[0]}/"} if held_out else {})}
        passed_over = sorted(set(top) - {folder[:-1] for folder in folders.values()})
        outside = [name for name in kinds.images if not name.startswith(tuple(folders.values()))]
    elif misspelt := _misspelt_splits(top):
        raise UserError(
            f"{place}: folders {shown_some(misspelt)} look like splits, which are named train and one of "
            f"{', '.join(_HELD_OUT)}; rename them"
        )
    remarks = [
        f"{place}: passed over: {len(names):,} {what}: {shown_some(names)}"
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
    return Tree(files, sizes, kinds.images, kinds.others, folders, tuple(remarks), notes)


def folder_of_split(tree: Tree, split: str) -> str:
    """The folder of a split, with its ``/``; empty where folders are no splits.

    Raises:
        UserError: if there is no such split, or no image for it.
    """
    place = tree.files.place
    if split not in SPLITS:
        raise UserError(f"splits.{split}: images of your own have {' and '.join(SPLITS)} only; correct the recipe")
    if tree.folders and split not in tree.folders:
        raise UserError(f"{place}: has a folder train, but none of {', '.join(_HELD_OUT)} for split test; add one")
    below = tree.folders.get(split, "")
    if not any(name.startswith(below) for name in tree.images):
        tars = [name for name in tree.others if name.endswith(".tar")]
        fix = "these are shards: 'aedist shards index' makes them usable" if tars else "name the folder that holds them"
        raise UserError(f"{place / below}: holds no images ({_SUFFIXES}); {fix}")
    return below


def class_folders(tree: Tree, below: str) -> list[str]:
    """The names of the folders of classes below a folder of the tree, sorted; empty ones too.

    Raises:
        UserError: if there are none, or the one that there is seems to hold the classes.
    """
    place = tree.files.place / below
    names = _folders_in(place)
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
                f"images: {shown_some(sorted(inner))}; name {shown(str(place / names[0]))} if those are the classes, "
                f"or use the recipe folder, which has no classes"
            )
    return names


def _folders_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _misspelt_splits(top: Sequence[str]) -> list[str]:
    """Folders such as Train and Test, which would otherwise be taken for two classes."""
    like_train = [name for name in top if name.lower() in _LIKE_TRAIN]
    like_test = [name for name in top if name.lower() in _LIKE_TEST]
    return [*like_train, *like_test] if like_train and like_test else []
