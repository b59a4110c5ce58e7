"""The metrics are those of scikit-image, image by image, and mean what their definitions say."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from aedist.bootstrap import mean_interval
from aedist.data.pixels import to_bytes, to_unit_range
from aedist.evaluation.measures.metrics import DEFINITIONS, HIGHER_IS_BETTER, METRICS, PSNR_OF_EQUAL_IMAGES, measure
from aedist.evaluation.measures.summary import DEFINITIONS as SUMMARY_DEFINITIONS
from aedist.evaluation.measures.summary import RESAMPLES, summarise
from samples import image

NAMES = list(METRICS)


def pairs(shape: tuple[int, int, int], num: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Originals, uint8 (num, H, W, C), and noisy reconstructions of them, (num, C, H, W), some outside [0, 1]."""
    rng = np.random.default_rng(7)
    originals = np.stack([image(9, number, shape) for number in range(num)])
    noise = rng.normal(0, np.linspace(0.001, 0.5, num)[:, None, None, None], originals.shape)
    return torch.from_numpy(originals), torch.from_numpy(originals / 255 + noise).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("shape", [(28, 28, 1), (12, 12, 1), (11, 11, 1), (17, 31, 3), (64, 64, 3)])
def test_every_image_is_measured_as_by_scikit_image(shape: tuple[int, int, int]) -> None:
    """SSIM over the window's places inside the image: scikit-image's map without its border of half a window."""
    originals, reconstructions = pairs(shape)
    found = measure(originals, reconstructions)
    assert found.dtype == torch.float64
    for row, (original, reconstruction) in enumerate(zip(originals.numpy(), reconstructions.numpy(), strict=True)):
        x = original / 255
        y = np.round(np.clip(reconstruction.transpose(1, 2, 0).astype(np.float64), 0, 1) * 255) / 255
        _, ssim_map = structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=2,
            full=True,
        )
        expected = {
            "mse": ((x - y) ** 2).mean(),
            "mae": np.abs(x - y).mean(),
            "psnr": peak_signal_noise_ratio(x, y, data_range=1),
            "ssim": ssim_map[5:-5, 5:-5].mean(),
        }
        for column, name in enumerate(NAMES):
            assert found[row, column].item() == pytest.approx(expected[name], abs=1e-9), name
    assert found[:, NAMES.index("mse")].diff().min() > 0, "more noise is more error"


@pytest.mark.parametrize("shape", [(28, 28, 1), (17, 31, 3), (160, 120, 3)])
def test_an_image_is_measured_to_the_same_bits_in_every_batch(shape: tuple[int, int, int]) -> None:
    """With others of an evaluation batch, fewer of them, or alone; more than are looked at together."""
    originals, reconstructions = pairs(shape, num=60 if shape[0] < 100 else 5)
    found = measure(originals, reconstructions)
    for size in (1, 7):
        parts = zip(originals.split(size), reconstructions.split(size), strict=True)
        assert torch.equal(torch.cat([measure(x, y) for x, y in parts]), found)
    assert measure(originals[:0], reconstructions[:0]).shape == (0, len(METRICS))


def test_an_image_that_is_reproduced_exactly() -> None:
    originals, _ = pairs((16, 16, 3))
    perfect = to_unit_range(originals, torch.float32)
    found = measure(originals, perfect)
    assert (found[:, [NAMES.index("mse"), NAMES.index("mae")]] == 0).all()
    assert (found[:, NAMES.index("psnr")] == PSNR_OF_EQUAL_IMAGES).all()
    torch.testing.assert_close(found[:, NAMES.index("ssim")], torch.ones(len(found), dtype=torch.float64))


def test_differences_that_a_saved_picture_does_not_show_are_none() -> None:
    originals, _ = pairs((16, 16, 1))
    nearly = to_unit_range(originals, torch.float32) + 0.4 / 255
    assert (measure(originals, nearly)[:, NAMES.index("mse")] == 0).all()


def test_constant_images_by_hand() -> None:
    """Grey level 51 against 102: error 0.04, 13.979 dB; without variance SSIM is its luminance term."""
    original = torch.full((1, 15, 15, 1), 51, dtype=torch.uint8)
    found = dict(zip(NAMES, measure(original, torch.full((1, 1, 15, 15), 0.4))[0].tolist(), strict=True))
    luminance = (2 * 0.2 * 0.4 + 0.01**2) / (0.2**2 + 0.4**2 + 0.01**2)
    assert found == pytest.approx({"mse": 0.04, "mae": 0.2, "psnr": 13.979400, "ssim": luminance}, abs=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_reconstruction_that_is_not_finite_is_never_judged_as_a_picture(value: float) -> None:
    """One such number in one image makes that image's metrics not a number, and no other's."""
    originals, reconstructions = pairs((16, 16, 1), num=3)
    reconstructions[1, 0, 4, 4] = value
    found = measure(originals, reconstructions)
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()
    assert (to_bytes(torch.full((1, 1, 2, 2), float("nan"))) == 0).all()


def test_images_smaller_than_the_window_have_no_ssim_and_the_other_metrics() -> None:
    originals, reconstructions = pairs((10, 30, 1))
    found = measure(originals, reconstructions)
    assert found[:, NAMES.index("ssim")].isnan().all()
    assert found[:, [NAMES.index(name) for name in ("mse", "mae", "psnr")]].isfinite().all()


def test_every_metric_is_defined_and_says_which_way_is_better() -> None:
    assert list(DEFINITIONS) == list(HIGHER_IS_BETTER) == [*NAMES, "rate"], "the rate comes from the posterior"
    for words in ("11 x 11 Gaussian", "sigma 1.5", "K1 0.01, K2 0.03", "data range 1", "positions inside the image"):
        assert words in DEFINITIONS["ssim"]
    assert "100 dB" in DEFINITIONS["psnr"]


def test_a_summary_is_numpys(rng: np.random.Generator) -> None:
    values = rng.normal(3, 2, 101)
    found = summarise(values, seed=5)
    assert found == {
        "mean": np.mean(values),
        "std": np.std(values),
        "min": np.min(values),
        "q05": np.percentile(values, 5),
        "q25": np.percentile(values, 25),
        "median": np.median(values),
        "q75": np.percentile(values, 75),
        "q95": np.percentile(values, 95),
        "max": np.max(values),
        "interval": mean_interval(values, 5, RESAMPLES)["interval"],
        "not_finite": 0,
    }
    assert {type(value) for value in found.values()} == {float, list, int}, "as JSON has them"


def test_the_interval_is_about_two_standard_errors_wide(rng: np.random.Generator) -> None:
    values = rng.normal(3, 2, 1000)
    low, high = summarise(values, seed=0)["interval"]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.1)


def test_one_value_has_no_interval_and_no_value_nothing_at_all() -> None:
    one = summarise(np.array([0.25]), seed=0)
    assert one.pop("interval") is None
    assert (one.pop("std"), one.pop("not_finite")) == (0, 0)
    assert set(one.values()) == {0.25}
    nothing = summarise(np.empty(0), seed=0)
    assert nothing.pop("not_finite") == 0
    assert set(nothing) == {*one, "std", "interval"}
    assert set(nothing.values()) == {None}


def test_values_that_are_not_finite_are_counted_and_leave_no_summary() -> None:
    found = summarise(np.array([1.0, np.nan, 2.0, np.inf]), seed=0)
    assert found.pop("not_finite") == 2
    assert set(found.values()) == {None}
    for words in ("divided by N", "null where an image's value is not finite"):
        assert words in SUMMARY_DEFINITIONS["summary"]
    assert "1,000 bootstrap resamples of images" in SUMMARY_DEFINITIONS["interval"]


def test_bytes_to_the_unit_range_and_back_is_the_identity() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    for dtype in (torch.float32, torch.float64):
        x = to_unit_range(levels, dtype)
        assert (x.dtype, x.min().item(), x.max().item()) == (dtype, 0.0, 1.0)
        assert torch.equal(to_bytes(x), levels)
    outside = torch.tensor([-3.0, 7.0]).reshape(1, 1, 1, 2)
    assert to_bytes(outside).flatten().tolist() == [0, 255]
