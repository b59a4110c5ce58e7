"""What the encodings of images tell of a model: how many of their numbers it uses, and how they are spread.

For a variational model besides: what each number costs, how many carry information, and how far the encodings lie
from the prior (``aggregate.py``). All is computed in float64, in the order of the images.
"""

from typing import Any

import torch
from torch import Tensor

from aedist.evaluation.measures import aggregate, dimensions
from aedist.evaluation.measures.aggregate import prior_gap, warn_of_gap
from aedist.evaluation.measures.dimensions import over_dimensions

ACTIVE_SHARE, ACTIVE_VARIANCE = 0.01, 0.01
_ROUNDING = 1e-6  # what single precision leaves of a number that is the same for every image
_MOST_IN_SPECTRUM = 4096  # images and numbers: the eigenvalues of more would take minutes
_MOST_VARIANCE = 0.95
_FEW_ACTIVE, _FEW_UNITS, _LITTLE_KL = 0.25, 0.1, 1.0

DEFINITIONS = {
    "dimensions": "d, how many numbers an image's encoding has; of a posterior, its mean is taken for the encoding.",
    "active_dimensions": f"Numbers whose standard deviation over the images is above {ACTIVE_SHARE:g} of the largest "
    "number's, so that it does not depend on the scale of the encoding, and which are not constant.",
    "constant": f"Numbers whose standard deviation over the images is at most {_ROUNDING:g} of their largest value, "
    "which is rounding.",
    "never_positive": "Numbers that are above zero for no image: behind a ReLU, those that are dead.",
    "mean_activation": "Mean of all the numbers of all the encodings.",
    "total_variance": "Sum over the numbers of their variance over the images (divided by N).",
    "std": "Standard deviation over the images (divided by N) of each number.",
    "effective_rank": "exp of the entropy of the eigenvalues of the encodings' covariance, which are divided by their "
    "sum (Roy and Vetterli, The effective rank, 2007): in how many directions of equal variance there would be as much "
    f"disorder. Of {_MOST_IN_SPECTRUM:,} evenly chosen images, where there are more images and more numbers than that.",
    "components_95": f"How many principal components hold {100 * _MOST_VARIANCE:g} % of the total variance.",
    "active_units": f"Numbers whose posterior mean has a variance over the images above {ACTIVE_VARIANCE:g} (Burda, "
    "Grosse and Salakhutdinov, Importance weighted autoencoders, 2016); variational models.",
    "kl": "KL of the posterior to N(0, 1) of each number in nats, mean over the images; kl_total is their sum. "
    "Variational models.",
    **dimensions.DEFINITIONS,
    **aggregate.DEFINITIONS,
}


def analyse(z_nd: Tensor, kl_nd: Tensor | None = None, variance_nd: Tensor | None = None) -> dict[str, Any]:
    """What ``DEFINITIONS`` names, of the encodings of n images; what cannot be said is None.

    An image any of whose numbers is not finite is left out, counted and warned of. Takes, for the eigenvalues, time
    that grows with the cube of the smaller of n and d.

    Args:
        z_nd: encodings, the posteriors' means where there are posteriors.
        kl_nd: of a variational model, the KL of each number to N(0, 1) in nats.
        variance_nd: of a variational model, the variance of each number's posterior.

    Returns:
        the numbers, ready for JSON, and under ``warnings`` a sentence for each thing that the reader must know.
    """
    is_finite_n = z_nd.isfinite().all(1)
    for part in (kl_nd, variance_nd):
        if part is not None:
            is_finite_n = is_finite_n & part.isfinite().all(1)
    lost = int((~is_finite_n).sum())
    z_nd = (z_nd[is_finite_n] if lost else z_nd).double()
    count, dim = z_nd.shape
    found: dict[str, Any] = {"num_images": count, "not_finite": lost, "dimensions": dim}
    found |= _use(z_nd) | _spectrum(z_nd)
    found |= dict.fromkeys(("active_units", "kl_total", "kl", "prior_gap"))
    if kl_nd is not None and count:
        kl_d = _mean(kl_nd, is_finite_n)
        found |= {"kl_total": float(kl_d.sum()), "kl": over_dimensions(kl_d)}
    if variance_nd is not None and count > 1:
        found["active_units"] = int(active_units(z_nd).sum())
        found["prior_gap"] = prior_gap(z_nd, _mean(variance_nd, is_finite_n))
    found["warnings"] = _warn(found, lost + count)
    return found


def active_units(mean_nd: Tensor) -> Tensor:
    """Whether each number is an active unit, bool (d,), from the means of the posteriors of n images."""
    return mean_nd.double().var(0, correction=0) > ACTIVE_VARIANCE


def _mean(values_nd: Tensor, is_counted_n: Tensor) -> Tensor:
    """The mean over the images that count, float64 (d,)."""
    return (values_nd if is_counted_n.all() else values_nd[is_counted_n]).mean(0, dtype=torch.float64)


def _use(z_nd: Tensor) -> dict[str, Any]:
    """How many of the numbers are used, and how they are spread over the images."""
    names = ("active_dimensions", "constant", "never_positive", "mean_activation", "total_variance", "std")
    found: dict[str, Any] = dict.fromkeys(names)
    if len(z_nd):
        found["never_positive"] = int((z_nd.amax(0) <= 0).sum())
        found["mean_activation"] = float(z_nd.mean())
    if len(z_nd) > 1:
        std_d = z_nd.std(0, correction=0)
        is_constant_d = std_d <= _ROUNDING * z_nd.abs().amax(0)
        found["active_dimensions"] = int((~is_constant_d & (std_d > ACTIVE_SHARE * std_d.max())).sum())
        found["constant"] = int(is_constant_d.sum())
        found["total_variance"] = float(std_d.square().sum())
        found["std"] = over_dimensions(std_d)
    return found


def _spectrum(z_nd: Tensor) -> dict[str, Any]:
    """The effective rank, and how many principal components hold most of the variance; None without any variance."""
    if min(z_nd.shape) > _MOST_IN_SPECTRUM:
        z_nd = z_nd[torch.arange(_MOST_IN_SPECTRUM) * (len(z_nd) - 1) // (_MOST_IN_SPECTRUM - 1)]
    found: dict[str, Any] = {"effective_rank": None, "components_95": None}
    if len(z_nd) < 2:
        return found
    largest_d = z_nd.abs().amax(0)
    centred_nd = z_nd - z_nd.mean(0)
    # what is rounding alone is no direction, where all else is constant too
    centred_nd[:, centred_nd.square().mean(0).sqrt() <= _ROUNDING * largest_d] = 0
    products = centred_nd.T @ centred_nd if len(z_nd) > z_nd.shape[1] else centred_nd @ centred_nd.T
    variances = torch.linalg.eigvalsh(products / len(z_nd)).clamp(min=0).flip(0)
    total = variances.sum()
    if total <= 0:
        return found
    shares = variances / total
    found["effective_rank"] = float(torch.special.entr(shares).sum().exp())
    found["components_95"] = min(int((shares.cumsum(0) < _MOST_VARIANCE).sum()) + 1, len(shares))
    return found


def _warn(found: dict[str, Any], count: int) -> list[str]:
    told = list[str]()
    dim, active, units = found["dimensions"], found["active_dimensions"], found["active_units"]
    if found["not_finite"]:
        told.append(
            f"The encodings of {found['not_finite']:,} of {count:,} images are not finite, and are left out of what is "
            "said of encodings."
        )
    if active == 0:
        told.append("Every image has the same encoding: nothing of an image reaches the decoder.")
    elif units is None and active is not None and active < _FEW_ACTIVE * dim:
        told.append(f"Only {active:,} of {dim:,} numbers of an encoding differ among images: the others are not used.")
    if units == 0 or (units is not None and found["kl_total"] < _LITTLE_KL):
        told.append(
            f"The posterior has collapsed: an encoding carries {found['kl_total']:.2f} nats of its image, in {units:,} "
            f"of {dim:,} numbers, and decoding has little but the prior's noise to go by."
        )
    elif units is not None and units < _FEW_UNITS * dim:
        told.append(
            f"The posterior has collapsed in most numbers: only {units:,} of {dim:,} carry information, the others are "
            "the prior's noise."
        )
    return told if found["prior_gap"] is None else [*told, *warn_of_gap(found["prior_gap"], dim)]
