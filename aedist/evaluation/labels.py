"""The classes of a split's first images."""

import numpy as np
from numpy.typing import NDArray

from aedist.data.store import ShardStore

NO_CLASS = -1


def labels_of_first(store: ShardStore, count: int) -> NDArray[np.int64]:
    """The class of each of the first ``count`` samples, int64 (count,), ``NO_CLASS`` where a sample has none."""
    if not store.index.classes:
        return np.full(count, NO_CLASS, dtype=np.int64)
    found = (store.label(sample_id) for sample_id in range(count))
    return np.array([NO_CLASS if label is None else label for label in found], dtype=np.int64)
