"""Curves as SVG that belongs to its page: the page's font, its colours in light and dark, the same bytes each time.

matplotlib lays a figure out and draws it; what it wrote is then made fit for standing within HTML: colours
become the page's CSS variables, ids become the figure's own (two figures on a page would otherwise share
clip paths), and everything that speaks of the date or of another address goes.
"""

import io
import re
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from aedist.plotstyle import DOT, INK, LINE, MUTED, RULE, STYLE
from aedist.report import words
from aedist.report.panels import Figure, Panel, Series, thin

_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", LINE: "--line", DOT: "--dot"}
# text stays text: it takes the page's font and can be searched
_STYLE: dict[Any, Any] = {**STYLE, "svg.fonttype": "none"}
_PIXELS_PER_INCH = 72  # of an SVG by matplotlib
_WIDE_PIXELS, _TALL_PIXELS, _LOW_PIXELS = 736, 300, 215
_MOST_POINTS = 400


def draw(figure: Figure) -> Markup:
    """The panels in rows; there is at least one."""
    buffer, count = io.StringIO(), len(figure.panels)
    columns = min(count, figure.columns)
    rows, height = -(-count // columns), _TALL_PIXELS if columns == 1 else _LOW_PIXELS
    with mpl.rc_context({**_STYLE, "svg.hashsalt": figure.name}):
        inches = (_WIDE_PIXELS / _PIXELS_PER_INCH, rows * height / _PIXELS_PER_INCH)
        drawing = Drawing(figsize=inches, layout=ConstrainedLayoutEngine(h_pad=0.12))
        axes = drawing.subplots(rows, columns, squeeze=False).ravel()
        for index, (ax, panel) in enumerate(zip(axes, figure.panels, strict=False)):
            _panel(ax, panel)
            if index + columns >= len(figure.panels):
                ax.set_xlabel("images seen")
        for ax in axes[len(figure.panels) :]:
            ax.set_axis_off()
        drawing.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), figure.name, figure.alt)


def _panel(ax: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        ax.axvline(mark, color=MUTED, linewidth=1, dashes=(2, 3), zorder=1)
    for place, series in enumerate(panel.series, start=2):
        _series(ax, series, place)
    if panel.ringed:
        ring: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": DOT}
        ax.plot(*([value] for value in panel.ringed), **ring, markeredgewidth=1.2, zorder=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    ax.tick_params(length=0, pad=5)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(_short))
    ax.set_xlim(left=0)
    if panel.from_zero:
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))
    elif panel.is_log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(which="minor", length=0)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_formatter(FuncFormatter(_plain))
    ax.set_title(panel.label, loc="left", pad=10)  # upright text above the axis, as a long label fits there


def _series(ax: Axes, series: Series, place: int) -> None:
    points = thin(series.points, _MOST_POINTS)
    look: dict[str, Any] = {"color": series.colour, "linewidth": 1.1, "solid_joinstyle": "round", "zorder": place}
    look["linestyle"] = ((0, (4, 2)) if series.dashed else "-") if series.line else "none"
    if series.dots:
        look |= {"marker": "o", "markersize": 4.5}
    if len(points) and not np.isnan(points[:, 1]).all():
        ax.plot(points[:, 0], points[:, 1], **look)


def _short(value: float, _position: int | None = None) -> str:
    return words.short(value)


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
