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
from torch import Tensor

from aedist.errors import UserError
from aedist.explore.progress import now_and_then
from aedist.keys import key
from aedist.noise import keyed_normal
from aedist.tracking.console import say_nothing

_MOST_ROUNDS, _ROUNDS_A_FIT = 100, 5
_FIT, _NOISE, _COMPONENT = 1, 2, 3  # what a key is for


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

    The centred encodings over sqrt(n - 1) are themselves a root of that covariance: nothing is factorised, so more
    numbers than encodings are no difficulty.

    Raises:
        UserError: if there are fewer than two encodings.
    """
    if len(z_nd) < 2:
        raise UserError(f"--encodings: a Gaussian cannot be fitted to {len(z_nd)}; take 2 or more")
    mean_d = z_nd.mean(0)
    root_nd = (z_nd - mean_d) / (len(z_nd) - 1) ** 0.5
    return Density(torch.ones(1, dtype=torch.float64), mean_d[None], root_nd[None])


def fit_mixture(z_nd: Tensor, components: int, seed: int, say: Callable[[str], None] = say_nothing) -> Density:
    """A mixture of Gaussians with full covariances, fitted by expectation maximisation from k-means.

    Raises:
        UserError: if there are fewer encodings than two a component.
    """
    if components < 1 or len(z_nd) < 2 * components:
        raise UserError(
            f"--components: {components} is refused for {len(z_nd):,} encodings; it must be from 1 to "
            f"{len(z_nd) // 2:,}, so that each has two of them"
        )
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by has_converged
        for rounds in range(_ROUNDS_A_FIT, _MOST_ROUNDS + 1, _ROUNDS_A_FIT):
            try:
                mixture.fit(z_nd.numpy())
            except ValueError as error:
                raise UserError(
                    f"--components: {components} cannot be fitted to {len(z_nd):,} encodings that hardly differ; take "
                    f"fewer, or --from gaussian"
                ) from error
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


def draw(density: Density, number: int, seed: int, temperature: float = 1.0) -> Tensor:
    """Encodings from a density, float64 (number, d); the first of more are the same as those of fewer.

    Args:
        density: what is drawn from.
        number: how many.
        seed: names the draw.
        temperature: what the standard deviation of every Gaussian is multiplied by; below 1, draws lie nearer to the
            means.
    """
    dim = density.means_kd.shape[1]
    ends_k = density.weights_k.cumsum(0)
    drawn = list[Tensor]()
    for one in range(number):
        place = key(seed, _COMPONENT, one) / 2**64
        component = min(int(torch.searchsorted(ends_k, place, right=True)), len(ends_k) - 1)
        root = None if density.roots_krd is None else density.roots_krd[component]
        noise = keyed_normal((dim if root is None else len(root),), seed, _NOISE, one).double() * temperature
        drawn.append(density.means_kd[component] + (noise if root is None else noise @ root))
    return torch.stack(drawn)
