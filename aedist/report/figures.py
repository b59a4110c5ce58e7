"""Curves as SVG that belongs to its page: the page's font, its colours in light and dark, the same bytes each time.

matplotlib lays a figure out and draws it; what it wrote is then made fit for standing within HTML: colours
become the page's CSS variables, ids become the figure's own (two figures on a page would otherwise share
clip paths), and everything that speaks of the date or of another address goes. Each figure is drawn twice,
for a wide page and for a telephone, as text that shrinks with its figure cannot be read.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from aedist.plotstyle import DOT, INK, LINE, MUTED, RULE, STYLE

_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", LINE: "--line", DOT: "--dot"}
# text stays text: it takes the page's font and can be searched
_STYLE: dict[Any, Any] = {**STYLE, "svg.fonttype": "none"}
_PIXELS_PER_INCH = 72  # of an SVG by matplotlib
_WIDE_PIXELS, _NARROW_PIXELS = 736, 350
_MOST_POINTS = 1000
_LOG_RATIO = 5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One set of axes: a thin line, dots, or both, over epochs. ``marks`` are where the run was continued."""

    label: str
    line: Points = ()
    dots: Points = ()
    marks: tuple[float, ...] = ()
    from_zero: bool = False
    joined: bool = False
    """Whether the dots are joined by a line."""
    ringed: tuple[float, float] | None = None
    """A dot to stand out."""


def draw(name: str, alt: str, panels: Sequence[Panel]) -> Markup:
    """The panels beside each other for a wide page and below each other for a narrow one.

    Args:
        name: a word that no other figure of the page has.
        alt: what the figure shows, for those who do not see it.
        panels: at least one.
    """
    wide = _svg(f"{name}-wide", alt, panels, (1, len(panels)), (_WIDE_PIXELS, 300 if len(panels) == 1 else 230))
    narrow = _svg(f"{name}-narrow", alt, panels, (len(panels), 1), (_NARROW_PIXELS, 210))
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def thin(points: Points, most: int = _MOST_POINTS) -> NDArray[np.float64]:
    """At most ``most`` points (n, 2), each the mean of neighbours; a value that is not finite stays a gap."""
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    if len(array) <= most:
        return array
    return np.array([chunk.mean(axis=0) for chunk in np.array_split(array, most)])


def suits_log(values: Sequence[float]) -> bool:
    """Whether values, all above zero, span so much that a linear axis would hide the later ones."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= _LOG_RATIO


def _svg(name: str, alt: str, panels: Sequence[Panel], grid: tuple[int, int], size: tuple[int, int]) -> Markup:
    """One SVG of (rows, columns) panels; ``size`` is its width and the height of each row, in pixels."""
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        inches = (size[0] / _PIXELS_PER_INCH, grid[0] * size[1] / _PIXELS_PER_INCH)
        figure = Figure(figsize=inches, layout=ConstrainedLayoutEngine(h_pad=0.12))
        axes = figure.subplots(*grid, squeeze=False).ravel()
        for index, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            _panel(ax, panel)
            if grid[0] == 1 or index == len(panels) - 1:
                ax.set_xlabel("epochs")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), name, alt)


def _panel(ax: Axes, panel: Panel) -> None:
    line, dots = thin(panel.line), np.array(panel.dots, dtype=np.float64).reshape(-1, 2)
    ys = [*line[:, 1].tolist(), *dots[:, 1].tolist()]
    for mark in panel.marks:
        ax.axvline(mark, color=MUTED, linewidth=1, dashes=(2, 3), zorder=1)
    if len(line):
        ax.plot(line[:, 0], line[:, 1], color=LINE, linewidth=1.1, zorder=2, solid_joinstyle="round")
    if len(dots):
        joint = "-" if panel.joined else "none"
        ax.plot(dots[:, 0], dots[:, 1], color=DOT, linestyle=joint, linewidth=1.1, marker="o", markersize=4.5, zorder=3)
    if panel.ringed:
        ax.plot(
            *([value] for value in panel.ringed),
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=DOT,
            markeredgewidth=1.2,
            zorder=4,
        )
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    ax.tick_params(length=0, pad=5)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=_span([*line[:, 0], *dots[:, 0]]) >= 2))
    ax.set_xlim(left=0)
    if panel.from_zero:
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))
    elif suits_log(ys):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(which="minor", length=0)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))
    ax.set_title(panel.label, loc="left", pad=10)  # upright text above the axis, as a long label fits there


def _span(values: Sequence[float]) -> float:
    return max(values) - min(0.0, *values) if values else 0.0


def _plain(value: float, _position: int | None = None) -> str:
    """A tick as a person writes it."""
    return f"{value:,.10g}"


def _for_page(svg: str, name: str, alt: str) -> Markup:
    """What matplotlib wrote, made fit for standing within HTML."""
    svg = svg[svg.index("<svg") :]
    body = svg[svg.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = re.sub(
        "#[0-9a-f]{6}", lambda found: f"var({_VARIABLES[found[0]]})" if found[0] in _VARIABLES else found[0], body
    )
    match = re.search(r'viewBox="([^"]+)"', svg)
    if match is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">{}').format(match[1], alt, Markup(body))  # noqa: S704
