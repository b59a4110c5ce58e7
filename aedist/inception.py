"""What FID, KID, precision and recall compare images by: the features of the Inception network of 2015-12-05.

Those distances are defined by this network, by its weights, and by how an image is brought to its size, so none of
them is ever replaced under the same name. The network is Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the
Inception architecture for computer vision", 2016, as TensorFlow ran it when Heusel et al. defined FID in 2017: average
pools do not count the padding, and the last block has a maximum pool in an average pool's place.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from aedist.errors import UserError
from aedist.weights import fid_path
from aedist.weights.fid import CONVOLUTIONS, INCEPTION
from aedist.weights.network import read_weights

SIZE = 299
"""Pixels a side that the network looks at."""
NUM_FEATURES = 2048

EXTRACTOR = {
    "network": "Inception of 2015-12-05 (TensorFlow's, in torch-fidelity's form), its 2,048 numbers after the last "
    "average pool, in single precision",
    "weights": f"sha256 {INCEPTION.asset.sha256}, of torch-fidelity's file {INCEPTION.sha256_start}",
    "resize": f"to {SIZE} x {SIZE} by the bilinear filter of TensorFlow 1, without half-pixel centres and antialiasing",
    "values": "uint8 pixels x as (x - 128) / 128; grey is repeated to three channels",
}
"""What the features are, for the record."""

_BATCH = {"cpu": 10}  # the activations of 10 images stay near a core; of 50, they do not
_BATCH_ELSEWHERE = 50
_EPSILON = 1e-3  # TensorFlow's, added to a variance

_Step: TypeAlias = "str | Callable[[Tensor], Tensor] | list[_Step] | tuple[_Step, ...]"


def _shrink(x_bchw: Tensor) -> Tensor:
    return functional.max_pool2d(x_bchw, 3, 2)


def _average(x_bchw: Tensor) -> Tensor:
    return functional.avg_pool2d(x_bchw, 3, 1, 1, count_include_pad=False)


def _maximum(x_bchw: Tensor) -> Tensor:
    return functional.max_pool2d(x_bchw, 3, 1, 1)


# A name is a convolution with its normalisation and ReLU; a list is done in turn; a tuple's results are joined.
_STEM: _Step = [
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", _shrink),
    *("Conv2d_3b_1x1", "Conv2d_4a_3x3", _shrink),
]
_5: _Step = (
    "branch1x1",
    ["branch5x5_1", "branch5x5_2"],
    ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
    [_average, "branch_pool"],
)
_6A: _Step = ("branch3x3", ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"], _shrink)
_6: _Step = (
    "branch1x1",
    ["branch7x7_1", "branch7x7_2", "branch7x7_3"],
    ["branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"],
    [_average, "branch_pool"],
)
_7A: _Step = (
    ["branch3x3_1", "branch3x3_2"],
    ["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"],
    _shrink,
)


def _7(pool: Callable[[Tensor], Tensor]) -> _Step:
    return (
        "branch1x1",
        ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")],
        ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")],
        [pool, "branch_pool"],
    )


_BLOCKS: dict[str, _Step] = {
    "Mixed_5b": _5,
    "Mixed_5c": _5,
    "Mixed_5d": _5,
    "Mixed_6a": _6A,
    "Mixed_6b": _6,
    "Mixed_6c": _6,
    "Mixed_6d": _6,
    "Mixed_6e": _6,
    "Mixed_7a": _7A,
    "Mixed_7b": _7(_average),
    "Mixed_7c": _7(_maximum),
}
_HALVING = {
    *("Conv2d_1a_3x3", "Mixed_6a.branch3x3", "Mixed_6a.branch3x3dbl_3"),
    *("Mixed_7a.branch3x3_2", "Mixed_7a.branch7x7x3_4"),
}  # step 2
_UNPADDED = {*_HALVING, "Conv2d_2a_3x3", "Conv2d_4a_3x3"}  # all others keep the size


class Inception(nn.Module):
    """The network up to its last average pool, frozen: nothing in it takes a gradient or depends on a mode."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """``tensors`` are the numbers of ``aedist.weights.fid``, which say all shapes."""
        super().__init__()
        self.convolutions = nn.ModuleDict({_key(name): _folded(name, tensors) for name in CONVOLUTIONS})

    def forward(self, images_bhwc: Tensor) -> Tensor:
        """The features of images, float32 (B, 2048).

        They are looked at in batches of one size, the last filled up with black: an image's features do not depend on
        how many are asked for at once, and memory is bounded.

        Args:
            images_bhwc: uint8, of 3 channels, or of 1, which is taken three times.

        Raises:
            UserError: if the images have other channels.
        """
        if images_bhwc.shape[3] not in (1, 3):
            raise UserError(f"fid: images of {images_bhwc.shape[3]} channels are refused: 1 or 3; leave FID out")
        device = images_bhwc.device.type
        size = _BATCH.get(device, _BATCH_ELSEWHERE)
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.no_grad(), torch.autocast(device, enabled=False), exact:
            features = [images_bhwc.new_empty(0, NUM_FEATURES, dtype=torch.float32)]
            for some in images_bhwc.split(size):
                padded = functional.pad(some, (0, 0, 0, 0, 0, 0, 0, size - len(some)))
                features.append(self._look(prepare(padded))[: len(some)])
            return torch.cat(features)

    def _look(self, x_bchw: Tensor) -> Tensor:
        x = self._through(_STEM, x_bchw, "")
        for name, block in _BLOCKS.items():
            x = self._through(block, x, f"{name}.")
        return x.mean((2, 3))

    def _through(self, step: _Step, x: Tensor, prefix: str) -> Tensor:
        """``x`` after a step, of whose convolutions the names begin with ``prefix``."""
        if isinstance(step, str):
            return self.convolutions[_key(prefix + step)](x).relu_()
        if isinstance(step, tuple):
            return torch.cat([self._through(branch, x, prefix) for branch in step], 1)
        if isinstance(step, list):
            for one in step:
                x = self._through(one, x, prefix)
            return x
        return step(x)


def load_inception(cache: Path, device: torch.device) -> Inception:
    """The network, with weights that were fetched before.

    Args:
        cache: where ``aedist fetch`` keeps what it gets.
        device: where it computes.

    Raises:
        UserError: if the weights are missing, or are not the ones they should be.
    """
    return assemble(fid_path(cache), INCEPTION.asset.sha256, device)


def assemble(path: Path, sha256: str, device: torch.device) -> Inception:
    """The same with the weights in ``path``, a safetensors file that must have this sha256.

    Raises:
        UserError: if it is missing, or has another.
    """
    network = Inception(read_weights(path, sha256, "fid: the weights of its network", INCEPTION.name))
    # with the channels last a core computes a third faster
    return network.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]


def prepare(images_bhwc: Tensor) -> Tensor:
    """What the network looks at: uint8 images resized, in [-1, 1), float32 (B, 3, 299, 299), channels last in memory.

    Place i of a line of n pixels is taken at i n / 299 between the two pixels around it, which TensorFlow's first
    version did, the last pixel being repeated.
    """
    x = images_bhwc.float()
    for dim in (2, 1):  # along the rows, then down the columns, as TensorFlow adds up
        size = x.shape[dim]
        places = torch.arange(SIZE, device=x.device).float() * (size / SIZE)
        low = places.long()
        weight = (places - low).view(-1, *([1] * (3 - dim)))
        before, after = x.index_select(dim, low), x.index_select(dim, (low + 1).clamp(max=size - 1))
        x = (after - before).mul_(weight).add_(before)
    return x.sub_(128).div_(128).expand(-1, -1, -1, 3).contiguous().permute(0, 3, 1, 2)


def _folded(name: str, tensors: Mapping[str, Tensor]) -> nn.Conv2d:
    """A convolution and the normalisation after it as one convolution, multiplied out in double precision."""
    kernel, scale, bias, mean, variance = (
        tensors[f"{name}.{part}"].double()
        for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    )
    num_out, num_in, height, width = kernel.shape
    padding = 0 if name in _UNPADDED else (height // 2, width // 2)
    step = 2 if name in _HALVING else 1
    layer = nn.Conv2d(num_in, num_out, (height, width), step, padding, device="meta")  # there nothing is drawn
    factor = scale / (variance + _EPSILON).sqrt()
    layer.weight = nn.Parameter((kernel * factor[:, None, None, None]).float(), requires_grad=False)
    layer.bias = nn.Parameter((bias - mean * factor).float(), requires_grad=False)
    return layer


def _key(name: str) -> str:
    """A convolution's name as a module's, which may have no dots."""
    return name.replace(".", "/")
