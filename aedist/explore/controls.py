"""What a vector must beat: random steps of its length, in any direction and in the encodings' own directions.

A step in any direction spreads its length over all numbers of the encoding. Where a decoder takes no notice of most of
them, as where a variational model has left them to the prior, such a step is nearly doing nothing. The difference
between the encodings of two random images lies where encodings do differ, so the decoder takes notice of it.
"""

import numpy as np
from torch import Tensor

from aedist.keys import key
from aedist.noise import keyed_normal

_ISOTROPIC, _BETWEEN = 1, 2  # what a key is for

DEFINITIONS = {
    "random_isotropic": "That encoding with a random vector of the same length, in any direction of all numbers of the "
    "encoding, added, decoded; mean over the draws.",
    "random_between_images": "That encoding with the difference between the encodings of two random training images, "
    "scaled to the same length, added, decoded; mean over the draws.",
}


def isotropic(length: float, dim: int, draws: int, seed: int) -> list[Tensor]:
    """Steps of that length whose directions are uniform on the sphere, each float64 (dim,)."""
    directions = (keyed_normal((dim,), seed, _ISOTROPIC, number).double() for number in range(draws))
    return [_scaled(direction_d, length) for direction_d in directions]


def between_images(length: float, z_nd: Tensor, draws: int, seed: int) -> list[Tensor]:
    """Steps of that length from one of the encodings, two or more, towards another, each float64 (d,).

    Two encodings that are equal have no direction between them, and give no step at all.
    """
    steps = list[Tensor]()
    for number in range(draws):
        one, other = np.random.default_rng(key(seed, _BETWEEN, number)).choice(len(z_nd), 2, replace=False).tolist()
        steps.append(_scaled(z_nd[one] - z_nd[other], length))
    return steps


def _scaled(direction_d: Tensor, length: float) -> Tensor:
    norm = float(direction_d.norm())
    return direction_d * (length / norm) if norm else direction_d
