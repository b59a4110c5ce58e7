"""A figure that was drawn by numbers, in both its forms: pixels for pages and trackers, lines for papers and slides."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from aedist.pictures import save_picture
from aedist.whole import write_whole

# text stays text, so that it can be searched and set in another font; ids come from the content alone
_SVG: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "aedist"}


@dataclass(frozen=True)
class Chart:
    """The same figure as a picture and as SVG; equal numbers give equal bytes of both."""

    picture: Image.Image
    svg: str


def chart(figure: Figure) -> Chart:
    """Draw a figure, within whose ``rc_context`` this is called."""
    png, svg = io.BytesIO(), io.StringIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    with mpl.rc_context(_SVG):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Chart(Image.open(png).convert("RGB"), svg.getvalue())


def save_chart(made: Chart, path: Path) -> Path:
    """Write ``path``, a PNG, and the SVG beside it; returns ``path``."""
    save_picture(made.picture, path)
    write_whole(path.with_suffix(".svg"), made.svg)
    return path
