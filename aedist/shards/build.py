"""Writing the shards of a data set from its originals, as its recipe says.

One folder a split, made beside its place and renamed into it when its index is written: a split is finished or is
not there. Samples are shuffled once, by the recipe's seed, so that a few shards together are a fair mixture; a
sample's key is its number in the original order, so that the original can be found. The same recipe and originals
give the same bytes, with any number of processes, stopped and gone on with or not; on every machine, where no encoder
or compressor has a say in them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from aedist import keys
from aedist.assets import fetch, refuse_needless
from aedist.errors import UserError
from aedist.routes import Say
from aedist.shards.attributes import merge, summarise
from aedist.shards.index import INDEX_NAME, Index
from aedist.shards.lock import LOCK_NAME, locked
from aedist.shards.recipe import Recipe
from aedist.shards.samples import FOLDER, Described, Looked, name_some
from aedist.shards.sources import Source, find_source, read_options
from aedist.shards.splitfolder import (
    begin,
    finish,
    is_finished,
    part_of,
    record_of,
    refuse_foreign,
    refuse_other_originals,
    with_unreadable,
)
from aedist.shards.workers import do_all
from aedist.shards.write import Expected, write_shard

_PRELOAD = ("aedist.shards.write", "aedist.shards.sources")

_LOOK_SECONDS = 5.0

Progress = Callable[[str, int, int], None]


def build(
    recipe: Recipe,
    out: Path,
    cache: Path,
    say: Say,
    given: Path | None = None,
    *,
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
        workers: how many processes write shards; they change nothing but the time.
        progress: is told (split, samples written, samples of the split) now and then.

    Returns:
        the index files, in the recipe's order of splits.

    Raises:
        UserError: if the folder holds anything else or is being written, the originals cannot be had, or they
            contradict the recipe.
    """
    source, options = find_source(recipe.source), read_options(recipe)
    _check_originals(recipe, source)
    usual = getattr(options, "folder", None)
    if given is None and usual and Path(usual).expanduser().exists():
        given = Path(usual).expanduser()
    if given is not None and source.collection is not None:
        refuse_needless(source.collection, given)
    if given is not None and not given.exists():
        raise UserError(f"{given}: no such file or folder; give the place of the originals with --from")
    with locked(out):
        ours = {name for split in recipe.splits for name in (split, part_of(out / split).name)}
        refuse_foreign(out, ours | {LOCK_NAME}, "a split")
        to_do = [split for split in recipe.splits if not is_finished(out / split, recipe, split, say)]
        in_place = given is not None and (source.in_place or source.collection is None)
        if to_do or in_place:
            originals = {FOLDER: given} if in_place and given else _fetched(recipe, source, cache, say, given, usual)
            opened = _open_all(recipe, source, originals, options, say)
            for remark in dict.fromkeys(remark for samples in opened.values() for remark in samples.remarks):
                say(remark)
            for split in recipe.splits:
                if split not in to_do:
                    refuse_other_originals(out / split, opened[split])
            for split in to_do:
                try:
                    _build_split(recipe, split, opened[split], out, say, workers=workers, progress=progress)
                except OSError as error:
                    raise UserError(
                        f"{out / split}: cannot be written ({error.strerror}); make room or rights"
                    ) from error
    return [out / split / INDEX_NAME for split in recipe.splits]


def _fetched(
    recipe: Recipe, source: Source, cache: Path, say: Say, given: Path | None, usual: str | None
) -> Mapping[str, Path]:
    if source.collection is None:
        if usual:
            raise UserError(
                f"options.folder: {usual}: no such file or folder; correct it, or name the place with --from"
            )
        raise UserError(f"{recipe.name}: its originals are files of yours; name their place with --from PATH")
    return fetch(source.collection, cache, say, given)


def _open_all(
    recipe: Recipe, source: Source, originals: Mapping[str, Path], options: Any, say: Say
) -> dict[str, Described]:
    """Every split, opened and compared with the recipe. All are looked at before anything is refused."""
    opened: dict[str, Described] = {}
    problems: list[str] = []
    if FOLDER in originals:
        say(f"{recipe.name}: looking at the originals in {originals[FOLDER]}")
    open_split = source.open_splits(originals, options, recipe.image, _now_and_then(recipe, say))
    for split in recipe.splits:
        try:
            samples = open_split(split)
            opened[split] = samples if isinstance(samples, Described) else Described(samples)
            _check_against_recipe(recipe, split, opened[split])
        except UserError as error:
            problems += str(error).splitlines()
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return opened


def _now_and_then(recipe: Recipe, say: Say) -> Looked:
    """Says every few seconds how far a look has come; one that is short is silent."""
    last = time.monotonic()

    def looked(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOOK_SECONDS:
            last = time.monotonic()
            say(f"{recipe.name}: looked at {done:,} of {total:,} {what}")

    return looked


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


def _build_split(
    recipe: Recipe, split: str, samples: Described, out: Path, say: Say, *, workers: int, progress: Progress | None
) -> None:
    """Make the split's folder beside its place, then put it there."""
    part, count, record = part_of(out / split), len(samples), record_of(recipe, split, samples)
    order = keys.permutation(count, recipe.seed, list(recipe.splits).index(split))
    jobs: dict[Path, Sequence[int]] = {}
    for start in range(0, count, recipe.samples_per_shard):
        path = part / f"{recipe.name}-{split}-{len(jobs):06d}.tar"
        jobs[path] = order[start : start + recipe.samples_per_shard].tolist()
    done = begin(part, record, jobs, say)
    so_far = sum(len(jobs[path]) for path in done)
    say(f"{recipe.name}: writing {count - so_far:,} samples to {out / split}")

    def tick(more: int) -> None:
        nonlocal so_far
        so_far += more
        if progress is not None:
            progress(split, so_far, count)

    tick(0)
    classes = recipe.classes or samples.classes
    expected = Expected(split, recipe.image.encoding, recipe.image_shape, len(classes), max(6, len(str(count - 1))))
    to_do = [job for job in jobs.items() if job[0] not in done]
    work = partial(write_shard, samples.samples, expected)
    with closing(do_all(to_do, work, workers, tick, _PRELOAD)) as results:
        for (path, _), written in results:
            done[path] = written
    in_order = [done[path] for path in jobs]
    unreadable = dict(sorted(pair for written in in_order for pair in written.unreadable))
    if unreadable:
        _tell_unreadable(unreadable, split, samples, say)
        record = with_unreadable(record, unreadable)
    try:
        attributes = summarise(merge(written.attributes for written in in_order))
    except ValueError as error:
        raise UserError(f"{split}: {error}; the source must be corrected") from error
    shards = tuple(written.shard for written in in_order if written.shard.samples)
    if not shards:
        raise UserError(f"{split}: none of its {count:,} originals can be read; give others")
    index = Index(recipe.name, split, recipe.image_shape, classes, shards, samples.class_ids, attributes)
    finish(part, out / split, record, samples, index)
    say(
        f"{out / split}: {index.num_samples:,} samples in {len(shards)} shards, {index.num_bytes:,} bytes, "
        f"fingerprint {index.fingerprint[:12]}"
    )


def _tell_unreadable(unreadable: Mapping[str, str], split: str, samples: Described, say: Say) -> None:
    """Damage that only decoding finds: refused, or said where the recipe leaves such originals out."""
    lines = [f"{name} ({reason})" for name, reason in unreadable.items()]
    told = f"{split}: {len(lines):,} of {len(samples):,} originals cannot be read: {name_some(lines)}"
    if not samples.skip_unreadable:
        raise UserError(f"{told}; mend or remove them, or set options.skip_unreadable: true to leave them out")
    say(f"{told}; they are left out")


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
