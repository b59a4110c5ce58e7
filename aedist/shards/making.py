"""A split to be made: which samples go into which shard, the writing of shards, and what is made of all of them.

It is a function of the recipe and the originals; who writes which shard, and when, is ``build``'s and ``parts``'
business.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aedist import keys
from aedist.errors import UserError
from aedist.routes import Say
from aedist.shards.attributes import merge, summarise
from aedist.shards.index import Index
from aedist.shards.recipe import Recipe
from aedist.shards.samples import Described, name_some
from aedist.shards.splitfolder import finish, part_of, record_of, with_unreadable
from aedist.shards.workers import do_all
from aedist.shards.write import Expected, Written, is_noted, prove_shard, write_shard

_PRELOAD = ("aedist.shards.write", "aedist.shards.sources")

Progress = Callable[[str, int, int], None]
"""Is told (split, samples written, samples to write) now and then."""


@dataclass(frozen=True)
class Making:
    """A split to be made, and the place of each of its shards."""

    recipe: Recipe
    split: str
    samples: Described
    folder: Path
    """Where the split will be."""
    record: Mapping[str, Any]
    """All that decides its bytes."""
    jobs: Mapping[Path, Sequence[int]]
    """Each shard, where the split is being made, in order, and the numbers of the samples in it."""

    @property
    def unfinished(self) -> Path:
        """Where the split is being made."""
        return part_of(self.folder)


def plan_split(recipe: Recipe, split: str, samples: Described, folder: Path) -> Making:
    """Lay the samples of a split into shards, shuffled by the recipe's seed."""
    count, jobs = len(samples), dict[Path, Sequence[int]]()
    order = keys.permutation(count, recipe.seed, list(recipe.splits).index(split))
    for start in range(0, count, recipe.samples_per_shard):
        path = part_of(folder) / f"{recipe.name}-{split}-{len(jobs):06d}.tar"
        jobs[path] = order[start : start + recipe.samples_per_shard].tolist()
    return Making(recipe, split, samples, folder, record_of(recipe, split, samples), jobs)


def write_shards(
    making: Making,
    wanted: Sequence[Path],
    kept: Mapping[Path, Written],
    say: Say,
    workers: int,
    progress: Progress | None,
) -> dict[Path, Written]:
    """Write those of the wanted shards that are not kept; gives all that were wanted.

    Raises:
        UserError: if a sample is not what the recipe says, or a shard cannot be written.
    """
    count = sum(len(making.jobs[path]) for path in wanted)
    so_far = sum(len(making.jobs[path]) for path in wanted if path in kept)
    say(f"{making.recipe.name}: writing {count - so_far:,} samples to {making.folder}")

    def tick(more: int) -> None:
        nonlocal so_far
        so_far += more
        if progress is not None:
            progress(making.split, so_far, count)

    tick(0)
    image, classes = making.recipe.image, making.recipe.classes or making.samples.classes
    digits = max(6, len(str(len(making.samples) - 1)))
    expected = Expected(making.split, image.encoding, making.recipe.image_shape, len(classes), digits)
    to_do = [(path, making.jobs[path]) for path in wanted if path not in kept]
    done = {path: kept[path] for path in wanted if path in kept}
    work = partial(write_shard, making.samples.samples, expected)
    with closing(do_all(to_do, work, workers, tick, _PRELOAD)) as results:
        for (path, _), written in results:
            done[path] = written
    return done


def prove_shards(paths: Sequence[Path], workers: int, *, with_unreadable: bool = False) -> dict[Path, Written]:
    """Those of some shards that are there with the bytes that were written, every byte compared.

    Args:
        paths: the shards.
        workers: how many processes read.
        with_unreadable: whether shards count that lack originals which could not be read.
    """
    work = partial(prove_shard, with_unreadable=with_unreadable)
    noted = [path for path in paths if is_noted(path, with_unreadable=with_unreadable)]
    with closing(do_all(noted, work, workers, lambda _: None, _PRELOAD)) as results:
        return {path: written for path, written in results if written is not None}


def finish_split(making: Making, done: Mapping[Path, Written], say: Say) -> None:
    """Write what describes a split whose shards are all there, and put it into its place.

    Raises:
        UserError: if originals could not be read and may not be left out, or attributes contradict each other.
    """
    split, samples, recipe = making.split, making.samples, making.recipe
    in_order, record = [done[path] for path in making.jobs], making.record
    unreadable = tell_unreadable(making, in_order, say)
    if unreadable:
        record = with_unreadable(record, unreadable)
    try:
        attributes = summarise(merge(written.attributes for written in in_order))
    except ValueError as error:
        raise UserError(f"{split}: {error}; the source must be corrected") from error
    shards = tuple(written.shard for written in in_order if written.shard.samples)
    if not shards:
        raise UserError(f"{split}: none of its {len(samples):,} originals can be read; give others")
    classes = recipe.classes or samples.classes
    index = Index(recipe.name, split, recipe.image_shape, classes, shards, samples.class_ids, attributes)
    finish(making.unfinished, making.folder, record, samples, index)
    say(
        f"{making.folder}: {index.num_samples:,} samples in {len(shards)} shards, {index.num_bytes:,} bytes, "
        f"fingerprint {index.fingerprint[:12]}"
    )


def tell_unreadable(making: Making, shards: Sequence[Written], say: Say) -> Mapping[str, str]:
    """Damage that only decoding finds: refused, or said where the recipe leaves such originals out.

    Returns:
        the reason of each such original, by its name.
    """
    unreadable = dict(sorted(pair for written in shards for pair in written.unreadable))
    if not unreadable:
        return {}
    count = sum(written.shard.samples + len(written.unreadable) for written in shards)
    lines = [f"{name} ({reason})" for name, reason in unreadable.items()]
    told = f"{making.split}: {len(lines):,} of {count:,} originals cannot be read: {name_some(lines)}"
    if not making.samples.skip_unreadable:
        raise UserError(f"{told}; mend or remove them, or set options.skip_unreadable: true to leave them out")
    say(f"{told}; they are left out")
    return unreadable
