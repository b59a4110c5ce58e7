"""Files in clouds, through fsspec: s3 by s3fs, gs by gcsfs, hf by huggingface_hub.

Credentials, endpoints and regions are those of the cloud's own library: environment variables and its configuration
files. Nothing of them passes through here. A file is read in pieces, each a request for a range; a library that does
not come back is left behind on its thread after ``stall_seconds``.
"""

import queue
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from aedist.data.address import scheme_of
from aedist.data.transport import Body, Broken, Refused

T = TypeVar("T")

PIECE_BYTES = 2**22
"""A piece that takes longer than ``stall_seconds`` is a stall; with 30 s, a connection below 140 kB a second."""

_EXTRAS = {"s3": ("s3fs", "aedist[s3]"), "gs": ("gcsfs", "aedist[gs]"), "hf": ("huggingface_hub", "huggingface-hub")}
_RIGHTS = "give credentials as the cloud's own library takes them, by its environment variables or its files"
_ABSENT = "correct data.shards, or put the file there"
_REFUSALS = {  # by the names of types, since the libraries may not be here
    "FileNotFoundError": _ABSENT,
    "EntryNotFoundError": _ABSENT,
    "RepositoryNotFoundError": f"{_ABSENT}; for a private one, {_RIGHTS}",
    "RevisionNotFoundError": _ABSENT,
    "IsADirectoryError": _ABSENT,
    "PermissionError": _RIGHTS,
    "NoCredentialsError": _RIGHTS,
    "PartialCredentialsError": _RIGHTS,
    "GatedRepoError": _RIGHTS,
    "DefaultCredentialsError": _RIGHTS,
}


def open_cloud(address: str, start: int, stall_seconds: float) -> Body:
    """The file at ``address`` from byte ``start`` on.

    Raises:
        Refused: if there is no such file, no right to it, or no library for it.
        Broken: if the cloud does not answer, or with an error of its own.
    """

    def open_file() -> tuple[Any, int]:
        # no buffer: a piece here is a request there
        file = _filesystem(address).open(address, "rb", cache_type="none")
        return file, int(file.size)

    file, total = _ask(open_file, stall_seconds)
    return Body(start, total, _pieces(file, start, total, stall_seconds))


def lengths_in_cloud(folder: str, stall_seconds: float) -> dict[str, int]:
    """How long each file in a folder is, by its name, from one listing.

    Raises:
        Refused, Broken: as ``open_cloud``.
    """
    entries = _ask(lambda: list(_filesystem(folder).ls(folder, detail=True)), stall_seconds)
    return {str(entry["name"]).rpartition("/")[2]: int(entry["size"] or 0) for entry in entries}


def _filesystem(address: str) -> Any:
    """A file system of its own for each file: none is shared between threads, or with the process before a fork."""
    import fsspec  # noqa: PLC0415 (most runs need none of it)

    scheme = scheme_of(address)
    library, package = _EXTRAS[scheme]
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        raise Refused(f"needs {library}, which is not installed", f"pip install '{package}'") from error


def _pieces(file: Any, start: int, total: int, stall_seconds: float) -> Iterator[bytes]:
    def read(first: int) -> bytes:
        file.seek(first)
        return file.read(min(PIECE_BYTES, total - first))

    while start < total:
        first = start
        piece = _ask(lambda: read(first), stall_seconds)  # noqa: B023 (it is done before the next turn, or left behind)
        if not piece:
            return
        start += len(piece)
        yield piece


def _ask(work: Callable[[], T], stall_seconds: float) -> T:
    """What ``work`` returns, within ``stall_seconds``; its errors as ours."""
    answer: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put((work(), None))
        except Exception as error:
            answer.put((None, error))

    threading.Thread(target=ask, name="cloud", daemon=True).start()
    try:
        got, error = answer.get(timeout=stall_seconds)
    except queue.Empty:
        raise Broken(f"no answer came for {stall_seconds:g} s") from None
    if error is not None:
        raise _as_ours(error) from error
    return got  # pyright: ignore[reportReturnType] (None only beside an error, or as the work's own result)


def _as_ours(error: Exception) -> Exception:
    if isinstance(error, (Refused, Broken)):
        return error
    names = {cls.__name__ for cls in type(error).__mro__}
    said = _told(error)
    for name, fix in _REFUSALS.items():
        if name in names:
            return Refused(said, fix)
    return Broken(said)


def _told(error: Exception) -> str:
    """An error of a library's in a short line without what follows a question mark, where addresses are signed."""
    text = re.sub(r"\?\S*", "?***", " ".join(str(error).split()))[:160]
    return f"{type(error).__name__}: {text if text.isprintable() else ascii(text)}"
