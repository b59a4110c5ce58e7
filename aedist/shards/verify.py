"""Proving that shards are what their index says: present, of that length and sha256, and all of it readable.

Everything is looked at before anything is refused, so that one look tells all that must be built or copied again.
"""

from collections.abc import Callable
from pathlib import Path

from aedist.data.download import FetchFailed
from aedist.data.remote import RemoteFolder
from aedist.errors import UserError
from aedist.shards.damage import explain_damage
from aedist.shards.index import INDEX_NAME, Index, Shard, describe_bytes, read_index
from aedist.shards.salvage import sample_problem
from aedist.shards.tar import TarDamage, mapped, samples


def verify_folder(folder: Path, say: Callable[[str], None]) -> int:
    """Check every shard of a split, or of every split in ``folder``, against its index; every image is decoded.

    Args:
        folder: holds ``index.json``, or sub-folders (splits) that do.
        say: is told of each shard when it was checked.

    Returns:
        the number of samples, all of them right.

    Raises:
        UserError: one line for each shard that is missing, damaged, unreadable or not in the index.
    """
    below = sorted(path.parent for path in folder.glob(f"*/{INDEX_NAME}"))
    splits = below if below and not (folder / INDEX_NAME).exists() else [folder]
    count, problems = 0, list[str]()
    for split in splits:
        try:
            index = read_index(split)
        except UserError as error:
            if len(splits) == 1:
                raise
            problems.append(str(error))
            say(problems[-1])
            continue
        for shard in index.shards:
            problem = _shard_problem(split / shard.file, shard, index)
            say(problem or f"{split / shard.file}: {shard.samples:,} samples are right")
            problems += [problem] if problem else []
            count += shard.samples
        for path in sorted(set(split.glob("*.tar")) - {split / shard.file for shard in index.shards}):
            problems.append(f"{path}: is not in the index; move it away, or index the folder anew")
            say(problems[-1])
    if problems:
        raise UserError("\n".join(problems))
    return count


def verify_remote(folder: RemoteFolder, index: Index, say: Callable[[str], None]) -> int:
    """As ``verify_folder``, of a split at an address; its shards are fetched into the cache.

    Raises:
        UserError: one line for each shard that cannot be had, or is not what the index says.
    """
    count, problems = 0, list[str]()
    for shard in index.shards:
        try:
            problem = _shard_problem(folder.obtain(shard, say), shard, index)
        except FetchFailed as error:
            problem = str(error)
        say(problem or f"{folder}/{shard.file}: {shard.samples:,} samples are right")
        problems += [problem] if problem else []
        count += shard.samples
    if problems:
        raise UserError("\n".join(problems))
    return count


def _shard_problem(path: Path, shard: Shard, index: Index) -> str | None:
    """What is wrong with a shard, in one line; None if nothing is."""
    try:
        size, sha256, _ = describe_bytes(path)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); build or copy it again"
    if (size, sha256) != (shard.bytes, shard.sha256):
        return explain_damage(path, shard)
    try:
        with mapped(path) as data:
            found = samples(data, str(path))
            wrong = [line for sample in found if (line := sample_problem(data, sample, index))]
    except TarDamage as damage:
        return str(damage)
    if len(found) != shard.samples:
        return f"{path}: holds {len(found)} samples, the index says {shard.samples}; index the folder anew"
    if wrong:
        more = f" (and {len(wrong) - 1} more samples)" if len(wrong) > 1 else ""
        return f"{path}: {wrong[0]}{more}; replace it and index the folder anew"
    return None
