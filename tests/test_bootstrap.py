"""Intervals of the bootstrap: as wide as theory says, and the resamples are those of their seed."""

import numpy as np
import pytest

from aedist.bootstrap import mean_interval, ratio_interval
from aedist.keys import key


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = mean_interval(values, seed=1)
    assert found == mean_interval(values, seed=1)
    half = 1.96 * values.std() / 20
    assert found["interval"] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.1 * half)


@pytest.mark.parametrize("count", [1, 7, 20_000])
def test_resampling_in_blocks_is_resampling_one_by_one(count: int) -> None:
    values = np.random.default_rng(0).normal(size=count)
    rng = np.random.default_rng(key(5, count))
    means = [values[rng.integers(0, count, count)].mean() for _ in range(40)]
    assert mean_interval(values, 5, 40)["interval"] == np.quantile(means, [0.025, 0.975]).tolist()


def test_a_ratio_of_means_is_told_where_the_mean_below_is_surely_positive() -> None:
    under = np.random.default_rng(0).normal(1, 0.1, 200)
    assert ratio_interval(3 * under, under, 0) == {"ratio": pytest.approx(3), "interval": [pytest.approx(3)] * 2}
    assert ratio_interval(under, under - 1, 0) is None
