"""A split that lies at an address, as if its shards were in a folder here.

Its index is fetched first; it names the shards, their lengths and their sha256, and nothing else that the server says
is believed. A copy of the index stays in the cache, and is used, and said to be, when the server cannot be reached:
with its shards in the cache too, nothing needs the server.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile

from aedist.data.address import check_address, is_on_web, join
from aedist.data.cache import Cache
from aedist.data.clouds import lengths_in_cloud
from aedist.data.download import FetchFailed, Unreachable, again_and_again, read_whole
from aedist.data.threads import as_done
from aedist.data.web import length_on_web
from aedist.errors import UserError
from aedist.shards.index import INDEX_NAME, Index, Shard, parse_index

_MOST_INDEX_BYTES = 2**28
_IN_VAIN, _IN_VAIN_WITH_A_COPY = 4, 2  # attempts, when somebody waits for the start
_ASKED_AT_ONCE = 8
_MOST_ASKED = 1_000


@dataclass(frozen=True)
class RemoteFolder:
    """Where the shards of one split lie, and where they are kept here."""

    address: str
    cache: Cache

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The last part of the address: the split's name."""
        return PurePosixPath(self.address).name

    def obtain(self, shard: Shard, say: Callable[[str], None] | None = None) -> Path:
        """The file of a shard, fetched if need be.

        Raises:
            FetchFailed: if it cannot be had.
        """
        return self.cache.obtain(shard, join(self.address, shard.file), say)

    def missing(self, index: Index) -> list[Shard]:
        """The shards that are not in the cache."""
        return [shard for shard in index.shards if not self.cache.has(shard)]


def open_remote(shards: str, split: str, cache: Cache, say: Callable[[str], None]) -> tuple[RemoteFolder, Index]:
    """A split of the shards at an address, and its index.

    Args:
        shards: the address.
        split: the split's name, a sub-folder there.
        cache: where shards are kept.
        say: told if the index is the copy in the cache.

    Raises:
        UserError: if the address is refused, or there is no such split or no right index.
    """
    base = check_address(shards)
    if not split.isprintable() or "/" in split or "\\" in split or split in (".", ".."):
        raise UserError(f"data.split, evaluate.split: {split!r} is refused: below an address it must be a plain name")
    folder = RemoteFolder(join(base, split), cache)
    address = join(folder.address, INDEX_NAME)
    copy = cache.folder / "indices" / f"{hashlib.sha256(address.encode()).hexdigest()}.json"
    in_vain = _IN_VAIN_WITH_A_COPY if copy.is_file() else _IN_VAIN
    patience = replace(cache.patience, in_vain=min(in_vain, cache.patience.in_vain))
    try:
        text = read_whole(address, _MOST_INDEX_BYTES, patience)
    except Unreachable as error:
        if not copy.is_file():
            raise UserError(str(error)) from error  # every process finds it, so that one of a machine tells it
        say(f"{str(error).partition(';')[0]}; going on with the copy of the index in {cache.folder}")
        return folder, parse_index(copy.read_bytes(), str(copy))
    except FetchFailed as error:
        raise UserError(str(error)) from error
    index = parse_index(text, address)
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_file() or copy.read_bytes() != text:
            _write_among_others(copy, text)
    except OSError as error:
        raise UserError(
            f"data.cache: {cache.folder}: cannot be written ({error.strerror}); name another folder, or make room"
        ) from error
    return folder, index


def _write_among_others(path: Path, content: bytes) -> None:
    """Write a file whole, though other processes write the same at the same moment: each beside it, by its own name."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem[:12]}-", suffix=".part", delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def check_reachable(folder: RemoteFolder, index: Index) -> None:
    """Refuse, before any work, shards that are neither here nor at their address with the length that the index says.

    A cloud is asked for its list of files, a web server for each shard, of very many for the first thousand; the rest
    are found wanting when their time comes.

    Raises:
        UserError: naming the first such shard, and how many there are.
    """
    asked = folder.missing(index)
    if not asked:
        return
    if is_on_web(folder.address):
        asked = asked[:_MOST_ASKED]
        answers = dict(as_done(lambda shard: _problem_on_web(folder, shard), asked, _ASKED_AT_ONCE))
    else:
        patience = folder.cache.patience
        lengths = again_and_again(
            folder.address, lambda: lengths_in_cloud(folder.address, patience.stall_seconds), patience
        )
        answers = {shard: _problem_of_length(folder, shard, lengths.get(shard.file, 0)) for shard in asked}
    problems = [problem for shard in asked if (problem := answers[shard])]
    if problems:
        more = f" (and {len(problems) - 1} more shards)" if len(problems) > 1 else ""
        raise UserError(problems[0] + more)


def _problem_on_web(folder: RemoteFolder, shard: Shard) -> str | None:
    address, patience = join(folder.address, shard.file), folder.cache.patience
    try:
        length = again_and_again(address, lambda: length_on_web(address, patience.stall_seconds), patience)
    except FetchFailed as error:
        return str(error)
    return None if length is None else _problem_of_length(folder, shard, length)


def _problem_of_length(folder: RemoteFolder, shard: Shard, length: int) -> str | None:
    if length == shard.bytes:
        return None
    is_so = f"is {length:,} bytes long, not {shard.bytes:,} as its index says" if length else "is missing or empty"
    return (
        f"{join(folder.address, shard.file)}: {is_so}; put the file there that the index describes, or index the "
        f"folder anew"
    )


def fetch_all(folder: RemoteFolder, index: Index, say: Callable[[str], None]) -> None:
    """Fetch every shard of a split that is not in the cache yet, a few at a time.

    Raises:
        UserError: if the cache is too small for all; or the first that could not be had, when the others were tried.
    """
    if index.num_bytes > folder.cache.budget_bytes:
        raise UserError(
            f"--cache-bytes: {folder.cache.budget_bytes:,} bytes are too few for {folder}, which has "
            f"{index.num_bytes:,}; give more"
        )
    missing = folder.missing(index)
    total, done = sum(shard.bytes for shard in missing), 0
    here = len(index.shards) - len(missing)
    say(f"{folder}: {here:,} of {len(index.shards):,} shards are here; {total:,} bytes to go")

    def fetch(shard: Shard) -> FetchFailed | None:
        try:
            folder.obtain(shard, say)
        except FetchFailed as error:
            return error
        return None

    failures = list[FetchFailed]()
    for number, (shard, failure) in enumerate(as_done(fetch, missing, FETCHED_AT_ONCE), 1):
        if failure is not None:
            failures.append(failure)
            continue
        done += shard.bytes
        say(f"{folder}: {shard.file} is here: {number:,} of {len(missing):,}, {done:,} of {total:,} bytes")
    if failures:
        more = f" (and {len(failures) - 1} more shards)" if len(failures) > 1 else ""
        raise UserError(f"{failures[0]}{more}")
    for shard in index.shards:
        folder.cache.touch(shard)


FETCHED_AT_ONCE = 4
"""Downloads of one process at a time, each a connection."""
