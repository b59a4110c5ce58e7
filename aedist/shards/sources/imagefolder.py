"""Photographs of the user's own: any tree of images, or one folder a class.

A tree that has a folder ``train`` is split by its folders. Any other is split by ``test_fraction``, class by class, in
an order that a seed names. Before anything is written, every file is opened; what cannot be used is named and
counted, and refused unless the recipe says to leave it out. A sample's number is its place in the order of paths.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aedist import keys
from aedist.errors import UserError
from aedist.section import key
from aedist.shards.recipe import ImageRecipe
from aedist.shards.samples import FOLDER, Described, Looked, listing_digest, name_some
from aedist.shards.sources.files import Files, shown, shown_some
from aedist.shards.sources.layout import TRAIN, Tree, class_folders, folder_of_split, read_tree
from aedist.shards.sources.photographs import Framing, find_problem, frame


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


def by_class(
    originals: Mapping[str, Path], options: FolderOptions, image: ImageRecipe, looked: Looked
) -> Callable[[str], Described]:
    """What opens a split of a folder in which each class has a folder.

    Raises:
        UserError: naming what is wrong with the layout; and what is given, naming what is wrong with the split, or the
            files that cannot be used.
    """
    return partial(_split_by_class, read_tree(originals[FOLDER]), options, image, looked)


def of_tree(
    originals: Mapping[str, Path], options: FolderOptions, image: ImageRecipe, looked: Looked
) -> Callable[[str], Described]:
    """What opens a split of images that lie anywhere in the tree; they have no classes.

    Raises:
        UserError: as ``by_class``.
    """
    return partial(_split_of_tree, read_tree(originals[FOLDER]), options, image, looked)


def _split_by_class(tree: Tree, options: FolderOptions, image: ImageRecipe, looked: Looked, split: str) -> Described:
    below = folder_of_split(tree, split)
    classes = class_folders(tree, tree.folders.get(TRAIN, below))
    members: dict[str, list[str]] = {name: [] for name in classes}
    stray: list[str] = []
    for name in tree.images:
        if name.startswith(below):
            folder, slash, _ = name.removeprefix(below).partition("/")
            (members[folder] if slash and folder in members else stray).append(name)
    where = shown(str(tree.files.place / below))
    if stray:
        raise UserError(
            f"{where}: {len(stray):,} images lie in no folder of a class that is trained on: {shown_some(stray)}; move "
            f"each into one, or use the recipe folder, which has no classes"
        )
    if empty := [name for name in classes if not members[name]]:
        raise UserError(f"{where}: class {shown_some(empty)} has no images; add some, or move the folder away")
    chosen = {
        name: number
        for number, many in enumerate(members.values())
        for name in (many if tree.folders else _share(many, split, options, number))
    }
    return _describe(tree, split, dict(sorted(chosen.items())), classes, options, image, looked)


def _split_of_tree(tree: Tree, options: FolderOptions, image: ImageRecipe, looked: Looked, split: str) -> Described:
    below = folder_of_split(tree, split)
    names = [name for name in tree.images if name.startswith(below)]
    chosen = names if tree.folders else _share(names, split, options, 0)
    return _describe(tree, split, dict.fromkeys(chosen, 0), [], options, image, looked)


def _share(names: Sequence[str], split: str, options: FolderOptions, group: int) -> list[str]:
    """The names that fall to a split, in their order; of two and more, some fall to each."""
    num_test = round(options.test_fraction * len(names))
    if options.test_fraction > 0 and len(names) > 1:
        num_test = min(max(num_test, 1), len(names) - 1)
    order = keys.permutation(len(names), options.split_seed, group).tolist()
    kept = set(order[num_test:] if split == TRAIN else order[:num_test])
    return [name for number, name in enumerate(names) if number in kept]


def _describe(
    tree: Tree,
    split: str,
    labels: Mapping[str, int],
    classes: Sequence[str],
    options: FolderOptions,
    image: ImageRecipe,
    looked: Looked,
) -> Described:
    """The samples with what is to be said and recorded; what cannot be used is refused or left out here."""
    problems: dict[str, str] = {}
    for done, name in enumerate(labels, start=1):
        if problem := find_problem(tree.files, name, options):
            problems[name] = problem
        looked(f"images of {split}", done, len(labels))
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
