"""How sure a mean is: percentile intervals of the bootstrap (Efron, "Bootstrap methods", 1979)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aedist.keys import key

RESAMPLES = 2000
DEFINITION = (
    f"95 % percentile interval of the mean over {RESAMPLES} bootstrap resamples, of pairs, the same for every mean."
)


def mean_interval(values_n: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """The mean of ``values_n`` and its interval; equal lengths and seeds are resampled alike."""
    rng = np.random.default_rng(key(seed, len(values_n)))
    means = [values_n[rng.integers(0, len(values_n), len(values_n))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(values_n.mean()), "interval": [float(low), float(high)]}
