"""Curves that a reader moves in: bokeh's axes in the page's colours, all over the same images seen.

The library stands within the page, so nothing is asked of any other place. All panels of a page share one range of
images seen: to look closely at a stretch of training in one is to see the same stretch in all of them. Bokeh takes the
colours of axes and grids from CSS variables, so that they follow the page into the dark. Titles and legends are the
page's own: what a run is called is then text, whatever it is called.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bokeh
from bokeh.document import Document
from bokeh.models import (
    BasicTicker,
    BoxZoomTool,
    ColumnDataSource,
    DataRange1d,
    FixedTicker,
    GlyphRenderer,
    HoverTool,
    NumeralTickFormatter,
    PanTool,
    Range1d,
    ResetTool,
    Span,
    WheelZoomTool,
)
from bokeh.plotting import figure as plot

from aedist.plotstyle import DOT, MUTED
from aedist.report.panels import Figure, Panel, Series, furthest, thin

_MOST_POINTS = 1500
_ROOM = 1.02  # so that the last dot is whole
_TALL_PIXELS, _LOW_PIXELS = 300, 220
_LOG_STEPS = ((1.2, (1, 1.5, 2, 3, 5, 7)), (2.5, (1, 2, 5)), (math.inf, (1,)))
"""For panels of so many decades."""
_ID = re.compile(r'(?<="id":)"(p\d+)"')
"""Within JSON without blanks; in a text of ours the quotes would have a backslash before them."""


def library() -> str:
    """The text of BokehJS, without tables, widgets or graphs."""
    path = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
    return path.read_text(encoding="utf-8").replace("</script", r"<\/script")


def document(figures: Sequence[Figure]) -> str:
    """What BokehJS's ``embed_items`` takes, as JSON: each panel's axes for the element with its ``element_id``."""
    end = _ROOM * furthest(figures)
    shared, page, places = Range1d(start=0, end=end, bounds=(0, end)), Document(), dict[str, str]()
    for one in figures:
        for index, panel in enumerate(one.panels):
            root = _plot(panel, shared, _TALL_PIXELS if one.columns == 1 else _LOW_PIXELS)
            page.add_root(root)
            places[root.id] = element_id(one, index)
    # ids count on over all that a process has made; here they begin anew, so that the same run makes the same page
    order: dict[str, str] = {}
    text = json.dumps(page.to_json(deferred=False), separators=(",", ":"))
    text = _ID.sub(lambda found: f'"{order.setdefault(found[1], f"b{len(order)}")}"', text)
    roots = {order[own]: place for own, place in places.items()}
    items = json.dumps([{"docid": "page", "roots": roots, "root_ids": list(roots)}])
    return f'{{"docs":{{"page":{text}}},"items":{items}}}'


def element_id(figure: Figure, index: int) -> str:
    """The id of the element that a figure's panel stands in."""
    return f"{figure.name}-{index}"


def _plot(panel: Panel, images_seen: Range1d, height: int) -> plot:
    axes = plot(
        x_range=images_seen,
        y_range=DataRange1d(start=0) if panel.from_zero else DataRange1d(),
        y_axis_type="log" if panel.is_log else "linear",
        height=height,
        sizing_mode="stretch_width",
        tools=[],
        toolbar_location="above",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border=2,
        output_backend="canvas",
    )
    box = BoxZoomTool()
    axes.add_tools(box, PanTool(), WheelZoomTool(zoom_on_axis=True), ResetTool(), *_hovers(axes, panel))
    axes.toolbar.active_drag = box
    axes.toolbar.active_scroll = None  # which scrolls the page
    axes.toolbar.logo = None
    axes.toolbar.autohide = False
    for axis in axes.axis:
        axis.minor_tick_line_color = None
        axis.major_tick_line_color = None
    axes.xaxis.formatter = NumeralTickFormatter(format="0.[00]a")
    axes.xaxis.ticker = BasicTicker(desired_num_ticks=5)
    axes.yaxis.formatter = NumeralTickFormatter(format="0,0.[00000000]")
    if panel.is_log:
        axes.yaxis.ticker = FixedTicker(ticks=_log_ticks(panel.values))
    axes.xgrid.visible = False
    for mark in panel.marks:
        axes.add_layout(Span(location=mark, dimension="height", line_color=MUTED, line_dash=[2, 3]))
    if panel.ringed:
        x, y = panel.ringed
        axes.scatter([x], [y], size=14, fill_color=None, line_color=DOT, line_width=1.5)
    return axes


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Round numbers over the range of values above zero, and some around it; bokeh's own leave out the lowest."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = next(found for decades, found in _LOG_STEPS if high - low <= decades)
    return [step * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]


def _hovers(axes: plot, panel: Panel) -> list[HoverTool]:
    """Draw the series, and make the tools that tell their values where the pointer is."""
    tools = list[HoverTool]()
    for series in panel.series:
        drawn = _draw(axes, series)
        tips = [("images seen", "@x{0,0}"), (_plain(series.name or panel.label), "@y{0,0.[00000]}")]
        tools.append(HoverTool(renderers=[drawn], tooltips=tips, mode="vline", line_policy="nearest", visible=False))
    return tools


def _draw(axes: plot, series: Series) -> "GlyphRenderer[Any]":
    points = thin(series.points, _MOST_POINTS)
    look: dict[str, Any] = {"source": ColumnDataSource({"x": points[:, 0], "y": points[:, 1]}), "color": series.colour}
    if not series.line:
        return axes.scatter("x", "y", size=7, **look)
    line = axes.line("x", "y", line_width=1.5, line_dash="dashed" if series.dashed else "solid", **look)
    if series.dots:
        axes.scatter("x", "y", size=7, **look)
    return line


def _plain(label: str) -> str:
    """A label that bokeh shows as it is: to it, @ and $ begin the name of a column."""
    return label.replace("@", "").replace("$", "")
