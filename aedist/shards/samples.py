"""The samples of a split, as a source opens them.

A sample is its fields: extension to bytes, one of them an image (``png`` or ``jpg``), beside it ``cls`` (the class, a
whole number in decimal) and ``json`` (attributes: an object of true or false, whole numbers and short texts) where the
data set has them.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

FOLDER = "folder"
"""The name under which a source that reads the user's own files is given their place."""

Looked = Callable[[str, int, int], None]
"""Is told what is looked at, how many of it were, and of how many, as often as it suits who looks."""

_MOST_NAMED = 10


class Samples(Protocol):
    """The samples of a split, numbered from 0 in their original order.

    Any sample may be asked for at any time and gives the same bytes each time. What implements this can be pickled,
    since several processes write shards, and keeps no open files in what is pickled. ``__getitem__`` raises
    ``Unreadable`` where a sample's original turns out to be damaged.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> dict[str, bytes]: ...


@dataclass(frozen=True)
class Described:
    """Samples together with what only the originals tell.

    ``classes`` are the names that the originals give (a recipe that names its classes must name these), ``class_ids``
    their identifiers where they have others, ``files`` the original of each sample by number. ``notes`` are recorded
    beside the shards and ``remarks`` said: what was passed over, and how many. ``listing`` is a digest by which other
    originals are told from these. With ``skip_unreadable``, samples whose originals turn out to be damaged are left
    out and counted; without, they are refused.
    """

    samples: Samples
    classes: tuple[str, ...] = ()
    class_ids: tuple[str, ...] = ()
    files: Sequence[str] = ()
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    remarks: Sequence[str] = ()
    listing: str = ""
    skip_unreadable: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        return self.samples[number]


class Unreadable(Exception):
    """An original that cannot be read as an image: its name, and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # both, so that it survives the way out of a worker
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def listing_digest(lines: Iterable[str]) -> str:
    """A digest of what there is and what is said of it (names, sizes, labels), a line each."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def name_some(names: Sequence[str]) -> str:
    """Up to ten names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
