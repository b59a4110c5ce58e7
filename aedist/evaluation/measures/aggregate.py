"""How far the encodings of a variational model lie from its prior: the aggregate posterior against N(0, I).

The aggregate posterior is the mean of the images' posteriors (Hoffman and Johnson, "ELBO surgery", 2016): what a
random image's random encoding is drawn from. Samples of the prior decode well only where it is like the prior. Of it
two moments are compared, and the normal distribution that has them.
"""

from typing import Any

import torch
from torch import Tensor

from aedist.evaluation.measures.dimensions import over_dimensions

MOST_NUMBERS = 4096
"""Of encodings of more numbers, no whole covariance is looked at: its eigenvalues would take minutes."""
FAR, FAR_IN_ONE = 0.3, 1.0
"""Nats a number, and nats in one number, from which on a warning is due."""

DEFINITIONS = {
    "prior_gap": "The aggregate posterior, which is the mean of the images' posteriors q(z | x), against the prior "
    "N(0, I) (Hoffman and Johnson, ELBO surgery, 2016), by its mean m and its covariance S: the covariance of the "
    "posteriors' means (divided by N) plus the mean of their variances. mean_norm is the length of m, mean_largest its "
    "largest entry without the sign, covariance_frobenius the Frobenius norm of S - I, covariance_largest the largest "
    "deviation of an eigenvalue of S from 1.",
    "prior_gap_nats": "KL(N(m, S) || N(0, I)) = (trace S + |m|^2 - d - log det S) / 2, nats_per_dimension it over d. "
    "nats_by_chance, d (d + 3) / (4 N), is about what N draws of the prior itself would show, so a gap is more than "
    "that; of wide posteriors chance shows less, as S has their variances themselves. marginals is the same for each "
    "number alone, which sees no correlation. Null of a whole covariance where "
    f"there are fewer than two images or more than {MOST_NUMBERS:,} numbers.",
}


def prior_gap(mean_nd: Tensor, variance_d: Tensor) -> dict[str, Any]:
    """The gap between the aggregate posterior and N(0, I), as ``DEFINITIONS`` says.

    Args:
        mean_nd: float64 (n, d), the finite means of n posteriors, n at least 2.
        variance_d: float64 (d,), the mean of their variances.
    """
    count, dim = mean_nd.shape
    mean_d = mean_nd.mean(0)
    centred_nd = mean_nd - mean_d
    marginal_variance_d = centred_nd.square().mean(0) + variance_d
    marginals_d = (marginal_variance_d + mean_d.square() - 1 - marginal_variance_d.log()) / 2
    found: dict[str, Any] = {
        "mean_norm": float(mean_d.norm()),
        "mean_largest": float(mean_d.abs().max()),
        "covariance_frobenius": None,
        "covariance_largest": None,
        "nats": None,
        "nats_per_dimension": None,
        "nats_by_chance": dim * (dim + 3) / (4 * count),
        "marginals": over_dimensions(marginals_d),
    }
    if dim > MOST_NUMBERS:
        return found
    deviation_d = torch.linalg.eigvalsh(centred_nd.T @ centred_nd / count + variance_d.diag()) - 1
    found["covariance_frobenius"] = float(deviation_d.norm())
    found["covariance_largest"] = float(deviation_d.abs().max())
    if deviation_d.min() > -1:
        # x - log(1 + x) for each eigenvalue, which loses nothing where S is nearly I
        nats = float((deviation_d - deviation_d.log1p()).sum() + mean_d.square().sum()) / 2
        found |= {"nats": nats, "nats_per_dimension": nats / dim}
    return found


def warn_of_gap(gap: dict[str, Any], dim: int) -> list[str]:
    """A sentence where samples of the prior will be poor, as far as two moments tell, or where that is not known.

    Args:
        gap: as ``prior_gap`` gives it.
        dim: d, the numbers of an encoding.
    """
    told = list[str]()
    if gap["nats"] is None:
        why = f"an encoding has more than {MOST_NUMBERS:,} numbers" if dim > MOST_NUMBERS else "S has no inverse"
        told.append(f"The gap of the encodings to the prior has no value in nats, since {why}.")
    far = max(0.0, gap["nats"] - gap["nats_by_chance"]) / dim if gap["nats"] is not None else 0.0
    largest = gap["marginals"]["max"]
    if far >= FAR or (largest is not None and largest >= FAR_IN_ONE):
        where = f"{far:.2f} nats a number" if far >= FAR else f"{largest:.2f} nats in one number"
        told.append(
            f"The encodings lie far from the prior N(0, I), by {where}: samples of the prior will be poor, those of a "
            "density that is fitted to the encodings better."
        )
    return told
