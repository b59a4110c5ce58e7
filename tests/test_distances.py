"""FID, KID, precision and recall are torchmetrics' and torch-fidelity's, and nothing makes them crash or lie."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kernel_mmd, kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_full
from torchmetrics.image import FrechetInceptionDistance, KernelInceptionDistance

from aedist.evaluation.measures.distances import DEFINITIONS, HIGHER_IS_BETTER, compare, fid, kid, precision_recall
from aedist.keys import permutation


def features(num: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    """Correlated features of which a third are zero, as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim)) / math.sqrt(dim)
    return (torch.randn(num, dim, generator=generator) @ mixing + 0.4 + shift).clamp(min=0)


class Flat(nn.Module):
    """Takes an image for its own features."""

    num_features = 12

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).double()


def as_images(x_nd: Tensor) -> Tensor:
    return x_nd.reshape(-1, 3, 2, 2).double()


def test_fid_is_torchmetrics() -> None:
    x, y = features(400, 12, 1), features(250, 12, 2, 0.3)
    theirs = FrechetInceptionDistance(Flat(), normalize=True, input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    theirs.update(as_images(x), real=True)
    theirs.update(as_images(y), real=False)
    expected = float(theirs.compute())
    assert expected > 0.1
    assert fid(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("num_x", "num_y"), [(300, 500), (20, 500), (20, 30)])
def test_fid_is_torch_fidelitys(num_x: int, num_y: int) -> None:
    """Of more images than features, and of fewer."""
    x, y = features(num_x, 40, 1), features(num_y, 40, 2, 0.3)
    statistics = [fid_features_to_statistics(z) for z in (x, y)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid(x, y) == pytest.approx(expected, rel=1e-5)


def test_fid_of_gaussians_that_are_known() -> None:
    """Of independent numbers with standard deviations s and t: |difference of means|^2 + sum (s - t)^2."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(50_000, 3, generator=generator, dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0))[0] * math.sqrt(len(x) - 1)  # mean zero, covariance one, to the last bits
    x -= x.mean(0)
    s, t = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([3.0, 2.5, 1.0])
    assert fid(x * s, x[:, [1, 2, 0]] * t + 2) == pytest.approx(3 * 4 + 4 + 0.25 + 1, rel=1e-8)


@pytest.mark.parametrize("num", [2, 10, 100, 700])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_set_is_at_no_distance_from_itself(num: int, offset: float) -> None:
    x = features(num, 300, 5).double() + offset
    assert 0 <= fid(x, x) < 1e-6
    assert 0 <= fid(x, x.flip(0)) < 1e-6
    y = features(num, 300, 6, 0.2).double() + offset
    assert fid(x, y) == pytest.approx(fid(y, x), rel=1e-12)
    assert fid(x, y) == pytest.approx(fid(x - offset, y - offset), rel=1e-8)
    assert fid(x, y) > 0.1


def test_fid_in_chunks_is_fid() -> None:
    x, y = features(20_000, 6, 1), features(9_000, 6, 2, 0.1)
    covariances = [torch.cov(z.double().T) for z in (x, y)]
    gap = x.double().mean(0) - y.double().mean(0)
    common = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt().sum()
    expected = gap.square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * common
    assert fid(x, y) == pytest.approx(float(expected), rel=1e-9)


def test_kid_of_few_images_is_both_libraries_with_one_subset_of_all() -> None:
    x, y = features(60, 12, 1), features(60, 12, 2, 0.3)
    mean, std = kid(x, y, seed=0)
    theirs = KernelInceptionDistance(Flat(), normalize=True, subsets=1, subset_size=60).set_dtype(torch.float64)
    theirs.update(as_images(x), real=True)
    theirs.update(as_images(y), real=False)
    assert mean == pytest.approx(float(theirs.compute()[0]), abs=1e-10)
    options = {"kid_subsets": 1, "kid_subset_size": 60, "rng_seed": 0, "verbose": False}
    other = kid_features_to_metric(x.double(), y.double(), **options)
    assert mean == pytest.approx(other["kernel_inception_distance_mean"], abs=1e-10)
    assert std is None
    assert mean > 0.001


def test_kid_of_many_images_is_the_mean_over_seeded_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aedist.evaluation.measures.distances._SUBSETS", 8)  # of 100, which take long
    x, y = features(1100, 4, 1), features(1200, 4, 2, 0.1)
    values = [
        kernel_mmd(*(z[permutation(len(z), 3, s, side)[:1000]].double().numpy() for side, z in enumerate((x, y))))
        for s in range(8)
    ]
    mean, std = kid(x, y, seed=3)
    assert mean == pytest.approx(np.mean(values), abs=1e-10)
    assert std == pytest.approx(np.std(values), abs=1e-10)
    assert kid(x, y, seed=4) != (mean, std)


def test_kid_of_sets_of_unequal_size_is_the_formula() -> None:
    x, y = features(9, 5, 1).double(), features(4, 5, 2).double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return ((a @ b.T) / 5 + 1) ** 3

    within = [(kernel(z, z).sum() - kernel(z, z).trace()) / (len(z) * (len(z) - 1)) for z in (x, y)]
    expected = sum(within) - 2 * kernel(x, y).mean()
    assert kid(x, y, seed=0)[0] == pytest.approx(float(expected), abs=1e-12)


def test_kid_is_unbiased_where_fid_is_not() -> None:
    """Two halves of one set: KID is zero up to its spread, and FID of few images is far from it."""
    x = features(1600, 30, 7)
    mean, _ = kid(x[:800], x[800:], seed=0)
    assert abs(mean) < 0.002
    assert fid(x[:40], x[40:80]) > 5 * fid(x[:800], x[800:])


@pytest.mark.parametrize(("num_x", "num_y", "k"), [(1100, 1300, 3), (40, 30, 2)])
def test_precision_and_recall_are_torch_fidelitys(num_x: int, num_y: int, k: int) -> None:
    x, y = features(num_x, 6, 1).double(), features(num_y, 6, 2, 0.3).double() * 0.8
    expected = calculate_precision_recall_full(y, x, k)  # the judged first
    assert precision_recall(x, y, k) == pytest.approx(expected, abs=1e-6)  # theirs are averaged in single precision
    assert 0.1 < expected[1] < expected[0] <= 1


def test_precision_and_recall_of_sets_that_are_known() -> None:
    x = features(50, 20, 1)
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x, x + 1e4) == (0, 0)
    assert precision_recall(x, x[:1].expand(9, -1)) == (1, 1 / 50)  # samples that collapsed to one image
    alike = x[:1].expand(9, -1)
    assert precision_recall(alike, alike) == (1, 1)
    assert precision_recall(alike, alike + 1) == (0, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    x = features(10, 6, 1)
    y = x.clone()
    y[3, 2] = y[4, 1] = bad
    for distance in (fid, lambda a, b: kid(a, b, 0), precision_recall):
        for pair in ((x, y), (y, x)):
            with pytest.raises(ValueError, match=r"^the features of 2 of 10 images are not finite$"):
                distance(*pair)
    found = compare(x, torch.full_like(x, bad), seed=0)
    assert found["flags"] == [
        "No FID, KID, precision and recall: the features of 10 of 10 images are not finite.",
    ]
    assert (found["fid"], found["kid"], found["precision"]) == (None, {"mean": None, "std": None}, None)


def test_features_too_large_to_be_squared_are_refused() -> None:
    x = features(10, 6, 1).double()
    with pytest.raises(ValueError, match="too large"):
        fid(x, x * 1e200)


@pytest.mark.parametrize(
    ("num", "words"),
    [
        (0, ["No FID, KID: each set needs 2 images, and one has 0."]),
        (1, ["No FID, KID: each set needs 2 images, and one has 1."]),
        (3, []),
        (4, None),
    ],
)
def test_too_few_images_are_told(num: int, words: list[str] | None) -> None:
    found = compare(features(9, 6, 1), features(num, 6, 2), seed=0)
    json.dumps(found, allow_nan=False)
    assert found["num_images"] == num
    assert (found["fid"] is None) == (found["kid"]["mean"] is None) == (num < 2)
    assert (found["recall"] is None) == (num < 4)
    few = f"No precision and recall: each set needs 4 images, and one has {num}."
    singular = f"The covariance of {num} images is singular in 6 dimensions"
    assert found["flags"][: len(words or [])] == (words or [])
    assert (few in found["flags"]) == (num < 4)
    assert any(flag.startswith(singular) for flag in found["flags"]) == (num >= 2)
    assert found["flags"][-1] == f"{num} images are compared with 9 of the reference."


def test_enough_images_need_no_flag() -> None:
    found = compare(features(30, 6, 1), features(30, 6, 2), seed=0)
    assert found["flags"] == []
    assert found["fid"] == fid(features(30, 6, 1), features(30, 6, 2))
    assert found["kid"] == {"mean": kid(features(30, 6, 1), features(30, 6, 2), 0)[0], "std": None}
    assert set(DEFINITIONS) == set(HIGHER_IS_BETTER) == {"fid", "kid", "precision", "recall"}
