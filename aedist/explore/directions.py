"""Directions to move an encoding in: its single numbers, or the principal components of many encodings.

A single number of a variational model's vector means something by itself, since the prior is independent in each:
its KL says how much the model uses it. A number of a spatial encoding is one channel at one place, which changes a
patch of the image; there, principal components move all places together and are the better choice.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from aedist.explore.encodings import Encodings


@dataclass(frozen=True)
class Direction:
    """A direction, and how far encodings spread along it."""

    name: str
    unit_d: Tensor
    """float64 (d,), of length 1."""
    std: float
    """The encodings' standard deviation along it."""
    measured: float
    """What directions are sorted by."""
    measure: str
    """What that is: ``KL`` in nats, ``variance``, or the ``share`` of all variance."""


def axes(encodings: Encodings, most: int) -> list[Direction]:
    """The numbers of the encoding with the highest mean KL, where it is known, else with the highest variance."""
    z_nd = encodings.z_nd
    variance_d = z_nd.var(0, correction=0)
    measured_d = variance_d if encodings.kl_d is None else encodings.kl_d
    order = measured_d.sort(descending=True, stable=True).indices[:most].tolist()
    measure = "variance" if encodings.kl_d is None else "KL"
    eye = torch.zeros(len(order), z_nd.shape[1], dtype=torch.float64)
    eye[torch.arange(len(order)), torch.tensor(order, dtype=torch.long)] = 1
    return [
        Direction(f"number {dim}", unit_d, float(variance_d[dim].sqrt()), float(measured_d[dim]), measure)
        for dim, unit_d in zip(order, eye, strict=True)
    ]


def principal_components(encodings: Encodings, most: int) -> list[Direction]:
    """The orthogonal directions in which the encodings vary most; the largest number of each is positive."""
    centred_nd = encodings.z_nd - encodings.z_nd.mean(0)
    n, d = centred_nd.shape
    # the smaller of the two matrices that have the same eigenvalues
    if d <= n:
        values, vectors = torch.linalg.eigh(centred_nd.T @ centred_nd / n)
        units_kd = vectors.T.flip(0)[:most]
    else:
        values, vectors = torch.linalg.eigh(centred_nd @ centred_nd.T / n)
        units_kd = vectors.T.flip(0)[:most] @ centred_nd
    values = values.flip(0).clamp(min=0)[:most]
    total = float(centred_nd.square().sum() / n)
    found = list[Direction]()
    for number, (unit_d, value) in enumerate(zip(units_kd, values.tolist(), strict=True)):
        if value <= total * 1e-12:  # nothing varies in it, so it has no direction
            break
        unit_d = unit_d / unit_d.norm()  # noqa: PLW2901
        sign = unit_d[unit_d.abs().argmax()].sign()
        found.append(Direction(f"component {number + 1}", unit_d * sign, value**0.5, value / total, "share"))
    return found
