"""Where the samples of a data set come from, one file a data set.

A source is the collection of its originals (the files everything is made of, and the routes to them) and a function
that opens a split of them. To add a data set, write such a file, name it in ``SOURCES``, and lay a recipe into
``shards/``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aedist.assets import Collection
from aedist.errors import UserError
from aedist.shards.sources import mnist


class Samples(Protocol):
    """The samples of a split, numbered in their original order.

    A sample is its fields: the extension and the bytes of each file, one of them an image. Any sample may be asked
    for at any time and gives the same bytes each time.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> dict[str, bytes]: ...


@dataclass(frozen=True)
class Source:
    """``samples(originals, split)`` opens a split, given the originals' paths by file name."""

    collection: Collection
    samples: Callable[[Mapping[str, Path], str], Samples]


SOURCES: dict[str, Source] = {
    "mnist": Source(mnist.ORIGINALS, mnist.samples),
}


def find_source(name: str) -> Source:
    """The source of that name.

    Raises:
        UserError: if there is none.
    """
    if name not in SOURCES:
        raise UserError(f"source: {name!r} is not known; it should be one of {', '.join(SOURCES)}")
    return SOURCES[name]
