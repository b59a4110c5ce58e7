"""Where the samples of a data set come from, one file a data set.

A source is the collection of its originals (the files everything is made of, and the routes to them), the keys that a
recipe may tell it, and a function that opens a split. To add a data set, write such a file, name it in ``SOURCES``,
and lay a recipe into ``shards/``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aedist.assets import Collection
from aedist.errors import UserError
from aedist.section import Section
from aedist.shards.recipe import ImageRecipe, Recipe, tell
from aedist.shards.samples import Looked, Samples
from aedist.shards.sources import celeba, imagefolder, mnist, olivetti, portraits, tinyimagenet


class NoOptions(Section):
    """A source that needs to be told nothing."""


@dataclass(frozen=True)
class Source:
    """One way to open a data set.

    ``open_splits(originals, options, image, looked)`` looks at what all splits share, once, and gives what opens a
    split by its name: ``originals`` are the paths of the collection's files by name, ``options`` is the recipe's, read
    as ``options`` here, ``image`` is what every image must be, and ``looked`` is told how far a long look has come.
    Where ``in_place`` is set, or there is no collection, what the user gives with ``--from`` is not copied into the
    cache: ``originals`` then has the one entry ``samples.FOLDER``, a folder or a file.
    """

    collection: Collection | None
    open_splits: Callable[[Mapping[str, Path], Any, ImageRecipe, Looked], Callable[[str], Samples]]
    options: type[Section] = NoOptions
    in_place: bool = False


def one_by_one(
    samples: Callable[[Mapping[str, Path], str, Any, ImageRecipe], Samples],
) -> Callable[[Mapping[str, Path], Any, ImageRecipe, Looked], Callable[[str], Samples]]:
    """``open_splits`` of a source whose splits share nothing that takes long: ``samples`` opens one."""

    def open_splits(
        originals: Mapping[str, Path], options: Any, image: ImageRecipe, looked: Looked
    ) -> Callable[[str], Samples]:
        del looked
        return lambda split: samples(originals, split, options, image)

    return open_splits


SOURCES: dict[str, Source] = {
    "celeba": Source(None, celeba.open_splits, celeba.Options),
    "folder": Source(None, imagefolder.of_tree, imagefolder.FolderOptions),
    "imagefolder": Source(None, imagefolder.by_class, imagefolder.FolderOptions),
    "mnist": Source(mnist.ORIGINALS, one_by_one(mnist.samples)),
    "olivetti": Source(olivetti.ORIGINALS, one_by_one(olivetti.samples), olivetti.Options),
    "portraits": Source(portraits.ORIGINALS, one_by_one(portraits.samples), portraits.Options),
    "tinyimagenet": Source(tinyimagenet.ORIGINALS, tinyimagenet.open_splits, tinyimagenet.Options, in_place=True),
}


def find_source(name: str) -> Source:
    """The source of that name.

    Raises:
        UserError: if there is none.
    """
    if name not in SOURCES:
        raise UserError(f"source: {name!r} is not known; it should be one of {', '.join(SOURCES)}")
    return SOURCES[name]


def read_options(recipe: Recipe) -> Any:
    """The recipe's options as its source takes them.

    Raises:
        UserError: one line for each mistake.
    """
    options = find_source(recipe.source).options
    try:
        return options.model_validate(recipe.options)
    except ValidationError as error:
        known = list(options.model_fields)
        raise UserError("\n".join(tell(detail, "", known, "options.") for detail in error.errors())) from error
