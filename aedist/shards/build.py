"""Writing the shards of a data set from its originals, as its recipe says.

One folder a split, made beside its place and renamed into it when its index is written: a split is finished or is
not there. Samples are shuffled once, by the recipe's seed, so that a few shards together are a fair mixture; a
sample's key is its number in the original order, so that the original can be found. The same recipe and originals
give the same bytes, with any number of processes and in any number of parts, stopped and gone on with or not; on every
machine, where no encoder or compressor has a say in them.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from aedist.errors import UserError
from aedist.routes import Say
from aedist.shards.index import INDEX_NAME
from aedist.shards.lock import LOCK_NAME, locked, locked_part
from aedist.shards.making import Making, Progress, finish_split, plan_split, write_shards
from aedist.shards.originals import Originals
from aedist.shards.parts import Part, build_part, tell_part
from aedist.shards.recipe import Recipe
from aedist.shards.samples import Described
from aedist.shards.splitfolder import (
    begin,
    is_finished,
    part_of,
    put_if_described,
    refuse_foreign,
    refuse_other_originals,
)


def build(
    recipe: Recipe,
    out: Path,
    cache: Path,
    say: Say,
    given: Path | None = None,
    *,
    part: Part | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Path]:
    """Make ``out/SPLIT/NAME-SPLIT-000000.tar`` ... and ``out/SPLIT/index.json`` for every split of a recipe.

    A split that this recipe made is kept, the shards of a build that was stopped are compared and kept, and the
    originals are fetched only if some split is not there.

    Args:
        recipe: what to make.
        out: the data set's folder; it may hold the recipe's splits only.
        cache: where the originals are kept.
        say: is told what happens at each moment.
        given: where the user has the originals, instead of the routes to them.
        part: which of the shards to write, while other processes write the others; all, if left out.
        workers: how many processes write shards; they change nothing but the time.
        progress: is told (split, samples written, samples to write) now and then.

    Returns:
        the index files that are there, in the recipe's order of splits; of a part, perhaps not all.

    Raises:
        UserError: if the folder holds anything else or is being written, the originals cannot be had, or they
            contradict the recipe.
    """
    originals = Originals(recipe, given)
    with locked(out) if part is None else locked_part(out, part.number, part.count):
        ours = {name for split in recipe.splits for name in (split, part_of(out / split).name)}
        refuse_foreign(out, ours, "a split", LOCK_NAME)
        to_do = [split for split in recipe.splits if not is_finished(out / split, recipe, split, say)]
        if to_do or originals.are_in_place:
            opened = originals.opened(cache, say)
            for split in recipe.splits:
                if split not in to_do:
                    refuse_other_originals(out / split, opened[split])
            if part is not None:
                with _refused_by_the_disk(out):
                    build_part(_plans(recipe, opened, out), to_do, part, say, workers=workers, progress=progress)
            for split in to_do if part is None else ():
                with _refused_by_the_disk(out / split):
                    making = plan_split(recipe, split, opened[split], out / split)
                    _build_split(making, say, workers=workers, progress=progress)
        elif part is not None:
            tell_part(part, 0, say)
    return [path for split in recipe.splits if (path := out / split / INDEX_NAME).is_file()]


def _plans(recipe: Recipe, opened: dict[str, Described], out: Path) -> list[Making]:
    return [plan_split(recipe, split, samples, out / split) for split, samples in opened.items()]


def _build_split(making: Making, say: Say, *, workers: int, progress: Progress | None) -> None:
    """Make the split's folder beside its place, then put it there."""
    if put_if_described(making.unfinished, making.folder, making.record, say):
        return
    kept = begin(making.unfinished, making.record, making.jobs, say)
    finish_split(making, write_shards(making, list(making.jobs), kept, say, workers, progress), say)


@contextmanager
def _refused_by_the_disk(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); make room or rights") from error
