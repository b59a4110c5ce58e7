"""How far one set of images lies from another: FID, KID, precision and recall of their features, in double precision.

A distance of sets is an estimate from finitely many images, and of FID the estimate is biased: it grows as there are
fewer. So what is returned is always the number with how many images it is from, and with what makes it doubtful; what
cannot be computed is left out and says why.
"""

from collections.abc import Callable
from functools import cached_property
from math import isfinite, sqrt
from typing import Any

import torch
from torch import Tensor

from aedist.keys import permutation

_SUBSETS, _SUBSET_SIZE = 100, 1000
_NEIGHBOURS = 3
_MOST_OF_PRECISION = 20_000  # images of a set: all pairs of more would take hours
_ROWS = 1000  # of a table of all pairs that are in memory at once
_CHUNK = 8192  # rows that are brought into a triangle at once
_ROUNDING = 1e-12  # of the squared lengths, within which two squared distances taken from products are the same

_FEATURES = "of Inception features (extractor), in double precision; num_images judged images against the reference"
DEFINITIONS = {
    "fid": f"Frechet inception distance (Heusel et al. 2017) {_FEATURES}: |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) "
    "of the means and unbiased covariances. Biased upwards by 1/N: comparable only between equal numbers of images.",
    "kid": f"Kernel inception distance (Binkowski et al. 2018) {_FEATURES}: unbiased squared maximum mean discrepancy "
    f"with the kernel (x.y / 2048 + 1)^3; mean and standard deviation over {_SUBSETS} seeded subsets of "
    f"{_SUBSET_SIZE:,} of both sets, or one value of all images where a set has no more than {_SUBSET_SIZE:,}. It may "
    "fall below zero.",
    "precision": f"Improved precision (Kynkaanniemi et al. 2019) {_FEATURES}: the share of judged images no farther "
    f"from an image of the reference than that is from its neighbour number {_NEIGHBOURS}.",
    "recall": f"Improved recall (Kynkaanniemi et al. 2019) {_FEATURES}: the share of the reference no farther from a "
    f"judged image than that is from its neighbour number {_NEIGHBOURS} among the judged. Both of the first "
    f"{_MOST_OF_PRECISION:,} images of each set.",
}
HIGHER_IS_BETTER = {"fid": False, "kid": False, "precision": True, "recall": True}


class Reference:
    """Features that sets are held against. What is of the reference alone is computed once, when it is first needed."""

    def __init__(self, features_nd: Tensor) -> None:
        """``features_nd`` has a row an image; all is computed on its device."""
        self.features_nd = features_nd
        self._reaches = dict[int, Tensor]()
        self._within = dict[tuple[int, int], float]()

    @cached_property
    def mean_d(self) -> Tensor:
        """The mean, in double precision."""
        return self.features_nd.mean(0, dtype=torch.float64)

    @cached_property
    def root(self) -> Tensor:
        """A root of the covariance."""
        return _root(self.features_nd, self.mean_d)

    def reach(self, k: int) -> Tensor:
        """How far each of the first images' neighbour number k is, squared."""
        if k not in self._reaches:
            self._reaches[k] = _squared_reach(self.features_nd[:_MOST_OF_PRECISION].double() - self.mean_d, k)
        return self._reaches[k]

    def subset(self, seed: int, subset: int) -> tuple[Tensor, float]:
        """A subset for KID, and the mean of the kernel within it."""
        x = _subset(self.features_nd, seed, subset, 0).double()
        if (seed, subset) not in self._within:
            self._within[seed, subset] = _within(x)
        return x, self._within[seed, subset]


def _as_reference(x: Tensor | Reference) -> Reference:
    return x if isinstance(x, Reference) else Reference(x)


def compare(reference: Tensor | Reference, judged_md: Tensor, seed: int) -> dict[str, Any]:
    """Every distance of a set of images from the reference, by the names in ``DEFINITIONS``.

    Args:
        reference: the features of the reference, a row an image.
        judged_md: of the set that is judged, on the same device.
        seed: of the subsets that KID takes.

    Returns:
        ``num_images`` (m), ``fid``, ``kid`` (``mean``, ``std``), ``precision``, ``recall``, None where one cannot be
        computed, and ``flags``: a sentence for each thing that the numbers do not say.
    """
    reference = _as_reference(reference)
    (n, dim), m = reference.features_nd.shape, len(judged_md)
    refused: dict[str, list[str]] = {}

    def attempt(name: str, distance: Callable[[], tuple[float | None, float | None]]) -> tuple[float | None, ...]:
        try:
            return distance()
        except ValueError as error:
            refused.setdefault(str(error), []).append(name)
            return None, None

    distance = attempt("FID", lambda: (fid(reference, judged_md), None))[0]
    mean, std = attempt("KID", lambda: kid(reference, judged_md, seed))
    precision, recall = attempt("precision and recall", lambda: precision_recall(reference, judged_md))
    flags = [f"No {', '.join(names)}: {reason}." for reason, names in refused.items()]
    if distance is not None and min(n, m) <= dim:
        flags.append(
            f"The covariance of {min(n, m):,} images is singular in {dim:,} dimensions, so FID lies far above that of "
            f"many images; compare it only with another of as many."
        )
    if precision is not None and max(n, m) > _MOST_OF_PRECISION:
        flags.append(f"Precision and recall are of the first {_MOST_OF_PRECISION:,} images of each set.")
    if n != m:
        flags.append(f"{m:,} images are compared with {n:,} of the reference.")
    return {
        "num_images": m,
        "fid": distance,
        "kid": {"mean": mean, "std": std},
        "precision": precision,
        "recall": recall,
        "flags": flags,
    }


def fid(x: Tensor | Reference, y_md: Tensor) -> float:
    """The Frechet distance of the Gaussians with the means and covariances of two sets of features.

    Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, "GANs trained by a two time-scale update rule converge to a
    local Nash equilibrium", 2017, equation 6. With roots R of the covariances, S = R' R, the eigenvalues of S1 S2 are
    those of the symmetric R1 S2 R1', whose square roots are the singular values of R1 R2'. They are taken from there,
    and R from the features themselves, because the root of a small eigenvalue has lost half of its digits. Swapping x
    and y changes nothing, nor does moving both.

    Raises:
        ValueError: if a set has fewer than 2 images, or features that are not finite, or too large.
    """
    x = _as_reference(x)
    _check(x.features_nd, y_md, 2)
    mean_x, mean_y = x.mean_d, y_md.mean(0, dtype=torch.float64)
    root_x, root_y = x.root, _root(y_md, mean_y)
    common = root_x @ root_y.T
    total = float((mean_x - mean_y).square().sum() + root_x.square().sum() + root_y.square().sum())
    if not (isfinite(total) and bool(common.isfinite().all())):  # LAPACK may crash on these
        raise ValueError("the features are too large to be squared")
    return max(total - 2 * float(torch.linalg.svdvals(common).sum()), 0.0)


def kid(x: Tensor | Reference, y_md: Tensor, seed: int) -> tuple[float, float | None]:
    """The kernel distance: mean and standard deviation over subsets, or one value and None of sets as small as those.

    Binkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs", 2018, section 4.

    Args:
        x: the features of one set.
        y_md: of the other.
        seed: subset s of x is named by (seed, s, 0), of y by (seed, s, 1).

    Raises:
        ValueError: if a set has fewer than 2 images, or features that are not finite.
    """
    x = _as_reference(x)
    _check(x.features_nd, y_md, 2)
    if min(len(x.features_nd), len(y_md)) <= _SUBSET_SIZE:
        x_nd = x.features_nd.double()
        return _squared_discrepancy(x_nd, _within(x_nd), y_md.double()), None
    values = torch.tensor(
        [
            _squared_discrepancy(*x.subset(seed, subset), _subset(y_md, seed, subset, 1).double())
            for subset in range(_SUBSETS)
        ],
        dtype=torch.float64,
    )
    return float(values.mean()), float(values.std(correction=0))


def precision_recall(reference: Tensor | Reference, judged_md: Tensor, k: int = _NEIGHBOURS) -> tuple[float, float]:
    """The share of the judged images among the reference, and of the reference among the judged.

    Kynkaanniemi, Karras, Laine, Lehtinen and Aila, "Improved precision and recall metric for assessing generative
    models", 2019, equations 1 and 2: an image is among a set if it lies within the ball around one of the set that
    reaches to its neighbour number k in that set, itself not counted.

    Raises:
        ValueError: if a set has no more than k images, or features that are not finite.
    """
    reference = _as_reference(reference)
    _check(reference.features_nd, judged_md, k + 1)
    x = reference.features_nd[:_MOST_OF_PRECISION].double() - reference.mean_d
    y = judged_md[:_MOST_OF_PRECISION].double() - reference.mean_d
    reach_x, reach_y = reference.reach(k), _squared_reach(y, k)
    is_recalled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    num_precise = 0
    for rows, reach in zip(y.split(_ROWS), reach_y.split(_ROWS), strict=True):
        gap, rounding = _squared_distances(rows, x)
        num_precise += int((gap <= reach_x + rounding).any(1).sum())
        is_recalled |= (gap <= reach[:, None] + rounding).any(0)
    return num_precise / len(y), int(is_recalled.sum()) / len(x)


def _check(x_nd: Tensor, y_md: Tensor, least: int) -> None:
    """Refuse sets that a distance is not defined for; LAPACK may crash on what is not finite."""
    for z in (x_nd, y_md):
        if len(z) < least:
            raise ValueError(f"each set needs {least} images, and one has {len(z)}")
    for z in (x_nd, y_md):
        bad = int((~z.isfinite()).any(1).sum())
        if bad:
            raise ValueError(f"the features of {bad:,} of {len(z):,} images are not finite")


def _root(x_nd: Tensor, mean_d: Tensor) -> Tensor:
    """A matrix R of at most n or d rows with R' R the covariance, without forming that: its digits are all kept."""
    scale = 1 / sqrt(len(x_nd) - 1)
    triangle = x_nd.new_empty(0, len(mean_d), dtype=torch.float64)
    for rows in x_nd.split(_CHUNK):
        stacked = torch.cat([triangle, (rows.double() - mean_d) * scale])
        triangle = torch.linalg.qr(stacked, mode="r")[1] if len(stacked) > len(mean_d) else stacked
    return triangle


def _subset(x_nd: Tensor, *parts: int) -> Tensor:
    """As many rows as a subset has, without repeats, named by ``parts``."""
    return x_nd[torch.from_numpy(permutation(len(x_nd), *parts)[:_SUBSET_SIZE]).to(x_nd.device)]


def _squared_discrepancy(x_nd: Tensor, within_x: float, y_md: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy of two sets, of one of which the mean within is known."""
    return within_x + _within(y_md) - 2 * _kernel_sum(x_nd, y_md) / (len(x_nd) * len(y_md))


def _within(x_nd: Tensor) -> float:
    """The mean of the kernel over the pairs of different rows of one set."""
    n = len(x_nd)
    return (_kernel_sum(x_nd, x_nd) - _kernel(x_nd.square().sum(1), x_nd)) / (n * (n - 1))


def _kernel_sum(x_nd: Tensor, y_md: Tensor) -> float:
    """The kernel of all pairs, added up."""
    return sum(_kernel(rows @ y_md.T, y_md) for rows in x_nd.split(_ROWS))


def _kernel(products: Tensor, like_nd: Tensor) -> float:
    """The kernel of pairs with these inner products, added up."""
    base = products / like_nd.shape[1] + 1
    return float((base * base * base).sum())


def _squared_reach(x_nd: Tensor, k: int) -> Tensor:
    """How far each row's neighbour number k among the others is, squared, (n,)."""
    rows = (_squared_distances(some, x_nd)[0].kthvalue(k + 1, dim=1).values for some in x_nd.split(_ROWS))
    return torch.cat(list(rows))


def _squared_distances(x_nd: Tensor, y_md: Tensor) -> tuple[Tensor, Tensor]:
    """The squared distance of all pairs, and below what the rounding of each is, both (n, m)."""
    lengths = x_nd.square().sum(1)[:, None] + y_md.square().sum(1)
    return (lengths - 2 * x_nd @ y_md.T).clamp(min=0), _ROUNDING * lengths
