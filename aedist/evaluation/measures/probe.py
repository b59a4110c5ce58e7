"""How much of an image's class can be read off its encoding by a linear map: the accuracy of a linear probe.

Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016: the probe is fitted to the
encodings of training images and tested on those of the evaluated ones, so that it tells what the encodings hold and
not what a classifier can learn by heart.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from aedist.bootstrap import definition, mean_interval

_RESAMPLES = 1000
_FEWEST = 2  # images of a class, so that there is something to have in common
_MOST_ROUNDS, _FEWEST_ROUNDS = 200, 10
_WORK = 5e10  # multiplications of encodings with weights: under a minute on one core
_STANDARDISED_FROM = 1e-6  # of a number's largest value: below is rounding, which must not be blown up

DEFINITIONS = {
    "probe": "Share of the evaluated images whose class a multinomial logistic regression on their encodings gets "
    "right (Alain and Bengio, 2016). It is fitted to the encodings of training images, each number brought to mean 0 "
    "and standard deviation 1, with an L2 penalty of 1/2 beside the summed loss, by L-BFGS of at most "
    f"{_MOST_ROUNDS} rounds, fewer where rounds are long. chance is the share of the commonest class among the "
    f"evaluated. interval: {definition('the evaluated images', _RESAMPLES)} It leaves out how another training of the "
    "model or of the probe would differ. Images without a class are left out.",
}


def accuracy(
    fit_nd: NDArray[np.float64],
    fit_labels_n: NDArray[np.int64],
    test_md: NDArray[np.float64],
    test_labels_m: NDArray[np.int64],
    classes: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """The accuracy of a linear probe, or the reason why there is none.

    Images without a class, or with an encoding that is not finite, are not fitted to. Images without a class are not
    tested; those whose encoding is not finite, or whose class was not fitted, count as wrong.

    Args:
        fit_nd: encodings of training images.
        fit_labels_n: their classes; negative where an image has none.
        test_md: encodings of the evaluated images.
        test_labels_m: their classes.
        classes: the names of all classes.
        seed: names the resamples of the interval.

    Returns:
        ``accuracy``, ``interval``, ``chance``, ``num_fitted``, ``num_tested``, ``classes`` (how many were fitted),
        ``rounds``, ``has_converged``, and ``reason``: None, or why accuracy is.
    """
    found: dict[str, Any] = dict.fromkeys(("accuracy", "interval", "chance", "rounds", "has_converged", "reason"))
    is_fitted_n = (fit_labels_n >= 0) & np.isfinite(fit_nd).all(axis=1)
    is_tested_m = test_labels_m >= 0
    x_nd, labels_n, truth_m = fit_nd[is_fitted_n], fit_labels_n[is_fitted_n], test_labels_m[is_tested_m]
    seen, counts = np.unique(labels_n, return_counts=True)
    found |= {"num_fitted": len(labels_n), "num_tested": len(truth_m), "classes": len(seen)}
    found["reason"] = _reason(classes, len(labels_n), counts, len(truth_m))
    if len(truth_m):
        found["chance"] = float(np.unique(truth_m, return_counts=True)[1].max() / len(truth_m))
    if found["reason"] is not None:
        return found
    mean_d, scale_d = _standard(x_nd)
    probe, found["has_converged"] = _fit((x_nd - mean_d) / scale_d, labels_n)
    found["rounds"] = int(probe.n_iter_.max())
    y_md = test_md[is_tested_m]
    is_finite_m = np.isfinite(y_md).all(axis=1)
    is_right_m = np.zeros(len(y_md))
    if is_finite_m.any():
        with threadpool_limits(1):
            predicted = probe.predict((y_md[is_finite_m] - mean_d) / scale_d)
        is_right_m[is_finite_m] = predicted == truth_m[is_finite_m]
    interval = mean_interval(is_right_m, seed, _RESAMPLES)
    found |= {"accuracy": interval["mean"], "interval": interval["interval"] if len(is_right_m) > 1 else None}
    return found


def _reason(classes: Sequence[str], num_fitted: int, counts: NDArray[np.int64], num_tested: int) -> str | None:
    """Why there is no probe, if there is none."""
    if not classes:
        return "the data has no classes"
    if not num_tested:
        return "no evaluated image has a class"
    if len(counts) < 2:
        return f"it takes training images of two classes, and the {num_fitted:,} are of {len(counts)}"
    if counts.max() < _FEWEST:
        return f"no class has {_FEWEST} of the {num_fitted:,} training images"
    return None


def _standard(x_nd: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean of each number, and its standard deviation, or 1 where that is rounding alone."""
    mean_d, std_d = x_nd.mean(axis=0), x_nd.std(axis=0)
    return mean_d, np.where(std_d > _STANDARDISED_FROM * np.abs(x_nd).max(axis=0), std_d, 1.0)


def _fit(x_nd: NDArray[np.float64], labels_n: NDArray[np.int64]) -> tuple[LogisticRegression, bool]:
    """The regression, and whether it settled; one thread, so that a fit is the same on any machine's cores."""
    work = x_nd.size * len(np.unique(labels_n))
    rounds = int(min(_MOST_ROUNDS, max(_FEWEST_ROUNDS, _WORK // work)))
    probe = LogisticRegression(max_iter=rounds)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by has_converged
        probe.fit(x_nd, labels_n)
    return probe, bool(probe.n_iter_.max() < rounds)
