"""Metrics of single images, as defined in ``DEFINITIONS``: every number of a report says what it is.

Both images are compared as a saved picture would be: clamped to [0, 1] and rounded to the 256 levels.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from aedist.data.pixels import to_bytes, to_unit_range

PSNR_OF_EQUAL_IMAGES = 100.0
_SSIM_WINDOW = 11

DEFINITIONS = {
    "mse": "Mean over an image's pixels and channels of the squared difference; values in [0, 1], "
    "reconstructions rounded to 256 levels.",
    "psnr": "10 log10(1 / mse) of each image in dB, then averaged over images (peak 1); "
    f"{PSNR_OF_EQUAL_IMAGES:g} dB where an image is reproduced exactly.",
    "ssim": "Structural similarity (Wang et al. 2004) with an 11 x 11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03, "
    "data range 1, mean over the window positions inside the image and over channels.",
}
HIGHER_IS_BETTER = {"mse": False, "psnr": True, "ssim": True}


def mse(x_bchw: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Mean squared error of each image, (B,)."""
    return (x_bchw - reconstruction_bchw).square().flatten(1).mean(1)


def psnr(x_bchw: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (B,)."""
    error = mse(x_bchw, reconstruction_bchw)
    return torch.where(error > 0, -10 * torch.log10(error), PSNR_OF_EQUAL_IMAGES)


def ssim(x_bchw: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Structural similarity of each image, (B,); NaN where an image is smaller than the window."""
    if min(x_bchw.shape[-2:]) < _SSIM_WINDOW:
        return torch.full((len(x_bchw),), float("nan"), dtype=x_bchw.dtype, device=x_bchw.device)
    value = structural_similarity_index_measure(reconstruction_bchw, x_bchw, data_range=1.0, reduction="none")
    assert isinstance(value, Tensor)  # noqa: S101 (the other return needs return_full_image)
    return value


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "psnr": psnr, "ssim": ssim}


def measure(images_bhwc: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Every metric of every image, float64 (B, len(METRICS)).

    Args:
        images_bhwc: the originals, uint8.
        reconstruction_bchw: the reconstructions, floating point in [0, 1].
    """
    x = to_unit_range(images_bhwc, torch.float32)
    y = to_unit_range(to_bytes(reconstruction_bchw), torch.float32)
    return torch.stack([metric(x, y).to(torch.float64) for metric in METRICS.values()], dim=1)
