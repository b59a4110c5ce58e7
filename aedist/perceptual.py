"""LPIPS: how different two images look, by what a network trained on photographs sees in them.

Zhang, Isola, Efros, Shechtman and Wang, "The unreasonable effectiveness of deep features as a perceptual metric",
2018, equation 1, version 0.1: the features of five layers are scaled to unit length at each place, the squared
differences are weighted by channel and added, and each layer is averaged over its places. The layers and the weights
of the channels are the lpips package's; the convolutions are the ones that ``weights`` knows. The distance is defined
by both, so neither is ever replaced by another under the same name.
"""

import hashlib
import warnings
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from aedist.errors import UserError
from aedist.weights import BACKBONES, NETWORKS, weights_path
from aedist.weights.network import read_weights

SMALLEST_SIDE = {"alex": 31, "vgg": 16}
"""Pixels that the network's last layer needs to see anything."""

HEADS_SHA256 = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}
"""Of the package's files with the weights of the channels."""
_EPSILON = 1e-10  # the package's, added to a length before it divides


class Perceptual(nn.Module):
    """The distance, frozen: no parameter takes a gradient, and it stays in evaluation mode."""

    def __init__(self, net: str, network: Any, dtype: torch.dtype) -> None:
        """``network`` is the package's ``LPIPS``, with its weights."""
        super().__init__()
        self.net, self.dtype = net, dtype
        self.network = network
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stays as it is: the package's layers would drop channels at random."""
        del mode
        return super().train(False)

    def forward(self, x_bchw: Tensor, y_bchw: Tensor) -> Tensor:
        """The distance of each y from its x, (B,); the gradient flows to y alone.

        Args:
            x_bchw: images in [0, 1] of 3 channels, or of 1, which is taken three times.
            y_bchw: as many of the same shape.

        Raises:
            UserError: if the images are too small, or have other channels.
        """
        check_shape(self.net, (x_bchw.shape[2], x_bchw.shape[3], x_bchw.shape[1]))
        with torch.autocast(y_bchw.device.type, enabled=False):  # half precision cannot tell epsilon from nothing
            with torch.no_grad():
                seen = self._directions(x_bchw)
            layers = zip(seen, self._directions(y_bchw), self.network.lins, strict=True)
            return sum((head((x - y).square()).mean((1, 2, 3)) for x, y, head in layers), start=_zeros(x_bchw, self))

    def _directions(self, x_bchw: Tensor) -> list[Tensor]:
        """Each layer's features (B, C, H, W), of unit length along C."""
        scaled = self.network.scaling_layer(2 * x_bchw.to(self.dtype).expand(-1, 3, -1, -1) - 1)
        # where all features are zero a norm's gradient is zero; that of the package's square root is not a number
        return [
            layer / (torch.linalg.vector_norm(layer, dim=1, keepdim=True) + _EPSILON)
            for layer in self.network.net(scaled)
        ]


def load_perceptual(net: str, cache: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The LPIPS distance, ``forward(x_bchw, y_bchw) -> (B,)``, with weights that were fetched before.

    Args:
        net: ``alex`` or ``vgg``.
        cache: where ``aedist fetch`` keeps what it gets.
        device: where it computes.
        dtype: in which arithmetic, at least single precision.

    Raises:
        UserError: if the weights are missing, or are not the ones they should be.
    """
    return assemble(net, weights_path(net, cache), BACKBONES[net].asset.sha256, device, dtype)


def assemble(net: str, path: Path, sha256: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The same with the backbone in ``path``, a safetensors file that must have this sha256.

    Raises:
        UserError: if it is missing, or has another.
    """
    (name,) = (name for name, of in NETWORKS.items() if of == net)
    tensors = read_weights(path, sha256, f"objective.lpips: the weights of its network {net}", name)
    network = _empty(net)
    places = {name.split(".", 2)[2]: name for name in network.state_dict() if name.startswith("net.")}
    state = {places[name.removeprefix("features.")]: tensor for name, tensor in tensors.items()}
    state |= _heads(net)
    network.load_state_dict({**network.scaling_layer.state_dict(prefix="scaling_layer."), **state}, assign=True)
    return Perceptual(net, network, dtype).to(device, dtype)


def sketch_perceptual(net: str) -> nn.Module:
    """The distance with weights that say nothing, to find out what it costs: see ``planning``."""
    return Perceptual(net, _empty(net).to_empty(device="cpu"), torch.float32)


def check_shape(net: str, image_shape: tuple[int, int, int]) -> None:
    """Refuse images (height, width, channels) that the network cannot look at.

    Raises:
        UserError: saying why.
    """
    height, width, channels = image_shape
    needs = {name: f"{name}, which needs {side} x {side}" for name, side in SMALLEST_SIDE.items()}
    fits = [name for name, side in SMALLEST_SIDE.items() if side <= min(height, width)]
    if net not in fits:
        other = "".join(f"objective.lpips_net: {needs[name]}, or " for name in fits)
        raise UserError(
            f"objective.lpips: images of {height} x {width} are too small for {needs[net]}; "
            f"set {other}objective.lpips: 0"
        )
    if channels not in (1, 3):
        raise UserError(f"objective.lpips: images of {channels} channels are refused: 1 or 3; set objective.lpips: 0")


def _zeros(x_bchw: Tensor, like: Perceptual) -> Tensor:
    return torch.zeros(len(x_bchw), dtype=like.dtype, device=x_bchw.device)


def _empty(net: str) -> Any:
    """The package's module without weights: nothing is drawn, printed or downloaded."""
    from lpips import LPIPS  # noqa: PLC0415 (only where the term has a weight)

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # the package names torchvision's arguments as they were once
        return LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)


def _heads(net: str) -> dict[str, Tensor]:
    """The weights of the channels, which the package brings along; each layer goes by two names in its module."""
    import lpips  # noqa: PLC0415

    path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != HEADS_SHA256[net]:
        raise UserError(f"{path}: has sha256 {found}, not {HEADS_SHA256[net]}; install lpips 0.1.4 again")
    heads: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return heads | {name.replace("lin", "lins.", 1): tensor for name, tensor in heads.items()}
