"""What encodings tell: against formulas written out in numpy, by invariants, and where there is little or nothing."""

import json
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from aedist.evaluation.measures import latents
from aedist.evaluation.measures.aggregate import prior_gap, warn_of_gap
from aedist.evaluation.measures.dimensions import over_dimensions
from aedist.evaluation.measures.latents import analyse


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def rotation(d: int) -> torch.Tensor:
    return torch.linalg.qr(normal(d, d, seed=9)).Q


def test_the_analysis_of_the_notebook_on_a_relu_encoding() -> None:
    z_nd = (normal(500, 8) * torch.tensor([1.0, 2, 1, 1, 0.5, 1, 1, 1e-3])).relu()
    z_nd[:, 1] = 0  # dead
    z_nd[:, 5] = 3  # the same for every image, but alive
    found, z = analyse(z_nd), z_nd.numpy()
    assert (found["dimensions"], found["num_images"], found["not_finite"]) == (8, 500, 0)
    assert found["active_dimensions"] == 5, "not the dead, the constant, nor the one that hardly moves"
    assert found["constant"] == 2
    assert found["never_positive"] == 1
    assert found["mean_activation"] == pytest.approx(z.mean())
    assert found["total_variance"] == pytest.approx(z.var(0).sum())
    assert found["std"]["values"] == pytest.approx(z.std(0).tolist())
    assert found["active_units"] is found["kl"] is found["prior_gap"] is None
    assert found["warnings"] == []


def test_active_dimensions_do_not_depend_on_the_scale_of_encodings() -> None:
    z_nd = normal(200, 6) * torch.tensor([1, 0.5, 0.02, 0.005, 0, 0.3])
    assert [analyse(z_nd * scale)["active_dimensions"] for scale in (1e-5, 1, 1e5)] == [4, 4, 4]


@pytest.mark.parametrize(("n", "d"), [(60, 7), (7, 60), (30, 30)])
def test_the_spectrum_is_that_of_the_covariance(n: int, d: int) -> None:
    z_nd = normal(n, d) * torch.linspace(0.1, 3, d, dtype=torch.float64) + 1e4
    found = analyse(z_nd)
    variances = np.linalg.svd(z_nd.numpy() - z_nd.numpy().mean(0), compute_uv=False) ** 2
    shares = variances[variances > 1e-9] / variances.sum()
    assert found["effective_rank"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert found["components_95"] == int(np.argmax(np.cumsum(shares) >= 0.95)) + 1
    turned = analyse((z_nd - 1e4) @ rotation(d) * 7 - 3)
    assert turned["effective_rank"] == pytest.approx(found["effective_rank"], rel=1e-6)
    assert turned["total_variance"] == pytest.approx(49 * found["total_variance"])


def test_directions_of_equal_variance_are_the_effective_rank() -> None:
    corners = torch.cat([torch.eye(5, dtype=torch.float64), -torch.eye(5, dtype=torch.float64)])
    found = analyse(torch.cat([corners, torch.zeros(10, 3, dtype=torch.float64)], dim=1))
    assert (found["effective_rank"], found["components_95"]) == (pytest.approx(5), 5)


def test_a_larger_spectrum_is_that_of_evenly_chosen_images(monkeypatch: pytest.MonkeyPatch) -> None:
    z_nd = normal(95, 40)
    monkeypatch.setattr(latents, "_MOST_IN_SPECTRUM", 20)
    some = analyse(z_nd)["effective_rank"]
    monkeypatch.undo()
    assert some == analyse(z_nd[[94 * i // 19 for i in range(20)]])["effective_rank"]


def test_a_posterior_that_is_the_prior_has_no_kl_no_gap_and_has_collapsed() -> None:
    zeros, ones = torch.zeros(10, 4), torch.ones(10, 4)
    found = analyse(zeros.double(), zeros, ones)
    gap = found["prior_gap"]
    assert found["kl"]["values"] == [0, 0, 0, 0]
    assert found["active_units"] == 0
    names = ("mean_norm", "mean_largest", "covariance_frobenius", "covariance_largest", "nats", "nats_per_dimension")
    assert [gap[name] for name in names] == [0] * 6
    assert gap["marginals"]["values"] == [0, 0, 0, 0]
    assert any("has collapsed" in sentence for sentence in found["warnings"])
    assert not any("far from the prior" in sentence for sentence in found["warnings"])


def test_the_gap_is_the_divergence_of_the_distribution_with_the_aggregate_moments() -> None:
    mean_nd, variance_nd = normal(300, 5) @ normal(5, 5, seed=1) + 0.5, normal(300, 5, seed=2).exp()
    gap = prior_gap(mean_nd, variance_nd.mean(0))
    mean_d = mean_nd.mean(0)
    covariance = mean_nd.T.cov(correction=0) + variance_nd.mean(0).diag()
    identity = torch.eye(5, dtype=torch.float64)
    aggregate = MultivariateNormal(mean_d, covariance)
    expected = float(kl_divergence(aggregate, MultivariateNormal(torch.zeros(5).double(), identity)))
    assert gap["nats"] == pytest.approx(expected)
    assert gap["nats_per_dimension"] == pytest.approx(expected / 5)
    assert gap["mean_norm"] == pytest.approx(float(mean_d.norm()))
    assert gap["mean_largest"] == pytest.approx(float(mean_d.abs().max()))
    assert gap["covariance_frobenius"] == pytest.approx(float((covariance - identity).norm()))
    assert gap["covariance_largest"] == pytest.approx(float(torch.linalg.matrix_norm(covariance - identity, 2)))
    one_by_one = kl_divergence(Normal(mean_d, covariance.diag().sqrt()), Normal(0.0, 1.0))
    assert gap["marginals"]["values"] == pytest.approx(one_by_one.tolist())


def test_the_gap_of_draws_of_the_prior_is_what_chance_explains() -> None:
    gap = prior_gap(normal(2000, 20), torch.zeros(20, dtype=torch.float64))
    assert gap["nats"] == pytest.approx(gap["nats_by_chance"], rel=0.2)
    assert warn_of_gap(gap, 20) == []


def test_the_gap_sees_correlation_and_a_warning_follows() -> None:
    common = normal(400, 1)
    z_nd = 0.1 * normal(400, 10, seed=1) + common
    gap = prior_gap(z_nd, torch.full((10,), 0.01, dtype=torch.float64))
    assert gap["marginals"]["max"] < 0.1
    assert gap["nats_per_dimension"] > 0.3
    assert "far from the prior" in " ".join(warn_of_gap(gap, 10))
    off = prior_gap(normal(400, 20) + torch.tensor([2.0] + [0.0] * 19), torch.zeros(20, dtype=torch.float64))
    assert "nats in one number" in " ".join(warn_of_gap(off, 20))


def test_a_variational_models_numbers() -> None:
    z_nd = normal(400, 6) * torch.tensor([1, 1, 1, 0.2, 0.05, 0.001])
    kl_nd = torch.rand(400, 6, generator=torch.Generator().manual_seed(0))
    found = analyse(z_nd, kl_nd, (1 - z_nd.var(0)).clamp(min=0.02).expand(400, -1).float())
    assert found["active_units"] == 4
    assert found["kl"]["values"] == pytest.approx(kl_nd.double().mean(0).tolist())
    assert found["kl_total"] == pytest.approx(float(kl_nd.double().sum(1).mean()))
    assert latents.active_units(z_nd).tolist() == [True] * 4 + [False] * 2
    assert found["warnings"] == []


def test_few_numbers_in_use_are_warned_of() -> None:
    z_nd = normal(100, 20)
    z_nd[:, 1:] *= 1e-4
    assert analyse(z_nd)["warnings"] == [
        "Only 1 of 20 numbers of an encoding differ among images: the others are not used."
    ]
    few = analyse(z_nd, torch.full((100, 20), 1.0), torch.ones(100, 20))["warnings"]
    assert few == [
        "The posterior has collapsed in most numbers: only 1 of 20 carry information, the others are the prior's noise."
    ]


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("is_variational", [False, True])
def test_no_images_one_and_two_alike_end_in_defined_nulls(n: int, is_variational: bool) -> None:
    z_nd = torch.full((n, 3), 0.7, dtype=torch.float64)
    found = analyse(z_nd, *((torch.ones(n, 3), torch.ones(n, 3)) if is_variational else ()))
    json.dumps(found, allow_nan=False)
    assert found["effective_rank"] is found["components_95"] is None
    assert found["mean_activation"] == (None if n == 0 else pytest.approx(0.7))
    assert found["active_dimensions"] == (None if n < 2 else 0)
    assert (found["kl"] is None) == (n == 0 or not is_variational)
    assert any("Every image has the same encoding" in told for told in found["warnings"]) == (n == 2)


def test_what_single_precision_leaves_of_a_constant_is_no_variance() -> None:
    z_nd = (torch.full((50, 4), 0.3) * (1 + 1e-7 * (torch.arange(50) % 3)[:, None])).double()
    found = analyse(z_nd)
    assert (found["active_dimensions"], found["constant"], found["effective_rank"]) == (0, 4, None)


def test_images_whose_numbers_are_not_finite_are_left_out_and_warned_of() -> None:
    z_nd, kl_nd, variance_nd = normal(50, 4), torch.rand(50, 4), torch.rand(50, 4)
    z_nd[3, 1], kl_nd[7, 0], variance_nd[9, 2] = torch.nan, torch.inf, -torch.inf
    kept = [i for i in range(50) if i not in (3, 7, 9)]
    found, without = analyse(z_nd, kl_nd, variance_nd), analyse(z_nd[kept], kl_nd[kept], variance_nd[kept])
    assert found.pop("not_finite") == 3
    assert found["warnings"][0].startswith("The encodings of 3 of 50 images are not finite")
    assert without.pop("not_finite") == 0
    without["warnings"] = found["warnings"][:1] + without["warnings"]
    assert found == without
    nothing = analyse(torch.full((5, 4), torch.nan).double(), torch.ones(5, 4), torch.ones(5, 4))
    assert (nothing["num_images"], nothing["not_finite"], nothing["total_variance"]) == (0, 5, None)


def test_a_posterior_without_any_variance_has_a_gap_without_nats() -> None:
    found = analyse(torch.zeros(4, 2).double(), torch.full((4, 2), 50.0), torch.zeros(4, 2))
    assert found["prior_gap"]["nats"] is None
    assert found["prior_gap"]["covariance_largest"] == 1
    json.dumps(found, allow_nan=False)
    assert any("S has no inverse" in told for told in found["warnings"])


def test_lists_of_many_numbers_become_quantiles() -> None:
    values = normal(1025)
    found = over_dimensions(values)
    assert found["values"] is None
    assert found["q25"] == pytest.approx(np.quantile(values.numpy(), 0.25))
    assert over_dimensions(values[:1024])["values"] == values[:1024].tolist()
