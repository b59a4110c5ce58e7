"""Keyed randomness: the published numbers, real permutations, and constants that no version may change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aedist import keys

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
PARTS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4)


def splitmix(state: int) -> int:
    """SplitMix64 in Python's whole numbers, which know no overflow."""
    z = (state + GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def key(*parts: int) -> int:
    """The chain of mixes that the design describes."""
    state = 0
    for part in parts:
        state = splitmix(state ^ part)
    return state


@pytest.mark.parametrize(
    ("seed", "outputs"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
        (
            1234567,
            [
                6457827717110365317,
                3203168211198807973,
                9817491932198370423,
                4593380528125082431,
                16408922859458223821,
            ],
        ),
    ],
)
def test_mix_gives_the_published_outputs_of_splitmix64(seed: int, outputs: list[int]) -> None:
    states = np.array([(seed + i * GAMMA) & MASK for i in range(len(outputs))], dtype=np.uint64)
    assert keys.mix(states).tolist() == outputs


@given(PARTS)
def test_a_key_is_a_chain_of_mixes(parts: list[int]) -> None:
    assert keys.key(*parts) == key(*parts)
    assert keys.torch_seed(*parts) == key(*parts) // 2 < 2**63


@given(st.integers(0, 300), PARTS)
def test_permutation_holds_every_place_once_in_the_order_of_the_hashes(size: int, parts: list[int]) -> None:
    order = keys.permutation(size, *parts)
    assert order.dtype == np.int64
    assert order.tolist() == sorted(range(size), key=lambda place: splitmix(splitmix(place) ^ key(*parts)))


def test_keys_and_permutations_never_drift_between_versions() -> None:
    """These constants are the promise: a run of today goes on tomorrow over the same samples."""
    assert keys.key(0) == 16294208416658607535
    assert keys.key(1, 2, 3) == 15020427595393229491
    assert keys.key(3, 2, 1) == 15432287184251514724
    assert keys.key(2**63 - 1) == 3055647633038352039
    assert keys.permutation(10, 1, 2).tolist() == [0, 9, 3, 6, 8, 4, 7, 5, 1, 2]
    assert keys.permutation(10, 2, 1).tolist() == [4, 3, 0, 1, 8, 6, 7, 9, 2, 5]


def test_permutations_of_different_keys_share_places_only_by_chance() -> None:
    """Of 50 permutations of 1,000, each two agree in one place on average; far more would be a pattern."""
    orders = [keys.permutation(1000, 5, seed) for seed in range(50)]
    agreements = [int((a == b).sum()) for i, a in enumerate(orders) for b in orders[:i]]
    assert np.mean(agreements) == pytest.approx(1.0, abs=0.15)  # 1,225 pairs: standard error 0.03
    assert max(agreements) < 10


def test_every_sample_comes_to_every_place_equally_often() -> None:
    counts = np.zeros((10, 10))
    for seed in range(2000):
        counts[np.arange(10), keys.permutation(10, 9, seed)] += 1
    chi_square = ((counts - 200) ** 2 / 200).sum()
    assert 40 < chi_square < 130  # 81 degrees of freedom: mean 81, standard deviation 12.7
