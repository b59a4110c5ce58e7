"""Paths between encodings: the straight line, and the arc.

Both take t from 0 to 1 and are float64 (steps, d), with the two ends exactly first and last.
"""

import torch
from torch import Tensor

from aedist.errors import UserError

_OPPOSITE = 1e-6
"""Radians from the straight angle within which two directions are opposite."""


def linear(a_d: Tensor, b_d: Tensor, steps: int) -> Tensor:
    """(1 - t) a + t b."""
    t_s1 = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    return torch.lerp(a_d.double(), b_d.double(), t_s1)


def spherical(a_d: Tensor, b_d: Tensor, steps: int) -> Tensor:
    """The direction moves along the great circle at a steady angle, the norm linearly.

    Shoemake, "Animating rotation with quaternion curves", 1985, is for vectors of length 1. Encodings
    have lengths of their own: what he says holds for their directions here, and their lengths are interpolated by
    themselves. Between vectors of one direction, or where one is zero and has none, this is the straight line.

    Raises:
        UserError: if the two point in opposite directions, between which there is no shortest arc.
    """
    a_d, b_d = a_d.double(), b_d.double()
    norms = a_d.norm(), b_d.norm()
    if not norms[0] or not norms[1]:
        return linear(a_d, b_d, steps)
    u, v = a_d / norms[0], b_d / norms[1]
    theta = angle(a_d, b_d)
    if not has_arc(a_d, b_d):
        raise UserError("the two encodings point in opposite directions, so no arc joins them; take another pair")
    if theta < 1e-6:
        return linear(a_d, b_d, steps)
    t_s1 = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    direction = (torch.sin((1 - t_s1) * theta) * u + torch.sin(t_s1 * theta) * v) / torch.sin(theta)
    path = direction * torch.lerp(norms[0], norms[1], t_s1)
    path[0], path[-1] = a_d, b_d
    return path


def has_arc(a_d: Tensor, b_d: Tensor) -> bool:
    """Whether a shortest arc joins two vectors: not where they point in opposite directions."""
    return not a_d.any() or not b_d.any() or float(angle(a_d, b_d)) <= torch.pi - _OPPOSITE


def angle(a_d: Tensor, b_d: Tensor) -> Tensor:
    """The angle between two vectors in radians, 0 to pi; accurate for small and for nearly opposite ones.

    Kahan's formula: twice the arctangent of |u - v| / |u + v|.
    """
    u, v = a_d / a_d.norm(), b_d / b_d.norm()
    return 2 * torch.atan2((u - v).norm(), (u + v).norm())
