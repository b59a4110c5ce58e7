"""Writing the shards of a data set from its originals, as its recipe says.

One folder a split, made beside its place and renamed into it when its index is written: a split is finished or is
not there. Samples are shuffled once, by the recipe's seed, so that a few shards together are a fair mixture; a
sample's key is its number in the original order, so that the original can be found. The same recipe and originals
give the same bytes on every machine.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from webdataset.writer import TarWriter

from aedist import keys
from aedist.assets import fetch
from aedist.errors import UserError
from aedist.routes import Say
from aedist.shards.fields import class_number, image_extension, image_size
from aedist.shards.index import INDEX_NAME, Index, Shard, check_present, describe_bytes, read_index, write_index
from aedist.shards.recipe import Recipe
from aedist.shards.samples import FOLDER, Samples
from aedist.shards.sources import Source, find_source, read_options

RECORD_NAME = "recipe.json"
_VERSION = 1  # of what is written; raised when the same recipe would give other bytes
_PROGRESS_SAMPLES = 500

Progress = Callable[[str, int, int], None]
Check = Callable[[int, dict[str, bytes]], None]


def build(
    recipe: Recipe,
    out: Path,
    cache: Path,
    say: Say,
    source_folder: Path | None = None,
    *,
    progress: Progress | None = None,
) -> list[Path]:
    """Make ``out/SPLIT/NAME-SPLIT-000000.tar`` ... and ``out/SPLIT/index.json`` for every split of a recipe.

    A split that this recipe made is kept, and the originals are fetched only if some split is not there.

    Args:
        recipe: what to make.
        out: the data set's folder; it may hold the recipe's splits only.
        cache: where the originals are kept.
        say: is told what happens at each moment.
        source_folder: the user's folder with the originals, instead of the routes to them.
        progress: is told (split, samples written, samples of the split) now and then.

    Returns:
        the index files, in the recipe's order of splits.

    Raises:
        UserError: if the folder holds anything else, the originals cannot be had, or they contradict the recipe.
    """
    source, options = find_source(recipe.source), read_options(recipe)
    _check_originals(recipe, source)
    _refuse_foreign(out, {name for split in recipe.splits for name in (split, _part(out, split).name)}, "a split")
    to_do = [split for split in recipe.splits if not _is_finished(out / split, recipe, split, say)]
    if to_do:
        originals = _originals(source, cache, say, source_folder)
        for split in to_do:
            samples = source.samples(originals, split, options, recipe.image)
            if recipe.splits[split].samples not in (None, len(samples)):
                raise UserError(
                    f"splits.{split}.samples: the recipe says {recipe.splits[split].samples}, "
                    f"the originals hold {len(samples)}; correct the recipe"
                )
            try:
                _build_split(recipe, split, samples, out, say, progress=progress)
            except OSError as error:
                raise UserError(f"{out / split}: cannot be written ({error.strerror}); make room or rights") from error
    return [out / split / INDEX_NAME for split in recipe.splits]


def write_shard(samples: Samples, numbers: Sequence[int], digits: int, path: Path, check: Check) -> None:
    """Write the samples of these numbers as one tar. Depends on its arguments alone, never on other shards.

    ``check(number, fields)`` is called with each sample before it is written. Modes, owners and times are
    constant, and whole seconds, since a fraction would add a PAX header to every member.
    """
    with path.open("wb") as file, TarWriter(file, encoder=False, mtime=0) as tar:
        for number in numbers:
            fields = samples[number]
            check(number, fields)
            tar.write({"__key__": f"{number:0{digits}d}", **fields})


def _build_split(
    recipe: Recipe, split: str, samples: Samples, out: Path, say: Say, *, progress: Progress | None
) -> None:
    """Make the split's folder beside its place, then put it there."""
    part, count, written = _part(out, split), len(samples), 0
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    say(f"{recipe.name}: writing {count:,} samples to {out / split}")
    order = keys.permutation(count, recipe.seed, list(recipe.splits).index(split))
    digits = max(6, len(str(count - 1)))

    def check(number: int, fields: dict[str, bytes]) -> None:
        nonlocal written
        _check_sample(recipe, f"{split} sample {number}", fields)
        written += 1
        if progress is not None and (written % _PROGRESS_SAMPLES == 0 or written == count):
            progress(split, written, count)

    shards: list[Shard] = []
    for start in range(0, count, recipe.samples_per_shard):
        numbers = order[start : start + recipe.samples_per_shard].tolist()
        path = part / f"{recipe.name}-{split}-{len(shards):06d}.tar"
        write_shard(samples, numbers, digits, path, check)
        shards.append(Shard(path.name, len(numbers), *describe_bytes(path)))
    index = Index(recipe.name, split, recipe.image_shape, recipe.classes, tuple(shards))
    (part / RECORD_NAME).write_text(json.dumps(_record(recipe, split), indent=1) + "\n", encoding="utf-8")
    write_index(part, index)
    if (out / split).exists():
        shutil.rmtree(out / split)  # ours, and damaged: see _is_finished
    part.replace(out / split)
    say(f"{out / split}: {len(shards)} shards, {index.num_bytes:,} bytes, fingerprint {index.fingerprint[:12]}")


def _check_sample(recipe: Recipe, where: str, fields: dict[str, bytes]) -> None:
    """Refuse a sample that the recipe does not describe."""
    try:
        encoding = image_extension(fields)
        shape = image_size(fields[encoding], encoding)
        number = class_number(fields["cls"]) if "cls" in fields else -1
    except ValueError as error:
        raise UserError(f"{where}: {error}; the source must be corrected") from error
    if (encoding, shape) != (recipe.image.encoding, recipe.image_shape):
        raise UserError(
            f"image: the recipe says {recipe.image.encoding} of {recipe.image_shape}, "
            f"{where} is {encoding} of {shape}; correct the recipe"
        )
    if number >= len(recipe.classes):
        raise UserError(
            f"classes: the recipe has {len(recipe.classes)} names, {where} is of class {number}; add the missing names"
        )


def _is_finished(folder: Path, recipe: Recipe, split: str, say: Say) -> bool:
    """Whether the split is there as this recipe makes it. False if it is ours but incomplete, or not there."""
    if not folder.exists():
        return False
    try:
        record = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if record != _record(recipe, split):
        raise UserError(
            f"{folder}: is there, and this recipe did not make it; remove the folder, or build into another"
        )
    ours = {path.name for path in folder.glob(f"{recipe.name}-{split}-*.tar")}
    _refuse_foreign(folder, ours | {INDEX_NAME, RECORD_NAME}, "a shard")
    try:
        index = read_index(folder)
        check_present(folder, index)
    except UserError as error:
        say(f"{error}: so the split is built again")
        return False
    say(f"{folder}: {index.num_samples:,} samples are there already (aedist shards verify {folder} checks every byte)")
    return True


def _record(recipe: Recipe, split: str) -> dict[str, Any]:
    """All that decides the bytes of a split."""
    told = recipe.model_dump(mode="json", exclude={"licence", "credit", "splits"})
    if not recipe.options:
        del told["options"]
    number = list(recipe.splits).index(split)
    return {"version": _VERSION, "split": split, "number": number, "samples": recipe.splits[split].samples, **told}


def _part(out: Path, split: str) -> Path:
    return out / f".{split}.part"


def _originals(source: Source, cache: Path, say: Say, given: Path | None) -> dict[str, Path]:
    if given is not None and (source.in_place or source.collection is None):
        return {FOLDER: given}
    if source.collection is None:
        raise UserError("the originals are files of yours; name their folder with --from FOLDER")
    return fetch(source.collection, cache, say, given)


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


def _refuse_foreign(folder: Path, allowed: set[str], what: str) -> None:
    """Refuse a folder that holds what did not come from here."""
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in allowed) if folder.exists() else []
    if foreign:
        raise UserError(
            f"{folder / foreign[0]}: is not {what} of this data set; move it away, or build into another folder"
        )
