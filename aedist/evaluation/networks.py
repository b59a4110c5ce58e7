"""The networks that an evaluation looks with: LPIPS', and the Inception network of FID. There, or said to be missing.

An evaluation without them is still one: it measures the rest, names what is missing and says how to get it. Another
network is never taken in their place. All processes have a network, or none uses it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from aedist.data.pixels import to_unit_range
from aedist.errors import UserError
from aedist.evaluation.gather import EvaluationPlan, Rows
from aedist.evaluation.run import Measure, Seen
from aedist.inception import load_inception
from aedist.perceptual import HEADS_SHA256, SMALLEST_SIDE, load_perceptual
from aedist.place import Place
from aedist.weights import BACKBONES, NETWORKS, fid_path, weights_path

_AT_ONCE = 50
_BOTH_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Networks:
    """What there is, and what is not."""

    lpips: nn.Module | None
    inception: nn.Module | None
    missing: Mapping[str, Mapping[str, str]]
    """By metric (``lpips``, ``fid``): the ``reason`` and the ``fix``."""


def open_networks(place: Place, cache: Path, lpips_net: str, channels: int, *, wants_fid: bool) -> Networks:
    """The networks whose weights lie in every process's cache.

    Args:
        place: this process.
        cache: where ``aedist fetch`` keeps what it gets.
        lpips_net: ``alex`` or ``vgg``.
        channels: of an image.
        wants_fid: whether features are to be compared at all.
    """
    missing: dict[str, dict[str, str]] = {}
    (name,) = (name for name, of in NETWORKS.items() if of == lpips_net)

    def opened(metric: str, path: Path, fetched_as: str, load: Callable[[], nn.Module]) -> nn.Module | None:
        found, reason = None, ""
        if channels not in _BOTH_CHANNELS:
            reason = f"images of {channels} channels are not those of a photograph"
        elif not path.is_file():
            reason = "the weights of its network are not here"
        else:
            try:
                found = load()
            except UserError:
                reason = "the weights of its network that are here are not the right ones"
        reasons = place.share(reason)
        if any(reasons):
            missing[metric] = {"reason": next(filter(None, reasons)), "fix": f"aedist fetch {fetched_as}"}
            return None
        return found

    lpips = opened(
        "lpips",
        weights_path(lpips_net, cache),
        name,
        lambda: load_perceptual(lpips_net, cache, place.device, torch.float32),
    )
    inception = None
    if not wants_fid:
        missing["fid"] = {"reason": "evaluate.fid_images is 0", "fix": "evaluate.fid_images=1000, or more"}
    else:
        inception = opened("fid", fid_path(cache), "fid", lambda: load_inception(cache, place.device))
    return Networks(lpips, inception, missing)


def lpips_definition(net: str) -> str:
    """What the metric LPIPS is, with the network's weights."""
    return (
        f"LPIPS 0.1 (Zhang et al. 2018) of each image with {net}'s features (weights of sha256 "
        f"{BACKBONES[net].asset.sha256}, of its channels {HEADS_SHA256[net]}), of images rounded to 256 levels and "
        f"scaled to [-1, 1]; grey is repeated to three channels; images with a side below {SMALLEST_SIDE[net]} pixels "
        "are enlarged by the least whole number that will do, each pixel repeated."
    )


def lpips_distance(network: nn.Module, net: str) -> Callable[[Tensor, Tensor], Tensor]:
    """(originals, reconstructions), both uint8 (B, H, W, C), to each image's distance, float64 (B,)."""

    def distance(images_bhwc: Tensor, reconstruction_bhwc: Tensor) -> Tensor:
        x, y = (_enlarged(to_unit_range(of, torch.float32), net) for of in (images_bhwc, reconstruction_bhwc))
        return network(x, y).double()

    return distance


def lpips_metric(network: nn.Module, net: str) -> Measure:
    """LPIPS of each image and its reconstruction; NaN where the reconstruction is not finite."""
    distance = lpips_distance(network, net)

    def metric(seen: Seen) -> Rows:
        with seen.costs.of("LPIPS"):
            values = distance(seen.images_bhwc, seen.reconstruction_bhwc)
            return {"lpips": values.where(_is_finite(seen), torch.nan).cpu()}

    return metric


def plan_of_features(num_images: int, batch: int) -> EvaluationPlan:
    """How the images whose features are compared are dealt: in small batches, since each image takes so long."""
    return EvaluationPlan(num_images, min(batch, _AT_ONCE))


def features(inception: nn.Module) -> Measure:
    """The features of each image and of its reconstruction, float32 (B, 2048); NaN where that is not finite."""

    def metric(seen: Seen) -> Rows:
        with seen.costs.of("Inception"):
            of_reconstructions = inception(seen.reconstruction_bhwc).where(_is_finite(seen)[:, None], torch.nan)
            return {"originals": inception(seen.images_bhwc).cpu(), "reconstructions": of_reconstructions.cpu()}

    return metric


def _is_finite(seen: Seen) -> Tensor:
    """Whether each reconstruction is all finite, (B,): bytes cannot say that a number was none."""
    return seen.output.reconstruction.isfinite().flatten(1).all(1)


def _enlarged(x_bchw: Tensor, net: str) -> Tensor:
    """Images that the network's last layer sees something of."""
    times = -(-SMALLEST_SIDE[net] // min(x_bchw.shape[2:]))
    return x_bchw.repeat_interleave(times, 2).repeat_interleave(times, 3) if times > 1 else x_bchw
