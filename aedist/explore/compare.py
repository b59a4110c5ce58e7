"""How near images come to their true partners: over the whole image, where the pair truly differs, and outside that.

The region in which a pair differs is found from its two originals, so it depends on no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import max_pool2d

_DIFFERS = 8

DEFINITIONS = {
    "whole": "Mean squared error between the decoded image and the true partner; values in [0, 1], 256 levels.",
    "region": f"The same over the pixels where the pair's originals differ by more than {_DIFFERS} of 255 levels in "
    "some channel, and those within 1/64 of the image's longer side around them.",
    "outside": "The same over all other pixels, where the two originals agree: what is disturbed there.",
}


@dataclass(frozen=True)
class Errors:
    """Mean squared errors of n images, each float64 (n,); NaN where an image has no such pixel."""

    whole: NDArray[np.float64]
    region: NDArray[np.float64]
    outside: NDArray[np.float64]


def differing_region(one_nhwc: NDArray[np.uint8], other_nhwc: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where two images differ, and a little around it: (n, H, W)."""
    differs = np.abs(one_nhwc.astype(np.int16) - other_nhwc).max(axis=3) > _DIFFERS
    reach = max(1, round(max(one_nhwc.shape[1:3]) / 64))
    wide = max_pool2d(torch.from_numpy(differs).float()[:, None], 2 * reach + 1, stride=1, padding=reach)
    return wide[:, 0].bool().numpy()


def compare(images_nhwc: NDArray[np.uint8], truth_nhwc: NDArray[np.uint8], mask_nhw: NDArray[np.bool_]) -> Errors:
    """The errors of n images to what they should be; ``mask_nhw`` is the region."""
    errors_n3 = np.empty((len(images_nhwc), 3))
    for row, (image_hwc, other_hwc, mask_hw) in enumerate(zip(images_nhwc, truth_nhwc, mask_nhw, strict=True)):
        squared_hw = np.square((image_hwc.astype(np.float64) - other_hwc) / 255).mean(axis=2)
        parts = (squared_hw, squared_hw[mask_hw], squared_hw[~mask_hw])
        errors_n3[row] = [part.mean() if part.size else np.nan for part in parts]
    return Errors(*errors_n3.T)


def join(parts: Sequence[Errors]) -> Errors:
    """The errors of all images of several stretches, in their order."""
    return Errors(
        np.concatenate([part.whole for part in parts]),
        np.concatenate([part.region for part in parts]),
        np.concatenate([part.outside for part in parts]),
    )


def average(draws: Sequence[Errors]) -> Errors:
    """The mean error of each image over several draws of what was done to it."""
    return Errors(
        np.mean([draw.whole for draw in draws], axis=0),
        np.mean([draw.region for draw in draws], axis=0),
        np.mean([draw.outside for draw in draws], axis=0),
    )
