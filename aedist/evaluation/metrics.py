"""Metrics of single images, as defined in ``DEFINITIONS``: every number of a report says what it is.

Both images are compared as a saved picture would be: clamped to [0, 1] and rounded to the 256 levels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from aedist.data.pixels import to_bytes, to_unit_range

PSNR_OF_EQUAL_IMAGES = 100.0
_SSIM_WINDOW, _SSIM_SIGMA, _SSIM_K1, _SSIM_K2 = 11, 1.5, 0.01, 0.03

DEFINITIONS = {
    "mse": "Mean over an image's pixels and channels of the squared difference; values in [0, 1], "
    "reconstructions rounded to 256 levels.",
    "psnr": "10 log10(1 / mse) of each image in dB, then averaged over images (peak 1); "
    f"{PSNR_OF_EQUAL_IMAGES:g} dB where an image is reproduced exactly.",
    "ssim": "Structural similarity (Wang et al. 2004) with an 11 x 11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03, "
    "data range 1, mean over the window positions inside the image and over channels.",
    "rate": "KL of an image's posterior to the prior N(0, 1) in nats, summed over its encoding; variational models.",
}
HIGHER_IS_BETTER = {"mse": False, "psnr": True, "ssim": True, "rate": False}


def mse(x_bchw: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Mean squared error of each image, (B,)."""
    return (x_bchw - reconstruction_bchw).square().flatten(1).mean(1)


def psnr(x_bchw: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (B,)."""
    error = mse(x_bchw, reconstruction_bchw)
    return torch.where(error > 0, -10 * torch.log10(error), PSNR_OF_EQUAL_IMAGES)


def ssim(x_bchw: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Structural similarity of each image, (B,); NaN where an image is smaller than the window.

    Equation 13 of Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", 2004, with their constants, over the places where the whole window lies inside the
    image, as scikit-image does; torchmetrics counts the places over a mirrored border too. The moments under the
    window are two products with banded matrices, since the Gaussian is separable: several times faster than a
    convolution, in float64 too.
    """
    height, width = x_bchw.shape[-2:]
    if min(height, width) < _SSIM_WINDOW:
        return torch.full((len(x_bchw),), float("nan"), dtype=x_bchw.dtype, device=x_bchw.device)
    x, y = x_bchw, reconstruction_bchw
    down, across = _gaussian_band(height).to(x), _gaussian_band(width).to(x)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = down @ torch.stack([x, y, x * x, y * y, x * y]) @ across.T
    covariance = mean_xy - mean_x * mean_y
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    c1, c2 = _SSIM_K1**2, _SSIM_K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).flatten(1).mean(1)


def _gaussian_band(size: int) -> Tensor:
    """The matrix (size - 10, size) that averages a line of ``size`` pixels under the window at every inner place."""
    window = torch.exp(
        -((torch.arange(_SSIM_WINDOW, dtype=torch.float64) - _SSIM_WINDOW // 2) ** 2) / (2 * _SSIM_SIGMA**2)
    )
    band = torch.zeros(size - _SSIM_WINDOW + 1, size, dtype=torch.float64)
    for row in range(len(band)):
        band[row, row : row + _SSIM_WINDOW] = window / window.sum()
    return band


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "psnr": psnr, "ssim": ssim}


def measure(images_bhwc: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Every metric of every image, float64 (B, len(METRICS)); NaN where a reconstruction is not finite.

    Args:
        images_bhwc: the originals, uint8.
        reconstruction_bchw: the reconstructions, floating point in [0, 1].
    """
    x = to_unit_range(images_bhwc, torch.float64)
    y = to_unit_range(to_bytes(reconstruction_bchw), torch.float64)
    measured = torch.stack([metric(x, y) for metric in METRICS.values()], dim=1)
    # bytes cannot say that a number was none, so the rounded picture would be judged as if it were black
    is_finite = reconstruction_bchw.isfinite().flatten(1).all(1)
    return measured.where(is_finite[:, None], torch.nan)
