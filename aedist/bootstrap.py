"""How sure a mean is: percentile intervals of the bootstrap (Efron, "Bootstrap methods", 1979).

Resample i is a function of the seed, the number of values and i alone: values of equal number are resampled alike,
so that the intervals of two means, or of the difference of them, speak of the same resamples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aedist.keys import key

RESAMPLES = 2000
_PLACES_AT_ONCE = 2**14  # of values that are picked at a time: they stay in a processor's cache


def definition(of: str, resamples: int = RESAMPLES) -> str:
    """What an interval is, of means over ``of``; what it leaves out is for the caller to add."""
    return f"95 % percentile interval over {resamples:,} bootstrap resamples of {of}, the same for every mean."


def mean_interval(values_n: NDArray[np.float64], seed: int, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The mean of ``values_n`` and its interval; equal lengths and seeds are resampled alike.

    Args:
        values_n: finite, one or more.
        seed: names the resamples.
        resamples: how many; the first of more are the same as those of fewer.
    """
    means = _resampled_means(values_n, seed, resamples)
    return {"mean": float(values_n.mean()), "interval": _middle(means)}


def ratio_interval(
    over_n: NDArray[np.float64], under_n: NDArray[np.float64], seed: int, resamples: int = RESAMPLES
) -> dict[str, Any] | None:
    """The ratio of two means over the same n pairs, and its interval.

    None where the mean below is not positive in all but a 40th of the resamples, as the ratio tells nothing then.
    """
    under = _resampled_means(under_n, seed, resamples)
    if np.quantile(under, 0.025) <= 0:
        return None
    return {
        "ratio": float(over_n.mean() / under_n.mean()),
        "interval": _middle(_resampled_means(over_n, seed, resamples) / under),
    }


def _resampled_means(values_n: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    count = len(values_n)
    rng = np.random.default_rng(key(seed, count))
    rows = max(1, _PLACES_AT_ONCE // count)
    blocks = (min(rows, resamples - first) for first in range(0, resamples, rows))
    return np.concatenate([values_n[rng.integers(0, count, (block, count))].mean(axis=1) for block in blocks])


def _middle(values: NDArray[np.float64]) -> list[float]:
    """Between what 95 % of the values lie."""
    return np.quantile(values, [0.025, 0.975]).tolist()
