"""How sure a mean is: percentile intervals of the bootstrap (Efron, "Bootstrap methods", 1979)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aedist.keys import key

RESAMPLES = 2000
DEFINITION = (
    f"95 % percentile interval over {RESAMPLES} bootstrap resamples of pairs, the same for every mean. It says how the "
    "mean could differ with other pairs alone; it leaves out how it would differ with other random vectors, other "
    "training images of the vector, or another training of the model."
)


def mean_interval(values_n: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """The mean of ``values_n`` and its interval; equal lengths and seeds are resampled alike."""
    means = _resampled_means(values_n, seed)
    return {"mean": float(values_n.mean()), "interval": _middle(means)}


def ratio_interval(over_n: NDArray[np.float64], under_n: NDArray[np.float64], seed: int) -> dict[str, Any] | None:
    """The ratio of two means over the same n pairs, and its interval.

    None where the mean below is not positive in all but a 40th of the resamples, as the ratio tells nothing then.
    """
    under = _resampled_means(under_n, seed)
    if np.quantile(under, 0.025) <= 0:
        return None
    return {
        "ratio": float(over_n.mean() / under_n.mean()),
        "interval": _middle(_resampled_means(over_n, seed) / under),
    }


def _resampled_means(values_n: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(key(seed, len(values_n)))
    return np.array([values_n[rng.integers(0, len(values_n), len(values_n))].mean() for _ in range(RESAMPLES)])


def _middle(values: NDArray[np.float64]) -> list[float]:
    """Between what 95 % of the values lie."""
    return np.quantile(values, [0.025, 0.975]).tolist()
