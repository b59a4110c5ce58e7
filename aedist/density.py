"""Densities over encodings, from which new ones are drawn: the prior, one Gaussian, or a mixture of Gaussians.

A variational model was trained towards the prior N(0, 1). Any model's encodings can be given a density afterwards:
Ghosh, Sajjadi, Vergari, Black and Schölkopf, "From variational to deterministic autoencoders", 2020, section 4, fit a
Gaussian or a mixture of ten with full covariances to the encodings of the training images, and find that this
improves the samples of variational models too.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from aedist.keys import key
from aedist.noise import keyed_normal
from aedist.progress import now_and_then
from aedist.tracking.console import say_nothing

_MOST_ROUNDS, _ROUNDS_A_FIT = 100, 5
_FIT, _NOISE, _COMPONENT = 1, 2, 3  # what a key is for
_BLOCK = 64  # draws that are computed together


class CannotFit(ValueError):
    """No such density has these encodings; the message is the reason, and the caller knows what to do about it."""


@dataclass(frozen=True)
class Density:
    """A mixture of k Gaussians over vectors of d numbers."""

    weights_k: Tensor
    """float64 (k,), summing to 1."""
    means_kd: Tensor
    """float64 (k, d)."""
    roots_krd: Tensor | None
    """float64 (k, r, d): with standard normal noise of r numbers, noise @ root has the component's covariance.

    None is the identity.
    """
    has_converged: bool = True


def prior(dim: int) -> Density:
    """N(0, 1) in every number."""
    return Density(torch.ones(1, dtype=torch.float64), torch.zeros(1, dim, dtype=torch.float64), None)


def fit_gaussian(z_nd: Tensor) -> Density:
    """The Gaussian with the mean and the full covariance (divided by n - 1) of the encodings.

    The root of the covariance is the symmetric one, which is unique and changes little where the encodings do, unlike
    a factor made of eigenvectors. Of no more encodings than numbers, the centred encodings over sqrt(n - 1) are
    themselves a root, and a smaller one: nothing is factorised then.

    Raises:
        CannotFit: if there are fewer than two encodings, or one is not finite.
    """
    _check_finite(z_nd)
    count, dim = z_nd.shape
    if count < 2:
        raise CannotFit(f"a Gaussian cannot be fitted to fewer than 2 encodings, and here are {count}")
    mean_d = z_nd.mean(0)
    root = (z_nd - mean_d) / (count - 1) ** 0.5
    if count > dim:
        variances_d, axes_dd = torch.linalg.eigh(root.T @ root)
        root = (axes_dd * variances_d.clamp(min=0).sqrt()) @ axes_dd.T
    return Density(torch.ones(1, dtype=torch.float64), mean_d[None], root[None])


def fit_mixture(z_nd: Tensor, components: int, seed: int, say: Callable[[str], None] = say_nothing) -> Density:
    """A mixture of Gaussians with full covariances, fitted by expectation maximisation from k-means.

    One thread fits, since the order in which several add up k-means' centres is not the same twice.

    Raises:
        CannotFit: if there are fewer encodings than two a component, one is not finite, or they hardly differ.
    """
    _check_finite(z_nd)
    what = f"{components} Gaussians cannot be fitted to {len(z_nd):,} encodings"
    if components < 1 or len(z_nd) < 2 * components:
        raise CannotFit(f"{what}, but 1 to {len(z_nd) // 2:,} can, so that each has two of them")
    # a variance that vanishes beside the encodings' own, so that fewer encodings than numbers can be fitted
    ridge = 1e-6 * max(float(z_nd.var(0).mean()), 1e-12)
    mixture = GaussianMixture(
        components,
        max_iter=_ROUNDS_A_FIT,
        reg_covar=ridge,
        random_state=key(seed, _FIT) % 2**32,
        init_params="kmeans",
        warm_start=True,  # a fit goes on where the last one ended, so that something can be said between them
    )
    progress = now_and_then(say)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by has_converged
        for rounds in range(_ROUNDS_A_FIT, _MOST_ROUNDS + 1, _ROUNDS_A_FIT):
            try:
                mixture.fit(z_nd.numpy())
            except ValueError as error:
                raise CannotFit(f"{what} that hardly differ") from error
            if mixture.converged_:
                break
            progress(f"{rounds} rounds of expectation maximisation, {_MOST_ROUNDS} at most")
    covariances_kdd = torch.as_tensor(mixture.covariances_, dtype=torch.float64)
    return Density(
        torch.as_tensor(mixture.weights_, dtype=torch.float64),
        torch.as_tensor(mixture.means_, dtype=torch.float64),
        torch.linalg.cholesky(covariances_kdd).mT,
        bool(mixture.converged_),
    )


def draw(density: Density, number: int, seed: int, temperature: float = 1.0, first: int = 0) -> Tensor:
    """Encodings from a density, float64 (number, d): the draws ``first`` to ``first + number - 1`` of this seed.

    Draw k is a function of the density, the seed and k alone, to the last bit, whatever else is drawn: it is computed
    in a block of fixed draws, all of them together even where one is wanted, since a product of matrices of another
    size may round differently.

    Args:
        density: what is drawn from.
        number: how many.
        seed: names the draws.
        temperature: what the standard deviation of every Gaussian is multiplied by; below 1, draws lie nearer to the
            means.
        first: the number of the first draw, so that several processes can each draw their own.
    """
    block = first // _BLOCK
    blocks = [_draw_block(density, one, seed, temperature) for one in range(block, -(-(first + number) // _BLOCK))]
    begin = first - block * _BLOCK
    return torch.cat([density.means_kd[:0], *blocks])[begin : begin + number]


def _draw_block(density: Density, block: int, seed: int, temperature: float) -> Tensor:
    """The draws ``block * _BLOCK`` to ``(block + 1) * _BLOCK - 1``, float64 (_BLOCK, d)."""
    ids = range(block * _BLOCK, (block + 1) * _BLOCK)
    ends_k = density.weights_k.cumsum(0)[:-1].contiguous()
    places_b = torch.tensor([key(seed, _COMPONENT, one) / 2**64 for one in ids], dtype=torch.float64)
    component_b = torch.searchsorted(ends_k, places_b, right=True)
    size = density.means_kd.shape[1] if density.roots_krd is None else density.roots_krd.shape[1]
    noise_br = torch.stack([keyed_normal((size,), seed, _NOISE, one) for one in ids]).double() * temperature
    drawn_bd = density.means_kd[component_b]
    if density.roots_krd is None:
        return drawn_bd + noise_br
    for component in component_b.unique().tolist():
        of_it = component_b == component
        drawn_bd[of_it] += noise_br[of_it] @ density.roots_krd[component]
    return drawn_bd


def _check_finite(z_nd: Tensor) -> None:
    wrong = int((~z_nd.isfinite()).any(1).sum())
    if wrong:
        raise CannotFit(f"{wrong:,} of {len(z_nd):,} encodings are not finite")
