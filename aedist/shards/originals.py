"""The originals of a recipe: had by whichever way, opened split by split, and compared with what the recipe says."""

import time
from collections.abc import Mapping
from pathlib import Path

from aedist.assets import fetch, refuse_needless
from aedist.errors import UserError
from aedist.routes import Say
from aedist.shards.recipe import Recipe
from aedist.shards.samples import FOLDER, Described, Looked, name_some
from aedist.shards.sources import Source, find_source, read_options

_LOOK_SECONDS = 5.0


class Originals:
    """Where the originals of a recipe are to come from; nothing is fetched before ``opened``."""

    def __init__(self, recipe: Recipe, given: Path | None) -> None:
        """Find the recipe's source, and see that what the user gives is there.

        Args:
            recipe: what is to be made.
            given: where the user has the originals, instead of the routes to them.

        Raises:
            UserError: if the recipe names other originals than its source, or nothing is at the given place.
        """
        self._recipe, self._options = recipe, read_options(recipe)
        self._source = find_source(recipe.source)
        _check_originals(recipe, self._source)
        self._usual: str | None = getattr(self._options, "folder", None)
        if given is None and self._usual and Path(self._usual).expanduser().exists():
            given = Path(self._usual).expanduser()
        if given is not None and self._source.collection is not None:
            refuse_needless(self._source.collection, given)
        if given is not None and not given.exists():
            raise UserError(f"{given}: no such file or folder; give the place of the originals with --from")
        self._given = given

    @property
    def have_a_route(self) -> bool:
        """Whether they can be had without the user: fetched, drawn, or read where the recipe says they are."""
        return self._given is not None or self._source.collection is not None

    @property
    def are_in_place(self) -> bool:
        """Whether they are read where the user has them, so that they may have changed since the last build."""
        return self._given is not None and (self._source.in_place or self._source.collection is None)

    def opened(self, cache: Path, say: Say) -> dict[str, Described]:
        """Every split, opened and compared with the recipe. All are looked at before anything is refused.

        Args:
            cache: where fetched originals are kept.
            say: is told what happens at each moment, and what there is to remark.

        Raises:
            UserError: if the originals cannot be had, or contradict the recipe.
        """
        recipe, originals = self._recipe, self._had(cache, say)
        opened: dict[str, Described] = {}
        problems: list[str] = []
        if FOLDER in originals:
            say(f"{recipe.name}: looking at the originals in {originals[FOLDER]}")
        open_split = self._source.open_splits(originals, self._options, recipe.image, _now_and_then(recipe, say))
        for split in recipe.splits:
            try:
                samples = open_split(split)
                opened[split] = samples if isinstance(samples, Described) else Described(samples)
                _check_against_recipe(recipe, split, opened[split])
            except UserError as error:
                problems += str(error).splitlines()
        if problems:
            raise UserError("\n".join(dict.fromkeys(problems)))
        for remark in dict.fromkeys(remark for samples in opened.values() for remark in samples.remarks):
            say(remark)
        return opened

    def _had(self, cache: Path, say: Say) -> Mapping[str, Path]:
        if self._given is not None and self.are_in_place:
            return {FOLDER: self._given}
        if self._source.collection is not None:
            return fetch(self._source.collection, cache, say, self._given)
        if self._usual:
            raise UserError(
                f"options.folder: {self._usual}: no such file or folder; correct it, or name the place with --from"
            )
        raise UserError(f"{self._recipe.name}: its originals are files of yours; name their place with --from PATH")


def _now_and_then(recipe: Recipe, say: Say) -> Looked:
    """Says every few seconds how far a look has come; one that is short is silent."""
    last = time.monotonic()

    def looked(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOOK_SECONDS:
            last = time.monotonic()
            say(f"{recipe.name}: looked at {done:,} of {total:,} {what}")

    return looked


def _check_originals(recipe: Recipe, source: Source) -> None:
    known = {asset.name: asset.sha256 for asset in source.collection.assets} if source.collection else {}
    if recipe.originals != known:
        wrong = sorted(
            name for name in known.keys() | recipe.originals if recipe.originals.get(name) != known.get(name)
        )
        raise UserError(
            f"originals.{wrong[0]}: the recipe says {recipe.originals.get(wrong[0])}, source {recipe.source} has "
            f"{known.get(wrong[0])}; correct the recipe"
        )


def _check_against_recipe(recipe: Recipe, split: str, samples: Described) -> None:
    wanted = recipe.splits[split].samples
    if wanted not in (None, len(samples)):
        raise UserError(
            f"splits.{split}.samples: the recipe says {wanted}, the originals hold {len(samples)}; correct the recipe"
        )
    if len(samples) == 0:
        raise UserError(f"splits.{split}: the originals hold no sample for it; add some, or take it out of the recipe")
    if recipe.classes and samples.classes and recipe.classes != samples.classes:
        raise UserError(
            f"classes: the recipe has {name_some(recipe.classes)}, the originals have {name_some(samples.classes)}; "
            f"correct the recipe, or leave the key out to take the originals'"
        )
