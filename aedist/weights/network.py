"""The weights of a network as one file of plain numbers, known by its sha256, by whichever route the numbers came.

Networks that measure images were published as pickles of up to hundreds of megabytes, with layers in them that a
metric does not use. What is kept of each is a safetensors file of the numbers in use, written the same, byte for byte,
whether they come from the file that was published or from a package that holds the same numbers in another form.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor

from aedist.assets import Collection
from aedist.errors import UserError
from aedist.routes import Asset, Route, from_file, from_file_on_web, from_folder

_LARGEST_BYTES = 2**30

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Weights:
    """What is kept of one network, and where it is to be had."""

    name: str
    """What ``aedist fetch`` calls them."""
    asset: Asset
    """The file that is kept."""
    canonical: str
    """The URL of the file that was published; its sha256 begins with the eight digits at the end of its name."""
    unpack: Callable[[Path], bytes]
    """From that file to the one that is kept; raises ValueError with the reason."""
    mirror: Route
    """The route through a package."""
    aliases: tuple[str, ...] = ()
    """Other names that the published file goes by on people's disks."""

    @property
    def sha256_start(self) -> str:
        """What the published file's sha256 begins with."""
        return Path(self.canonical).stem.rpartition("-")[2]

    def path(self, cache: Path) -> Path:
        """Where the file lies in a cache, if it was fetched."""
        return cache / self.name / self.asset.name


def collection_of(weights: Weights, folder: Path | None = None, checkpoints: Path | None = None) -> Collection:
    """What to fetch for a network, from torch's own cache, else from the web, else through the package.

    Args:
        weights: the network's.
        folder: a folder of the user's to take instead of all these, with the published file or ours in it.
        checkpoints: where ``torch.hub`` keeps files that it downloaded.
    """
    published = weights.canonical.rpartition("/")[2]

    def unpack(path: Path) -> Mapping[str, bytes]:
        return {weights.asset.name: weights.unpack(path)}

    def routes_from(place: Path, *, always: bool) -> tuple[Route, ...]:
        paths = [place / name for name in (published, *weights.aliases)]
        return tuple(
            from_file(path, weights.sha256_start, unpack)
            for path in paths
            if path.is_file() or (always and path.name == published)
        )

    if folder is not None:
        return Collection(weights.name, (weights.asset,), (*routes_from(folder, always=True), from_folder(folder)))
    routes = (
        *(routes_from(checkpoints, always=False) if checkpoints is not None else ()),
        from_file_on_web(weights.canonical, weights.sha256_start, _LARGEST_BYTES, unpack),
        weights.mirror,
    )
    return Collection(weights.name, (weights.asset,), routes)


def read_weights(path: Path, sha256: str, what: str, name: str) -> dict[str, Tensor]:
    """The tensors in a file that was fetched, on the CPU.

    Args:
        path: the file.
        sha256: what its sha256 must be.
        what: what an error calls them.
        name: what ``aedist fetch`` calls them.

    Raises:
        UserError: if it is missing, or has another.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{what} are not in {path} ({error.strerror}); run 'aedist fetch {name}' first") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(f"{what} in {path} have sha256 {found}, not {sha256}; run 'aedist fetch {name}' again")
    return load(content)


def state_of(path: Path, names: Iterable[str]) -> Arrays:
    """The named tensors of a file that torch saved, of which only tensors are read.

    Raises:
        ValueError: if it is not such a file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: state[name].float().numpy() for name in names}
    except OSError:
        raise
    except Exception as error:  # torch gives errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"is not the published file of the network ({reason})") from error


def to_safetensors(arrays: Arrays) -> bytes:
    """A safetensors file of float32 arrays, in their order: always the same bytes for the same numbers.

    The library may order and pad differently from one version to the next; this sha256 must outlive it.
    """
    head: dict[str, Any] = {}
    bodies: list[bytes] = []
    end = 0
    for name, array in arrays.items():
        bodies.append(np.ascontiguousarray(array, "<f4").tobytes())
        begin, end = end, end + len(bodies[-1])
        head[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *bodies])
