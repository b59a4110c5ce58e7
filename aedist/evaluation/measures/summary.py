"""One metric over images in a few numbers: its mean and how sure it is, its spread, its quantiles.

Each number is of all images or of none: where a single value is not finite there is no mean, rather than one of the
other images.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aedist import bootstrap

RESAMPLES = 1000
_QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}

DEFINITIONS = {
    "summary": "Over images: mean, std (of the population: divided by N), least and greatest, and quantiles q05 to q95 "
    "with linear interpolation between values (method 7 of Hyndman and Fan 1996). All are null where an image's value "
    "is not finite, which not_finite counts, or where there are no images.",
    "interval": bootstrap.definition("images", RESAMPLES)
    + " It says how the mean could differ with other images alone, not with another training of the model. Null below "
    "two images.",
}


def summarise(values_n: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Mean, std, min, quantiles, max, the 95 % interval of the mean, and how many values are not finite.

    Args:
        values_n: a metric of each image, in the order of sample ids.
        seed: names the bootstrap resamples; metrics of equally many images are resampled alike.
    """
    not_finite = int((~np.isfinite(values_n)).sum())
    names = ["mean", "std", "min", *_QUANTILES, "max", "interval"]
    found: dict[str, Any] = dict.fromkeys(names)
    if len(values_n) and not not_finite:
        found |= {"mean": values_n.mean(), "std": values_n.std(), "min": values_n.min(), "max": values_n.max()}
        found |= dict(zip(_QUANTILES, np.quantile(values_n, list(_QUANTILES.values())), strict=True))
        found = {name: None if value is None else float(value) for name, value in found.items()}
        if len(values_n) > 1:
            found["interval"] = bootstrap.mean_interval(values_n, seed, RESAMPLES)["interval"]
    return found | {"not_finite": not_finite}
