"""Randomness by key: every random number is a pure function of integers that say what it is for.

Nothing here has a history, so no generator state needs saving, and any process can compute any other's
numbers. The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014, figure 14): exact integer arithmetic, so the numbers do not
depend on a library's version, unlike ``numpy.random.Generator.permutation``.
"""

import numpy as np
from numpy.typing import NDArray

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One SplitMix64 output for each 64-bit value, element by element."""
    with np.errstate(over="ignore"):
        z = values + _GAMMA
        z = (z ^ (z >> np.uint64(30))) * _MULTIPLY_1
        z = (z ^ (z >> np.uint64(27))) * _MULTIPLY_2
        return z ^ (z >> np.uint64(31))


def key(*parts: int) -> int:
    """A 64-bit key for what the non-negative integers ``parts`` name, in their order."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = mix(state ^ np.array([part], dtype=np.uint64))
    return int(state[0])


def torch_seed(*parts: int) -> int:
    """``key`` as a seed that ``torch.Generator.manual_seed`` takes (63 bits)."""
    return key(*parts) >> 1


def permutation(size: int, *parts: int) -> NDArray[np.int64]:
    """The permutation of ``range(size)`` named by ``parts``: positions sorted by their keyed hash.

    Equal hashes keep their order (a stable sort), so the result is the same everywhere.
    """
    with np.errstate(over="ignore"):
        hashes = mix(mix(np.arange(size, dtype=np.uint64)) ^ np.uint64(key(*parts)))
    return np.argsort(hashes, kind="stable").astype(np.int64)
