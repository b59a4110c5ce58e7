"""The baselines are measured as a model is, tell what they were allowed, and a model that loses to PCA is told so."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from aedist.evaluation.measures import baselines
from aedist.evaluation.measures.baselines import DEFINITIONS, Baselines
from aedist.evaluation.measures.metrics import METRICS
from aedist.evaluation.measures.metrics import measure as metrics
from aedist.evaluation.measures.summary import summarise
from samples import image

SHAPE = (16, 16, 3)
FITTED_TO = "the first 60 images of blobs/train"
NAMES = ["mean_image", "pca", "jpeg", "webp"]


def pictures(count: int, seed: int) -> Tensor:
    return torch.from_numpy(np.stack([image(seed, number, SHAPE) for number in range(count)]))


@pytest.fixture(scope="module")
def fitted() -> Baselines:
    return baselines.fit(pictures(60, 1).split(16), 60, SHAPE, 8)


@pytest.fixture(scope="module")
def rows(fitted: Baselines) -> dict[str, Tensor]:
    """Of 20 other images, as evaluation batches of 8 measure them."""
    pieces = [baselines.measure(fitted, batch, metrics) for batch in pictures(20, 2).split(8)]
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def test_each_image_has_a_row_of_every_metric_of_every_baseline(rows: dict[str, Tensor]) -> None:
    assert set(rows) == {f"{name}/{metric}" for name in NAMES for metric in METRICS} | {"jpeg/bytes", "webp/bytes"}
    assert {(tuple(values.shape), values.dtype) for values in rows.values()} == {((20,), torch.float64)}
    assert all(values.isfinite().all() for values in rows.values())


def test_baselines_are_measured_by_the_metrics_of_the_model(fitted: Baselines, rows: dict[str, Tensor]) -> None:
    images = pictures(20, 2)
    expected = metrics(images, fitted.pca.reconstruct(images))
    torch.testing.assert_close(rows["pca/ssim"], expected[:, list(METRICS).index("ssim")], atol=1e-4, rtol=0)
    mean = pictures(60, 1).double().mean(0).div(255).permute(2, 0, 1)[None].expand(20, -1, -1, -1)
    torch.testing.assert_close(rows["mean_image/mse"], metrics(images, mean)[:, 0])
    assert rows["pca/mse"].mean() < rows["mean_image/mse"].mean()


def test_a_distance_of_pictures_is_taken_too(fitted: Baselines) -> None:
    def brightest(x_bhwc: Tensor, y_bhwc: Tensor) -> Tensor:
        assert x_bhwc.dtype == y_bhwc.dtype == torch.uint8
        return (x_bhwc.flatten(1).amax(1).float() - y_bhwc.flatten(1).amax(1).float()).abs()

    found = baselines.measure(fitted, pictures(3, 2), metrics, brightest)
    assert all(found[f"{name}/lpips"].shape == (3,) for name in NAMES)


def test_it_travels_between_processes(fitted: Baselines, rows: dict[str, Tensor]) -> None:
    again = baselines.measure(pickle.loads(pickle.dumps(fitted)), pictures(20, 2)[:8], metrics)
    assert all(torch.equal(values, rows[name][:8]) for name, values in again.items())


def test_the_record_tells_what_each_was_allowed_and_how_it_did(fitted: Baselines, rows: dict[str, Tensor]) -> None:
    blocks, _ = baselines.describe(fitted, rows, FITTED_TO, seed=0)
    json.dumps(blocks, allow_nan=False)
    assert list(blocks) == NAMES
    assert blocks["mean_image"]["words"] == "the mean of the first 60 images of blobs/train"
    assert blocks["pca"]["words"] == "PCA with 8 components, fitted to the first 60 images of blobs/train"
    assert (blocks["pca"]["components"], blocks["pca"]["note"]) == (8, None)
    assert (blocks["jpeg"]["bytes_allowed"], blocks["jpeg"]["images_over"]) == (32, 20)
    needs = rows["jpeg/bytes"].mean().item() / 32
    assert blocks["jpeg"]["note"] == f"JPEG needs {needs:.1f} times the bytes at its lowest quality for every image"
    for name in NAMES:
        assert blocks[name]["metrics"] == {metric: summarise(rows[f"{name}/{metric}"].numpy(), 0) for metric in METRICS}
    assert {"mean_image", "pca", "jpeg", "webp", "model_minus_pca"} <= DEFINITIONS.keys()


def test_codecs_that_have_room_have_no_note(rows: dict[str, Tensor], fitted: Baselines) -> None:
    roomy = Baselines(fitted.pca, 1000)
    blocks, _ = baselines.describe(roomy, rows, FITTED_TO, seed=0)
    assert (blocks["webp"]["images_over"], blocks["webp"]["note"]) == (0, None)
    assert "1,000 numbers are allowed" in blocks["pca"]["note"], "of which the fit has eight"


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (0.01, "The model loses to PCA with 8 components, fitted to the first 60 images of blobs/train: its mean"),
        (-0.01, None),
        (0.0, "The model is not shown to be better than PCA with 8 components"),
    ],
)
def test_a_model_that_loses_to_pca_is_told_so(
    fitted: Baselines, rows: dict[str, Tensor], difference: float, expected: str | None
) -> None:
    """On the same images: that images differ much more than the two reconstructions do does not hide it."""
    wobble = torch.linspace(-1, 1, 20, dtype=torch.float64) * 1e-3
    model = {"mse": rows["pca/mse"] + difference + wobble}
    blocks, warnings = baselines.describe(fitted, rows | model, FITTED_TO, seed=0)
    found = blocks["pca"]["model_minus_pca"]
    assert found["mean"] == pytest.approx(difference, abs=1e-12)
    assert found["interval"][0] < difference < found["interval"][1]
    assert len(warnings) == (expected is not None)
    if expected:
        assert warnings[0].startswith(expected)


def test_no_images_one_image_and_a_model_that_is_not_finite(fitted: Baselines, rows: dict[str, Tensor]) -> None:
    blocks, warnings = baselines.describe(fitted, {}, FITTED_TO, seed=0)
    assert [block["metrics"] for block in blocks.values()] == [None] * 4
    assert (blocks["pca"]["model_minus_pca"], warnings) == (None, [])
    one = {name: values[:1] for name, values in rows.items()}
    blocks, warnings = baselines.describe(fitted, one | {"mse": one["pca/mse"] + 1}, FITTED_TO, seed=0)
    assert blocks["pca"]["model_minus_pca"] == {"mean": pytest.approx(1), "interval": None}
    assert warnings[0].startswith("The model is not shown to be better than PCA"), "one image tells nothing of others"
    assert "its mean squared error is 1.00000 higher" in warnings[0]
    lost = {"mse": rows["pca/mse"].index_fill(0, torch.tensor([3]), torch.nan)}
    blocks, warnings = baselines.describe(fitted, rows | lost, FITTED_TO, seed=0)
    assert (blocks["pca"]["model_minus_pca"], warnings) == (None, [])
