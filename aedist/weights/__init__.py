"""The weights of the networks that images are measured with: what ``aedist fetch`` knows, and where it puts them."""

from pathlib import Path

from aedist.assets import Collection
from aedist.weights.fid import INCEPTION
from aedist.weights.lpips import BACKBONES
from aedist.weights.network import Weights, collection_of

WEIGHTS: dict[str, Weights] = {weights.name: weights for weights in (*BACKBONES.values(), INCEPTION)}
"""By the name that ``aedist fetch`` knows."""

NETWORKS = {weights.name: net for net, weights in BACKBONES.items()}
"""LPIPS' networks by the same names."""


def weights_path(net: str, cache: Path) -> Path:
    """Where the convolutions of LPIPS' network ``net`` lie in a cache, if they were fetched."""
    return BACKBONES[net].path(cache)


def fid_path(cache: Path) -> Path:
    """The same of FID's network."""
    return INCEPTION.path(cache)


def weights_collection(name: str, folder: Path | None = None, checkpoints: Path | None = None) -> Collection:
    """What to fetch for a name in ``WEIGHTS``; see ``collection_of``."""
    return collection_of(WEIGHTS[name], folder, checkpoints)
