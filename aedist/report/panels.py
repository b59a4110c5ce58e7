"""What a figure of curves is made of: panels, each a set of axes, each with series over the images seen.

The same panels are drawn twice: by ``figures`` as pictures that stand still, for paper and where no script runs, and by
``zoomable`` as axes that a reader moves in.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aedist.plotstyle import LINE

Points = Sequence[tuple[float, float]]
_LOG_RATIO = 5


@dataclass(frozen=True)
class Series:
    """Points (images seen, value) and how they are drawn."""

    points: Points
    colour: str = LINE
    name: str = ""
    line: bool = True
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    label: str
    series: tuple[Series, ...]
    marks: tuple[float, ...] = ()
    """Images seen at which the run was continued."""
    from_zero: bool = False
    ringed: tuple[float, float] | None = None
    """A dot to stand out."""

    @property
    def values(self) -> list[float]:
        """All that is finite on the upright axis."""
        return [y for series in self.series for _, y in series.points if math.isfinite(y)]

    @property
    def is_log(self) -> bool:
        """Whether the upright axis is logarithmic."""
        return not self.from_zero and suits_log(self.values)


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, and in words what they show."""

    name: str
    """A word that no other figure of the page has."""
    alt: str
    panels: tuple[Panel, ...]
    columns: int = 1
    """How many panels stand beside each other on a wide page."""


def thin(points: Points, most: int) -> NDArray[np.float64]:
    """At most ``most`` points (n, 2), each the mean of neighbours; a value that is not finite stays a gap."""
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    if len(array) <= most:
        return array
    return np.array([chunk.mean(axis=0) for chunk in np.array_split(array, most)])


def suits_log(values: Sequence[float]) -> bool:
    """Whether values, all above zero, span so much that a linear axis would hide the later ones."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= _LOG_RATIO


def furthest(figures: Iterable[Figure]) -> float:
    """The most images seen in any figure, 1 where there is no point."""
    return max((x for figure in figures for p in figure.panels for s in p.series for x, _ in s.points), default=1.0)
