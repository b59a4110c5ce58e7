"""Two maps of the encodings of images, side by side, coloured by class.

The left one is linear, the first two principal components: distances in it are distances of encodings, as far as two
directions show them. The right one keeps neighbours together and says nothing by its distances: UMAP (McInnes, Healy
and Melville, 2018) where the package umap-learn is installed, else t-SNE (van der Maaten and Hinton, 2008).
"""

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from aedist.evaluation.labels import NO_CLASS
from aedist.evaluation.pictures.chart import Chart, chart
from aedist.keys import key
from aedist.plotstyle import CATEGORIES, INK, LINE, MUTED, NO_CATEGORY, RULE, STYLE

MOST_IMAGES = 2000
MOST_CLASSES = 20
_FEWEST_IMAGES = 5
_COMPONENTS = 50  # that neighbours are looked for in, as is usual for t-SNE
_PERPLEXITY, _NEIGHBOURS = 30.0, 15
_MARKERS = ("o", "^")
_SIZE = 9.0
_LETTERS, _LONGEST_NAME = 125, 24  # of a line of the legend, and of a name in it


@dataclass(frozen=True)
class Map:
    """Where each image lies."""

    title: str
    xy_n2: NDArray[np.float64]
    axes: tuple[str, str] = ("", "")


def latent_map(
    z_nd: NDArray[np.float64], labels_n: NDArray[np.int64], classes: Sequence[str], seed: int, title: str = ""
) -> Chart | None:
    """The two maps of at most ``MOST_IMAGES`` evenly chosen images, as a figure 1,440 pixels wide.

    Args:
        z_nd: encodings of images. Those that are not finite are left out, and counted in the title.
        labels_n: their classes; negative where an image has none.
        classes: the names of all classes; of more than ``MOST_CLASSES`` among the images none has a colour.
        seed: of UMAP or t-SNE.
        title: what the images are, such as ``mnist/test``.

    Returns:
        the figure, or None where encodings have no map: of fewer than five images, or all the same.
    """
    is_finite_n = np.isfinite(z_nd).all(axis=1)
    lost = int((~is_finite_n).sum())
    finite = np.flatnonzero(is_finite_n)
    chosen = finite[np.arange(min(len(finite), MOST_IMAGES)) * len(finite) // max(1, min(len(finite), MOST_IMAGES))]
    if len(chosen) < _FEWEST_IMAGES:
        return None
    with threadpool_limits(1):
        scores_nk, shares_k = principal_components(z_nd[chosen])
        if not len(shares_k):
            return None
        maps = [_linear(scores_nk, shares_k), _of_neighbours(scores_nk, key(seed, len(chosen)) % 2**32)]
    labels = labels_n[chosen]
    shown = [label for label in np.unique(labels).tolist() if label >= 0]
    told = f"{title}: " if title else ""
    told += f"{len(chosen):,} of {len(z_nd):,}" if len(chosen) < len(z_nd) else f"all {len(z_nd):,}"
    told += f" encodings of {z_nd.shape[1]:,} numbers"
    told += f", without {lost:,} that are not finite" if lost else ""
    if len(shown) > MOST_CLASSES:
        told += f"; {len(shown):,} classes, too many for colours"
    else:
        told += ", coloured by class" if shown else "; no classes are known"
    return _drawn(maps, labels, classes, shown if len(shown) <= MOST_CLASSES else [], told)


def principal_components(z_nd: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores (n, k) on the principal components of n encodings, and the share of the variance (k,) that each has.

    k is at most 50, and 0 where all encodings are the same. A component points to where its scores reach furthest.
    """
    centred_nd = z_nd - z_nd.mean(axis=0)
    centred_nd[:, np.abs(centred_nd).max(axis=0) <= 1e-6 * np.abs(z_nd).max(axis=0)] = 0  # rounding
    total = float(np.square(centred_nd).sum())
    if total == 0:
        return np.zeros((len(z_nd), 0)), np.zeros(0)
    if len(z_nd) > z_nd.shape[1]:
        found = np.linalg.eigh(centred_nd.T @ centred_nd)
        scores = centred_nd @ found.eigenvectors[:, ::-1][:, :_COMPONENTS]
    else:
        found = np.linalg.eigh(centred_nd @ centred_nd.T)
        scores = (found.eigenvectors * np.sqrt(found.eigenvalues.clip(0)))[:, ::-1][:, :_COMPONENTS]
    furthest = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
    return scores * np.where(furthest < 0, -1, 1), found.eigenvalues[::-1][:_COMPONENTS].clip(0) / total


def _linear(scores_nk: NDArray[np.float64], shares_k: NDArray[np.float64]) -> Map:
    xy = np.zeros((len(scores_nk), 2))
    xy[:, : min(2, scores_nk.shape[1])] = scores_nk[:, :2]
    shares = [*shares_k[:2].tolist(), 0.0][:2]
    names = [f"component {place}: {100 * share:.1f} % of the variance" for place, share in enumerate(shares, start=1)]
    return Map("PCA", xy, (names[0], names[1]))


def _of_neighbours(scores_nk: NDArray[np.float64], seed: int) -> Map:
    """UMAP where it is installed, else t-SNE; both begin with the principal components."""
    count = len(scores_nk)
    init = "pca" if scores_nk.shape[1] > 1 else "random"  # of one component there are no two
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UMAP's that a seed takes one thread, and that it met few neighbours
        umap = _umap()
        if umap is not None:
            neighbours = min(_NEIGHBOURS, count - 1)
            reducer = umap(n_neighbors=neighbours, init=init, random_state=seed, n_jobs=1)
            return Map(f"UMAP, {neighbours} neighbours", np.asarray(reducer.fit_transform(scores_nk), np.float64))
        perplexity = min(_PERPLEXITY, (count - 1) / 3)
        reducer = TSNE(perplexity=perplexity, init=init, random_state=seed)
        return Map(f"t-SNE, perplexity {perplexity:.3g}", np.asarray(reducer.fit_transform(scores_nk), np.float64))


def _umap() -> Any:
    """The class of umap-learn, or None where it is not installed; another package has the same name."""
    try:
        return getattr(importlib.import_module("umap"), "UMAP", None)
    except ImportError:
        return None


def _drawn(
    maps: Sequence[Map], labels: NDArray[np.int64], classes: Sequence[str], shown: Sequence[int], title: str
) -> Chart:
    rank = {label: place for place, label in enumerate(shown)}
    ranks = np.array([rank.get(label, NO_CLASS) for label in labels.tolist()])
    names = [_short(classes[label]) for label in shown]
    handles = [_handle(_marker(place), _colour(place), name) for place, name in enumerate(names)]
    if shown and (ranks < 0).any():
        handles.append(_handle("o", NO_CATEGORY, "no class"))
    columns = max(1, min(10, len(handles), _LETTERS // (max(map(len, names), default=0) + 5)))
    rows = -(-len(handles) // columns)
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(h_pad=0.1, wspace=0.06)
        figure = Figure(figsize=(10.0, 5.4 + 0.22 * rows), dpi=144, layout=layout)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
        for ax, one in zip(figure.subplots(1, len(maps)), maps, strict=True):
            _scatter(ax, one, ranks, names)
        if handles:
            figure.legend(
                handles=handles, loc="outside lower center", ncols=columns, frameon=False,
                labelcolor=INK, fontsize=10, handletextpad=0.1, columnspacing=1.2,
            )  # fmt: skip
        return chart(figure)


def _handle(marker: str, colour: str, name: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=colour, label=name)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _scatter(ax: Axes, one: Map, ranks: NDArray[np.int64], names: Sequence[str]) -> None:
    ax.set_title(one.title, loc="left", fontsize=11, color=INK)
    # in the order of the images, so that no class covers another
    for marker in _MARKERS:
        here = np.array([_marker(rank) == marker for rank in ranks.tolist()])
        colours = [_colour(rank) if names else LINE for rank in ranks[here].tolist()]
        ax.scatter(*one.xy_n2[here].T, s=_SIZE, marker=marker, c=colours, linewidths=0, alpha=0.8)
    if not one.axes[0] and len(names) <= len(CATEGORIES):  # where classes are apart, their names fit between them
        for rank, name in enumerate(names):
            x, y = np.median(one.xy_n2[ranks == rank], axis=0)
            outline = [Stroke(linewidth=3, foreground="white")]
            ax.text(x, y, name, ha="center", va="center", color=INK, path_effects=[*outline, Normal()])
    ax.set_xlabel(one.axes[0], color=MUTED, fontsize=10)
    ax.set_ylabel(one.axes[1], color=MUTED, fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color(RULE)
    ax.set_aspect("equal", adjustable="datalim")


def _colour(rank: int) -> str:
    return NO_CATEGORY if rank < 0 else CATEGORIES[rank % len(CATEGORIES)]


def _marker(rank: int) -> str:
    return _MARKERS[max(0, rank) // len(CATEGORIES)]
