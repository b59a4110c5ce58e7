"""Paths and directions between encodings, against what their definitions say."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from aedist.errors import UserError
from aedist.explore.directions import axes, principal_components
from aedist.explore.encodings import Encodings
from aedist.explore.paths import angle, linear, spherical


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_the_line_and_the_arc_begin_and_end_at_the_encodings() -> None:
    a, b = vectors(2, 7)
    for path in (linear(a, b, 5), spherical(a, b, 5)):
        assert path.shape == (5, 7)
        assert torch.equal(path[0], a)
        assert torch.equal(path[-1], b)
    assert torch.allclose(linear(a, b, 3)[1], (a + b) / 2)


def test_the_arc_turns_steadily_and_its_norm_grows_linearly() -> None:
    a, b = vectors(2, 7)
    path = spherical(a, 3 * b, 6)
    turned = [float(angle(one, other)) for one, other in pairwise(path)]
    assert turned == pytest.approx([float(angle(a, b)) / 5] * 5)
    norms = path.norm(dim=1)
    assert torch.allclose(norms.diff(), (norms[-1] - norms[0]) / 5)
    plane = torch.linalg.matrix_rank(torch.cat([path, a[None], b[None]]), tol=1e-9)
    assert int(plane) == 2, "the arc stays in the plane of both"


def test_the_arc_is_the_line_where_there_is_no_arc_and_refused_between_opposites() -> None:
    a = vectors(5)
    for b in (2 * a, torch.zeros(5, dtype=torch.float64)):
        assert torch.allclose(spherical(a, b, 4), linear(a, b, 4))
    with pytest.raises(UserError, match="opposite"):
        spherical(a, -2 * a, 4)


def test_axes_are_sorted_by_kl_or_else_by_variance() -> None:
    z_nd = vectors(200, 4) * torch.tensor([1.0, 3.0, 2.0, 0.5])
    found = axes(Encodings(z_nd, None), 3)
    assert [direction.name for direction in found] == ["number 1", "number 2", "number 0"]
    assert [direction.std for direction in found] == pytest.approx(z_nd.numpy().std(0)[[1, 2, 0]])
    assert found[0].unit_d.tolist() == [0, 1, 0, 0]
    by_kl = axes(Encodings(z_nd, torch.tensor([0.1, 0.2, 0.3, 4.0])), 2)
    assert [(direction.name, direction.measure) for direction in by_kl] == [("number 3", "KL"), ("number 2", "KL")]


@pytest.mark.parametrize(("n", "d"), [(60, 6), (6, 60)])
def test_principal_components_are_those_of_the_singular_value_decomposition(n: int, d: int) -> None:
    z_nd = vectors(n, d) * torch.linspace(1, 3, d, dtype=torch.float64)
    found = principal_components(Encodings(z_nd, None), 50)
    centred = z_nd - z_nd.mean(0)
    _, singular, right = np.linalg.svd(centred.numpy(), full_matrices=False)
    rank = min(n - 1, d)
    assert len(found) == rank
    assert [direction.std for direction in found] == pytest.approx(singular[:rank] / math.sqrt(n))
    assert sum(direction.measured for direction in found) == pytest.approx(1)
    for direction, row in zip(found, right, strict=False):
        assert abs(float(direction.unit_d @ torch.from_numpy(row))) == pytest.approx(1)
        assert float(direction.unit_d[direction.unit_d.abs().argmax()]) > 0
