"""The streamed principal components are scikit-learn's, exact in their sums, and the same however images arrive."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as Reference  # noqa: N811
from torch import Tensor

from aedist.data.pixels import to_bytes, to_unit_range
from aedist.evaluation.measures.metrics import mse
from aedist.evaluation.measures.pca import PCA, fit_pca
from samples import image

SHAPES = [(40, (4, 5, 1)), (25, (6, 4, 3))]  # by the covariance of 20 numbers, by the products of 25 images


def pictures(count: int, shape: tuple[int, int, int], seed: int = 3) -> Tensor:
    """Blobs with some noise, so that every direction has its own variance."""
    rng = np.random.default_rng(seed)
    blobs = np.stack([image(seed, number, shape) for number in range(count)]).astype(np.int64)
    return torch.from_numpy(np.clip(blobs + rng.integers(-20, 21, blobs.shape), 0, 255).astype(np.uint8))


def fitted(images: Tensor, k: int, batch: int = 7) -> PCA:
    return fit_pca(images.split(batch), len(images), tuple(images.shape[1:]), k)


@pytest.mark.parametrize(("count", "shape"), SHAPES)
@pytest.mark.parametrize("k", [1, 5])
def test_reconstructions_are_those_of_scikit_learn(count: int, shape: tuple[int, int, int], k: int) -> None:
    images, others = pictures(count, shape), pictures(9, shape, seed=4)
    reference = Reference(k, svd_solver="full").fit(images.flatten(1).double().numpy())
    found = fitted(images, k)
    flat = others.flatten(1).double().numpy()
    expected = torch.from_numpy(reference.inverse_transform(reference.transform(flat))).view(others.shape)
    torch.testing.assert_close(
        found.reconstruct(others).double(), expected.permute(0, 3, 1, 2) / 255, atol=1e-5, rtol=0
    )
    variances = reference.explained_variance_ * (count - 1) / count
    np.testing.assert_allclose(found.variances_k.numpy(), variances, rtol=1e-10)
    np.testing.assert_allclose(found.mean_d.numpy(), reference.mean_, rtol=1e-14)


@pytest.mark.parametrize(("count", "shape"), SHAPES)
def test_batches_change_nothing_to_the_last_bit(count: int, shape: tuple[int, int, int]) -> None:
    images = pictures(count, shape)
    one, another = fitted(images, 5, batch=count), fitted(images, 5, batch=3)
    assert torch.equal(one.components_kd, another.components_kd)
    assert torch.equal(one.variances_k, another.variances_k)


def test_the_order_of_images_changes_nothing_to_the_last_bit_where_their_covariance_is_summed() -> None:
    images = pictures(*SHAPES[0])
    assert torch.equal(fitted(images, 5).components_kd, fitted(images.flip(0), 5).components_kd)


def test_the_order_of_images_changes_rounding_alone_where_their_products_are_summed() -> None:
    images = pictures(*SHAPES[1])
    torch.testing.assert_close(
        fitted(images, 5).reconstruct(images), fitted(images.flip(0), 5).reconstruct(images), atol=1e-6, rtol=0
    )


def test_sums_of_more_than_a_thousand_extreme_pixels_are_exact() -> None:
    """3,000 images of two numbers, black or white: float32 alone would lose the last digits of such sums."""
    values = torch.randint(0, 2, (3000, 2), generator=torch.Generator().manual_seed(0)) * 255
    values[0] = torch.tensor([1, 2])
    found = fitted(values.to(torch.uint8).view(3000, 1, 2, 1), 2, batch=3000)
    exact = np.cov(values.numpy().T.astype(object).astype(float), bias=True)
    np.testing.assert_allclose(found.variances_k.numpy(), np.linalg.eigvalsh(exact)[::-1], rtol=1e-13)


def test_sums_over_more_than_a_thousand_pixels_are_exact() -> None:
    """Two images of 3,000 numbers: half the squared distance between them is the one eigenvalue."""
    images = torch.randint(0, 256, (2, 50, 60, 1), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    squared = int((images[0].long() - images[1].long()).square().sum())
    found = fitted(images, 5)
    assert found.variances_k.tolist() == pytest.approx([squared / 4], rel=1e-13)


def test_more_components_than_images_span_give_the_fitted_images_back() -> None:
    """Also where many are equal, and some differ in a single level of a single pixel."""
    images = pictures(12, (7, 6, 3))
    images = torch.cat([images, images[:5], images[:1]])
    images[-1, 0, 0, 0] ^= 1
    found = fitted(images, 400)
    assert len(found.components_kd) == 12, "12 images and one that hardly differs span 12 directions about their mean"
    assert torch.equal(to_bytes(found.reconstruct(images)), images)
    gram = found.components_kd.double() @ found.components_kd.double().T
    torch.testing.assert_close(gram, torch.eye(12, dtype=torch.float64), atol=1e-6, rtol=0)


def test_pixels_that_are_the_same_in_all_images_take_no_component() -> None:
    """As the borders of digits: what is fitted says nothing of them, so another image's are not kept by accident."""
    images = pictures(40, (4, 5, 1))
    images[:, 0] = 0
    found = fitted(images, 20)
    assert len(found.components_kd) == 15
    images[0, 0] = 255
    assert (to_bytes(found.reconstruct(images[:1]))[0, 0] == 0).all()


def test_as_many_components_as_numbers_give_every_image_back() -> None:
    found = fitted(pictures(*SHAPES[0]), 20)
    others = pictures(9, SHAPES[0][1], seed=8)
    assert (mse(others, to_bytes(found.reconstruct(others))) == 0).all()


def test_a_component_more_is_never_worse_on_the_fitted_images() -> None:
    images = pictures(*SHAPES[1])
    errors = [(fitted(images, k).reconstruct(images) - to_unit_range(images, torch.float32)).square().mean()
              for k in (1, 2, 4, 8, 16)]  # fmt: skip
    assert errors == sorted(errors, reverse=True)


def test_one_image_and_equal_images_have_no_components_and_are_the_mean() -> None:
    one = pictures(1, (4, 5, 1))
    for images in (one, one.repeat(3, 1, 1, 1), one.repeat(30, 1, 1, 1)):
        found = fitted(images, 3)
        assert found.components_kd.shape == (0, 20)
        assert torch.equal(to_bytes(found.reconstruct(one)), one)
        assert torch.equal(to_bytes(found.mean_image(2)), one.repeat(2, 1, 1, 1))


def test_it_travels_between_processes() -> None:
    found = fitted(pictures(*SHAPES[0]), 3)
    copy = pickle.loads(pickle.dumps(found))
    assert torch.equal(copy.components_kd, found.components_kd)
    assert found.components_kd.untyped_storage().nbytes() == 4 * found.components_kd.numel(), "and nothing more with it"


def test_images_that_are_not_what_was_promised_are_refused() -> None:
    images = pictures(*SHAPES[0])
    for promised in (39, 41):
        with pytest.raises(ValueError, match=f"{promised} images were promised, but there are 40"):
            fit_pca(images.split(7), promised, SHAPES[0][1], 2)
    with pytest.raises(ValueError, match="images are uint8"):
        fit_pca([images], 40, (5, 4, 1), 2)
    with pytest.raises(ValueError, match="must be 1 or more"):
        fit_pca([], 0, (5, 4, 1), 2)
