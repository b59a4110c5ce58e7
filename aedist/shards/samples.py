"""The samples of a split, as a source opens them.

A sample is its fields: extension to bytes, one of them an image (``png`` or ``jpg``), beside it ``cls`` (the class, a
whole number in decimal) and ``json`` (attributes: an object of true or false, whole numbers and short texts) where the
data set has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

FOLDER = "folder"
"""The name under which a source that reads the user's own files is given their place."""


class Samples(Protocol):
    """The samples of a split, numbered from 0 in their original order.

    Any sample may be asked for at any time and gives the same bytes each time. What implements this can be pickled,
    since several processes write shards, and keeps no open files in what is pickled.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> dict[str, bytes]: ...


@dataclass(frozen=True)
class Described:
    """Samples together with what only the originals tell.

    ``classes`` are the names that the originals give (a recipe that names its classes must name these), ``class_ids``
    their identifiers where they have others, ``files`` the original of each sample by number, and ``notes`` what was
    found and is to be recorded beside the shards: what was passed over, and how many.
    """

    samples: Samples
    classes: tuple[str, ...] = ()
    class_ids: tuple[str, ...] = ()
    files: Sequence[str] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        return self.samples[number]
