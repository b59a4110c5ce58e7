"""Metrics of single images, as defined in ``DEFINITIONS``: every number of a report says what it is.

Both images are compared as a saved picture would be: clamped to [0, 1] and rounded to the 256 levels. So differences
are integers, whose sums are exact in any order; and an image's metrics are the same to the last bit in every batch.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from aedist.data.pixels import to_bytes

PSNR_OF_EQUAL_IMAGES = 100.0
_PEAK = 255
SSIM_WINDOW, _SSIM_SIGMA, _SSIM_K1, _SSIM_K2 = 11, 1.5, 0.01, 0.03
_IN_CACHE, _IN_MEMORY = 40_000, 2**24  # values of images that are measured together, on a CPU and on a GPU

DEFINITIONS = {
    "mse": "Mean over an image's pixels and channels of the squared difference; values in [0, 1], "
    "reconstructions rounded to 256 levels.",
    "mae": "Mean over an image's pixels and channels of the absolute difference; values as for mse.",
    "psnr": "10 log10(1 / mse) of each image in dB, then averaged over images (peak 1); "
    f"{PSNR_OF_EQUAL_IMAGES:g} dB where an image is reproduced exactly.",
    "ssim": "Structural similarity (Wang et al. 2004) with an 11 x 11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03, "
    "data range 1, mean over the window positions inside the image and over channels; none of images with a side below "
    "11 pixels.",
    "rate": "KL of an image's posterior to the prior N(0, 1) in nats, summed over its encoding; variational models.",
}
HIGHER_IS_BETTER = {"mse": False, "mae": False, "psnr": True, "ssim": True, "rate": False}


def mse(x_bhwc: Tensor, y_bhwc: Tensor) -> Tensor:
    """Mean squared error of each pair of uint8 images, float64 (B,)."""
    # a difference has 8 bits and its square 16, which float32 holds exactly; float64 holds their sum
    squares = (x_bhwc.float() - y_bhwc.float()).square_().flatten(1)
    return squares.sum(1, dtype=torch.float64) / (squares.shape[1] * _PEAK**2)


def mae(x_bhwc: Tensor, y_bhwc: Tensor) -> Tensor:
    """Mean absolute error of each pair of uint8 images, float64 (B,)."""
    differences = (x_bhwc.float() - y_bhwc.float()).abs_().flatten(1)
    return differences.sum(1, dtype=torch.float64) / (differences.shape[1] * _PEAK)


def psnr(x_bhwc: Tensor, y_bhwc: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair of uint8 images in dB, float64 (B,)."""
    # one at a time: a vector's logarithms may end in other bits than a single number's
    errors: list[float] = mse(x_bhwc, y_bhwc).tolist()
    decibels = [-10 * math.log10(error) if error else PSNR_OF_EQUAL_IMAGES for error in errors]
    return torch.tensor(decibels, dtype=torch.float64, device=x_bhwc.device)


def ssim(x_bhwc: Tensor, y_bhwc: Tensor) -> Tensor:
    """Structural similarity of each pair of uint8 images, float64 (B,); NaN where they are smaller than the window.

    Equation 13 of Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", 2004, with their constants, over the places where the whole window lies inside the
    image, as scikit-image does; torchmetrics counts the places over a mirrored border too. Of the moments under the
    window it takes four, as the two variances come in their sum alone.
    """
    _, height, width, channels = x_bhwc.shape
    if min(height, width) < SSIM_WINDOW:
        return torch.full((len(x_bhwc),), torch.nan, dtype=torch.float64, device=x_bhwc.device)
    row, border = width * channels, SSIM_WINDOW - 1

    def mean(values: Tensor) -> Tensor:
        return _under_window(_under_window(values, row), channels)

    x, y = x_bhwc.double().flatten(1), y_bhwc.double().flatten(1)
    mean_x, mean_y, mean_xy, mean_squares = mean(x), mean(y), mean(x * y), mean(x * x + y * y)
    product, squares = mean_x * mean_y, mean_x.square_() + mean_y.square_()
    c1, c2 = (_SSIM_K1 * _PEAK) ** 2, (_SSIM_K2 * _PEAK) ** 2
    over = (2 * product + c1) * (2 * (mean_xy - product) + c2)
    under = (squares + c1) * (mean_squares - squares + c2)
    # the window was moved over images as one line, so that at each row's end there are places that span two rows
    in_rows = pad(over / under, (0, border * channels)).unflatten(1, (height - border, row))
    return in_rows[:, :, : row - border * channels].mean((1, 2))


def _under_window(values: Tensor, stride: int) -> Tensor:
    """Means of 11 values, ``stride`` apart, by the window's weights: (B, n) to (B, n - 10 stride).

    Pairs at the same distance from the middle share a weight. Products and sums are steps of their own, each rounded:
    fused, they would round differently at the ends of a vector.
    """
    middle, places = SSIM_WINDOW // 2, values.shape[1] - (SSIM_WINDOW - 1) * stride
    weights = _window()
    total = values.narrow(1, middle * stride, places) * weights[middle]
    for near, weight in enumerate(weights[:middle]):
        far = SSIM_WINDOW - 1 - near
        total += (values.narrow(1, near * stride, places) + values.narrow(1, far * stride, places)).mul_(weight)
    return total


def _window() -> list[float]:
    """The 11 weights of the Gaussian window along one side."""
    weights = [math.exp(-((place - SSIM_WINDOW // 2) ** 2) / (2 * _SSIM_SIGMA**2)) for place in range(SSIM_WINDOW)]
    return [weight / sum(weights) for weight in weights]


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mse, "mae": mae, "psnr": psnr, "ssim": ssim}
"""Each from (x, y), both uint8 (B, H, W, C), to float64 (B,)."""


def measure(images_bhwc: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    """Every metric of every image, float64 (B, len(METRICS)); NaN where a reconstruction is not finite.

    Args:
        images_bhwc: the originals, uint8.
        reconstruction_bchw: the reconstructions, floating point in [0, 1].
    """
    at_once = _IN_CACHE if images_bhwc.device.type == "cpu" else _IN_MEMORY
    together = max(1, at_once // max(1, images_bhwc[:1].numel()))
    pairs = zip(images_bhwc.split(together), reconstruction_bchw.split(together), strict=True)
    return torch.cat([_measure(images, reconstructions) for images, reconstructions in pairs])


def _measure(images_bhwc: Tensor, reconstruction_bchw: Tensor) -> Tensor:
    pictures_bhwc = to_bytes(reconstruction_bchw)
    measured = torch.stack([metric(images_bhwc, pictures_bhwc) for metric in METRICS.values()], dim=1)
    # bytes cannot say that a number was none, so the rounded picture would be judged as if it were black
    is_finite = reconstruction_bchw.isfinite().flatten(1).all(1)
    return measured.where(is_finite[:, None], torch.nan)
