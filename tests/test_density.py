"""Densities over encodings: draws have the moments of what they were fitted to, and each draw is its number's."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from aedist.density import CannotFit, draw, fit_gaussian, fit_mixture, prior


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("n", [300, 5])
def test_the_root_of_the_gaussian_has_the_encodings_covariance(n: int) -> None:
    z_nd = vectors(n, 8) @ vectors(8, 8, seed=1) + 5
    density = fit_gaussian(z_nd)
    assert density.roots_krd is not None
    root = density.roots_krd[0]
    assert root.shape == (min(n, 8), 8)
    assert torch.allclose(root.T @ root, z_nd.T.cov())
    assert n <= 8 or torch.allclose(root, root.T), "the symmetric root, whatever signs the eigenvectors have"


def test_a_constant_number_stays_constant_in_draws() -> None:
    z_nd = vectors(100, 5)
    z_nd[:, 2] = 7
    assert torch.allclose(draw(fit_gaussian(z_nd), 10, seed=0)[:, 2], torch.full((10,), 7.0, dtype=torch.float64))


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


def test_a_mixture_is_the_same_whatever_threads_the_environment_allows() -> None:
    z_nd = vectors(2000, 12)
    with threadpool_limits(2):
        one = fit_mixture(z_nd, 5, seed=1)
    with threadpool_limits(1):
        other = fit_mixture(z_nd, 5, seed=1)
    assert one.roots_krd is not None
    assert other.roots_krd is not None
    assert torch.equal(one.weights_k, other.weights_k)
    assert torch.equal(one.means_kd, other.means_kd)
    assert torch.equal(one.roots_krd, other.roots_krd)


@pytest.mark.parametrize("kind", ["prior", "gaussian", "mixture"])
def test_a_draw_is_the_same_to_the_last_bit_whatever_else_is_drawn(kind: str) -> None:
    z_nd = vectors(200, 30)
    density = {"prior": prior(30), "gaussian": fit_gaussian(z_nd), "mixture": fit_mixture(z_nd, 3, seed=0)}[kind]
    all_of_them = draw(density, 301, 7)
    assert torch.equal(draw(density, 3, 7), all_of_them[:3])
    for first, last in ((0, 0), (1, 2), (60, 70), (64, 128), (100, 301), (300, 301), (301, 301)):
        assert torch.equal(draw(density, last - first, 7, first=first), all_of_them[first:last])
    assert not torch.equal(all_of_them, draw(density, 301, 8)), "another seed, other draws"


def test_draws_are_cooled_by_temperature() -> None:
    density = fit_gaussian(vectors(50, 4))
    assert torch.allclose(draw(density, 3, 7, temperature=0), density.means_kd.expand(3, -1))
    assert torch.allclose(draw(prior(4), 9, 1, temperature=0.5), draw(prior(4), 9, 1) / 2)


def test_too_few_encodings_are_refused() -> None:
    with pytest.raises(CannotFit, match="to fewer than 2 encodings, and here are 1"):
        fit_gaussian(vectors(1, 4))
    with pytest.raises(CannotFit, match="3 Gaussians cannot be fitted to 5 encodings, but 1 to 2 can"):
        fit_mixture(vectors(5, 4), 3, seed=0)
    with pytest.raises(CannotFit, match="0 Gaussians"):
        fit_mixture(vectors(5, 4), 0, seed=0)


def test_encodings_that_are_not_finite_are_refused() -> None:
    z_nd = vectors(50, 4)
    z_nd[3, 1], z_nd[9] = torch.inf, torch.nan
    with pytest.raises(CannotFit, match="2 of 50 encodings are not finite"):
        fit_gaussian(z_nd)
    with pytest.raises(CannotFit, match="2 of 50 encodings are not finite"):
        fit_mixture(z_nd, 2, seed=0)


def test_encodings_that_hardly_differ_are_refused_in_a_line() -> None:
    alike_nd = 1e6 + 1e-9 * torch.randn(50, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(CannotFit, match="5 Gaussians cannot be fitted to 50 encodings that hardly differ"):
        fit_mixture(alike_nd, 5, 0)
