"""Principal components: the best linear code of images with a given number of numbers, exactly and in one pass.

Pixels minus 128 are integers of at most 8 bits, so 1,024 products of them add up to at most 2^24, which float32 holds
exactly in any order. So the sums behind the components are exact integers, added up in float64, whatever the batches,
their order, the threads or the device's matrix product. Of n images of d numbers the smaller of two matrices is summed:
the covariance (d x d), of which the images are seen once and dropped, or the products of images with each other
(n x n; Turk and Pentland, "Eigenfaces for recognition", 1991), for which their bytes are kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

_CENTRE = 128  # subtracted from bytes, so that their products stay below 2^14
_EXACT = 1024  # so many products of them add up exactly in float32
_TELLING = 1e-13  # of the largest eigenvalue: what is below is rounding, and its direction anything
_WELL_CONDITIONED = 1e-8  # of that of the n x n form: what is above gives components that are orthonormal to 1e-7

DEFINITION = (
    "The best linear code with as many numbers as the model's encoding: projection on the first principal components "
    "of training images (bytes, all channels of all pixels as one vector), computed exactly; judged on the evaluated "
    "images as a reconstruction is."
)


@dataclass(frozen=True)
class PCA:
    """A fitted linear code. d = H x W x C, in the order of a picture's bytes."""

    image_shape: tuple[int, int, int]
    """(height, width, channels)."""
    num_fitted: int
    mean_d: Tensor
    """float64 (d,): the mean image in levels of 0 to 255."""
    components_kd: Tensor
    """float32 (k, d), orthonormal, the most telling first; fewer than were asked for where the images span fewer."""
    variances_k: Tensor
    """float64 (k,): the variance of the fitted images along each, in squared levels, divided by n."""

    def mean_image(self, images: int) -> Tensor:
        """The mean of the fitted images, as often as asked: float64 (images, C, H, W) in [0, 1]."""
        return _as_bchw(self.mean_d.expand(images, -1), self.image_shape) / 255

    def reconstruct(self, images_bhwc: Tensor) -> Tensor:
        """Images as the code gives them back, float32 (B, C, H, W), in [0, 1] but for what a line overshoots.

        In single precision, which moves a value by less than 1e-5.

        Args:
            images_bhwc: uint8, on any device; the result is on the same.
        """
        device = images_bhwc.device
        mean_d, components_kd = self.mean_d.float().to(device), self.components_kd.to(device)
        centred_bd = images_bhwc.flatten(1).float() - mean_d
        levels_bd = centred_bd @ components_kd.T @ components_kd + mean_d
        return _as_bchw(levels_bd, self.image_shape) / 255


def fit_pca(images: Iterable[Tensor], num_images: int, image_shape: tuple[int, int, int], components: int) -> PCA:
    """The first principal components of images.

    The sums need n d min(n, d) / 2 multiplications, the eigenvectors about 2 min(n, d)^3; memory is 8 min(n, d)^2 bytes
    up to twice, 4 bytes for each of k d numbers (20 where the images of n < d nearly span less), and n d bytes where
    n < d. On one thread of an AMD EPYC, n x d to k
    took: 10,000 x 784 to 20, 0.2 s; 9,000 x 12,288 to 512, 97 s and 1.7 GB in all, of which the eigenvectors 77 s;
    2,000 x 196,608 to 64, 37 s on a busy machine.

    Args:
        images: uint8 (any number, H, W, C) each, best a few hundred; ``num_images`` in all. Read once.
        num_images: n, at least 1.
        image_shape: (H, W, C).
        components: k, at least 1; where n - 1 or d is less, or the images span less, there are fewer.

    Raises:
        ValueError: if there are no images, or more or fewer than ``num_images``, or their shape is another.
    """
    if num_images < 1:
        raise ValueError(f"principal components of {num_images} images are not defined; there must be 1 or more")
    numbers = int(np.prod(image_shape))
    fit = _from_covariance if numbers <= num_images else _from_products
    checked = _checked(images, num_images, image_shape)
    return fit(checked, num_images, image_shape, min(components, numbers, num_images - 1))


def _from_covariance(images: Iterable[Tensor], n: int, image_shape: tuple[int, int, int], k: int) -> PCA:
    d = int(np.prod(image_shape))
    scatter_dd, sum_d = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    for batch in images:
        for pixels_bd in _centred(batch.flatten(1)).split(_EXACT):
            _add_products(scatter_dd, pixels_bd.T)
            sum_d += pixels_bd.sum(0, dtype=torch.float64)
    mean_d = sum_d / n
    scatter_dd.addr_(sum_d, mean_d, alpha=-1)
    values_k, vectors_dk = _largest(scatter_dd, k)
    return PCA(image_shape, n, mean_d + _CENTRE, vectors_dk.T.float().contiguous(), values_k / n)


def _from_products(images: Iterable[Tensor], n: int, image_shape: tuple[int, int, int], k: int) -> PCA:
    bytes_nd = torch.empty(n, int(np.prod(image_shape)), dtype=torch.uint8)
    done = 0
    for batch in images:
        bytes_nd[done : done + len(batch)] = batch.flatten(1)
        done += len(batch)
    products_nn = torch.zeros(n, n, dtype=torch.float64)
    sums, sum_n = list[Tensor](), torch.zeros(n, dtype=torch.float64)
    for column_bytes in bytes_nd.split(_EXACT, dim=1):
        pixels_nc = _centred(column_bytes)
        _add_products(products_nn, pixels_nc)
        sums.append(pixels_nc.sum(0, dtype=torch.float64))
        sum_n += pixels_nc.double() @ sums[-1]  # each image's products with all images: integers below 2^53
    mean_d = torch.cat(sums) / n
    products_nn -= (sum_n / n)[:, None]
    products_nn -= sum_n / n - sum_n.sum() / n**2
    values_k, vectors_nk = _largest(products_nn, k)
    needs_qr = len(values_k) > 0 and bool(values_k[-1] < _WELL_CONDITIONED * values_k[0])
    # single precision as soon as it is enough: of large images this is the largest array of all
    components_kd = torch.empty(len(values_k), len(mean_d), dtype=torch.float64 if needs_qr else torch.float32)
    for first in range(0, len(mean_d), _EXACT):
        last = first + _EXACT
        # of centred images, so that nothing large is left to cancel
        directions_dk = (_centred(bytes_nd[:, first:last]).double() - mean_d[first:last]).T @ vectors_nk
        components_kd[:, first:last] = (directions_dk / values_k.sqrt()).T
    if needs_qr:
        components_kd = cast(Tensor, torch.linalg.qr(components_kd.T).Q).T.float().contiguous()
    return PCA(image_shape, n, mean_d + _CENTRE, components_kd, values_k / n)


def _add_products(total_mm: Tensor, pixels_mc: Tensor) -> None:
    """Add the products of all pairs of rows, of at most 1,024 integers each, to the upper triangle of ``total_mm``."""
    for first in range(0, len(pixels_mc), _EXACT):
        last = first + _EXACT
        total_mm[first:last, first:] += pixels_mc[first:last] @ pixels_mc[first:].T


def _largest(symmetric_mm: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues, the largest first, (k,), and their eigenvectors (m, k). Overwrites its argument.

    Those that are zero but for rounding are left out. Only the upper triangle is looked at.
    """
    m = len(symmetric_mm)
    if k == 0:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(m, 0, dtype=torch.float64)
    # LAPACK counts along columns, so that our upper triangle is its lower one
    found: Any = scipy.linalg.eigh(
        symmetric_mm.numpy().T, lower=True, subset_by_index=[m - k, m - 1], overwrite_a=True, check_finite=False
    )
    values, vectors = cast("tuple[NDArray[np.float64], NDArray[np.float64]]", found)
    telling = values[::-1] > _TELLING * max(0.0, float(values[-1]))
    return torch.from_numpy(values[::-1][telling]), torch.from_numpy(vectors[:, ::-1][:, telling])


def _checked(images: Iterable[Tensor], num_images: int, image_shape: tuple[int, int, int]) -> Iterable[Tensor]:
    """The batches, on the CPU, of the right shape and as many as promised."""
    seen = 0
    for batch in images:
        seen += len(batch)
        if tuple(batch.shape[1:]) != image_shape or batch.dtype != torch.uint8:
            raise ValueError(f"a batch is {batch.dtype} {tuple(batch.shape)}, but images are uint8 {image_shape}")
        if seen > num_images:
            break
        yield batch.cpu()
    if seen != num_images:
        raise ValueError(f"{num_images} images were promised, but there are {seen}{' or more' * (seen > num_images)}")


def _centred(pixels: Tensor) -> Tensor:
    return pixels.float() - _CENTRE


def _as_bchw(levels_bd: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    return levels_bd.unflatten(1, image_shape).permute(0, 3, 1, 2)
