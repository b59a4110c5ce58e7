"""A value for each number of an encoding, as a record keeps it: all of them where they are few."""

from typing import Any

import torch
from torch import Tensor

MOST_LISTED = 1024
_QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}

DEFINITIONS = {
    "over_dimensions": f"Quantiles over the numbers of an encoding, and as values each number's own, in order; null of "
    f"encodings of more than {MOST_LISTED:,} numbers."
}


def over_dimensions(values_d: Tensor) -> dict[str, Any]:
    """Quantiles over the d numbers, and the values themselves where d is no more than ``MOST_LISTED``.

    All is null where a value is not finite.

    Args:
        values_d: float64 (d,), d at least 1.
    """
    if not values_d.isfinite().all():
        return {**dict.fromkeys(_QUANTILES), "values": None}
    at = torch.tensor(list(_QUANTILES.values()), dtype=torch.float64)
    found: dict[str, Any] = dict(zip(_QUANTILES, torch.quantile(values_d, at).tolist(), strict=True))
    return {**found, "values": values_d.tolist() if len(values_d) <= MOST_LISTED else None}
