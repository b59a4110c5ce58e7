"""Figures of an evaluation, 1,440 pixels wide: how metrics spread, where errors are, what the KL is spent on.

They are made for a page's column of about 740 pixels, so a fine screen shows them sharp.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from aedist.evaluation.pictures.chart import Chart, chart
from aedist.pictures import grid
from aedist.plotstyle import DOT, INK, LINE, MUTED, STYLE

_STYLE: dict[Any, Any] = {**STYLE, "axes.labelsize": 10}
_WIDE, _DOTS_PER_INCH = 10.0, 144
_COLUMNS, _ROW_INCHES = 3, 2.3
_BINS = 48
_STEPS = [1, 2, 5, 10]
_MOST_BARS = 100
_LEGEND_HEIGHT, _LEGEND_WIDTH, _LEGEND_FONT = 14, 240, 13
_TITLES = {
    "mse": "MSE",
    "mae": "MAE",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "rate": "rate (nats an image)",
}


def histograms(values_by_metric: Mapping[str, NDArray[np.float64]], title: str = "") -> Chart:
    """How each metric is spread over the images: a panel each, with its median and its 5 % to 95 % range.

    Args:
        values_by_metric: float64 (N,) each, at least one metric. Values that are not finite are left out and counted.
        title: of what, such as ``mnist/test, N = 10,000``; a line above all.
    """
    rows = -(-len(values_by_metric) // _COLUMNS)
    columns = min(_COLUMNS, len(values_by_metric))
    with mpl.rc_context(_STYLE):
        figure = _figure(rows * _ROW_INCHES + (0.4 if title else 0), title)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (name, values) in zip(axes, values_by_metric.items(), strict=False):
            _histogram(ax, _TITLES.get(name, name), np.asarray(values, np.float64))
        for ax in axes[len(values_by_metric) :]:
            ax.set_axis_off()
        for ax in axes[::columns]:
            ax.set_ylabel("images")
        return chart(figure)


def _histogram(ax: Axes, label: str, values: NDArray[np.float64]) -> None:
    finite = values[np.isfinite(values)]
    _bare(ax)
    lost = len(values) - len(finite)
    ax.set_title(f"{label}, {lost:,} not finite" if lost else label, loc="left", pad=8)
    if not len(finite):
        ax.text(0.5, 0.5, "no values", transform=ax.transAxes, ha="center", va="center", color=MUTED)
        ax.set_xticks([])
        ax.set_yticks([])
        return
    low, middle, high = np.quantile(finite, (0.05, 0.5, 0.95))
    ax.axvspan(low, high, color=LINE, alpha=0.1, linewidth=0)
    ax.hist(finite, bins=min(_BINS, max(8, math.isqrt(len(finite)))), color=LINE, linewidth=0)
    ax.axvline(middle, color=DOT, linewidth=1.6)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS, integer=True))


def kl_bars(kl_d: NDArray[np.float64], active_d: NDArray[np.bool_] | None = None, title: str = "") -> Chart:
    """The KL of each number of an encoding, mean over images, the largest first.

    Args:
        kl_d: nats, (d,), d at least 1. A number whose KL is not finite is drawn as nothing.
        active_d: whether each number is an active unit, (d,); the others are marked on the axis.
        title: a line above all.
    """
    kl = np.nan_to_num(np.asarray(kl_d, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    active = np.ones(len(kl), bool) if active_d is None else np.asarray(active_d, bool)
    order = np.argsort(-kl, kind="stable")
    kl, active, places = kl[order], active[order], np.arange(1, len(kl) + 1)
    with mpl.rc_context(_STYLE):
        figure = _figure(3.2, title)
        ax = figure.subplots()
        _bare(ax)
        for which, colour, label in ((active, LINE, "active units"), (~active, DOT, "not active")):
            if which.any():
                told = f"{label}: {int(which.sum()):,}" if active_d is not None else ""
                if len(kl) <= _MOST_BARS:
                    ax.bar(places[which], kl[which], 0.8, color=colour, linewidth=0, label=told)
                else:
                    ax.fill_between(places, np.where(which, kl, 0), step="mid", color=colour, linewidth=0, label=told)
                # a bar near zero cannot be seen, so what is not active has a mark on the axis
                if colour == DOT:
                    ax.plot(places[which], np.zeros(which.sum()), "|", color=DOT, markersize=5, clip_on=False)
        ax.set_xlim(0.4, len(kl) + 0.6)
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(MaxNLocator(10, steps=_STEPS, integer=True))
        ax.set_xlabel("numbers of an encoding, by their KL")
        ax.set_ylabel("KL (nats)")
        if active_d is not None:
            ax.legend(frameon=False, labelcolor=INK, fontsize=10, loc="upper right")
        return chart(figure)


def error_maps(
    originals: NDArray[np.uint8],
    reconstructions: NDArray[np.uint8],
    labels: Sequence[str] = (),
    title: str = "",
) -> Image.Image:
    """Originals, their reconstructions, and where they differ, a column an image; dark is no error.

    A place's error is the absolute difference, mean over channels, as a share of the range from black to white. One
    scale serves all the images, from zero to the largest error among them.

    Args:
        originals: uint8 (n, H, W, C).
        reconstructions: uint8, of the same shape.
        labels: a word for each image, above it.
        title: a line above all.
    """
    errors = np.abs(originals.astype(np.float64) - reconstructions).mean(3) / 255
    largest = float(errors.max()) if errors.size and errors.max() > 0 else 1.0
    maps = _colours(errors / largest)
    rows = [np.broadcast_to(row, (*row.shape[:3], 3)) for row in (originals, reconstructions)]
    picture = grid([*rows, maps], ["original", "reconstruction", "error"], labels, title)
    return _with_legend(picture, largest)


def _with_legend(picture: Image.Image, largest: float) -> Image.Image:
    """The picture above the colours of its errors, from 0 to ``largest``."""
    scale = max(1, picture.width // 1100)
    height, width, margin = _LEGEND_HEIGHT * scale, _LEGEND_WIDTH * scale, 8 * scale
    font = ImageFont.load_default(size=_LEGEND_FONT * scale)
    whole = Image.new("RGB", (picture.width, picture.height + height + margin), "white")
    whole.paste(picture, (0, 0))
    draw, y = ImageDraw.Draw(whole), picture.height
    bar = _colours(np.broadcast_to(np.linspace(0, 1, width), (height, width)))
    before, after = "absolute error 0", f"{100 * largest:.0f} % of the range"
    x = margin
    draw.text((x, y + height / 2), before, fill=MUTED, font=font, anchor="lm")
    x += int(font.getlength(before)) + margin
    whole.paste(Image.fromarray(bar), (x, y))
    draw.text((x + width + margin, y + height / 2), after, fill=MUTED, font=font, anchor="lm")
    return whole


def _colours(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Heat-map colours of numbers in [0, 1]: lightness rises evenly, so they tell without colour too."""
    return cast(NDArray[np.uint8], mpl.colormaps["inferno"](shares, bytes=True)[..., :3])


def _figure(height: float, title: str) -> Figure:
    figure = Figure(figsize=(_WIDE, height), dpi=_DOTS_PER_INCH, layout=ConstrainedLayoutEngine(h_pad=0.1, wspace=0.04))
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def _bare(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    ax.tick_params(length=0, pad=5)
    ax.xaxis.set_major_formatter(FuncFormatter(_plain))
    ax.yaxis.set_major_formatter(FuncFormatter(_plain))


def _plain(value: float, _position: int | None = None) -> str:
    """A tick as a person writes it."""
    return f"{value:,.10g}"
