"""Paths, directions and densities over encodings, against what their definitions say."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from aedist.errors import UserError
from aedist.explore.bootstrap import mean_interval
from aedist.explore.density import draw, fit_gaussian, fit_mixture, prior
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


@pytest.mark.parametrize("n", [300, 5])
def test_draws_of_the_gaussian_have_the_encodings_mean_and_covariance(n: int) -> None:
    z_nd = vectors(n, 8) @ vectors(8, 8, seed=1) + 5
    drawn = draw(fit_gaussian(z_nd), 4000, seed=3)
    spread = float(z_nd.std())
    assert torch.allclose(drawn.mean(0), z_nd.mean(0), atol=0.1 * spread)
    assert torch.allclose(drawn.T.cov(), z_nd.T.cov(), atol=0.15 * spread**2)


def test_a_mixture_finds_clusters_and_draws_from_each_in_proportion() -> None:
    z_nd = torch.cat([vectors(300, 3) * 0.1 + 10, vectors(100, 3, seed=1) * 0.1 - 10])
    drawn = draw(fit_mixture(z_nd, 2, seed=0), 1000, seed=0)
    high = drawn[:, 0] > 0
    assert float(high.double().mean()) == pytest.approx(0.75, abs=0.05)
    assert torch.allclose(drawn[high].mean(0), torch.full((3,), 10.0, dtype=torch.float64), atol=0.05)
    assert torch.allclose(drawn[~high].T.cov(), z_nd[300:].T.cov(), atol=0.005)


def test_draws_are_named_by_their_seed_and_cooled_by_temperature() -> None:
    density = fit_gaussian(vectors(50, 4))
    assert torch.equal(draw(density, 3, 7), draw(density, 5, 7)[:3])
    assert not torch.equal(draw(density, 3, 7), draw(density, 3, 8))
    assert torch.allclose(draw(density, 3, 7, temperature=0), density.means_kd.expand(3, -1))
    assert torch.allclose(draw(prior(4), 9, 1, temperature=0.5), draw(prior(4), 9, 1) / 2)


def test_too_few_encodings_are_refused() -> None:
    with pytest.raises(UserError, match="--encodings"):
        fit_gaussian(vectors(1, 4))
    with pytest.raises(UserError, match="--components: 3 is refused for 5"):
        fit_mixture(vectors(5, 4), 3, seed=0)


def test_encodings_that_hardly_differ_are_refused_in_a_line() -> None:
    alike_nd = 1e6 + 1e-9 * torch.randn(50, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="5 cannot be fitted to 50 encodings that hardly differ"):
        fit_mixture(alike_nd, 5, 0)


def test_the_interval_of_a_mean_is_as_wide_as_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = mean_interval(values, seed=1)
    assert found == mean_interval(values, seed=1)
    half = 1.96 * values.std() / 20
    assert found["interval"] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.1 * half)
