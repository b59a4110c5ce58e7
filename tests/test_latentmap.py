"""The map of encodings: which images, by which method, coloured or not; the axes are the principal components."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA

from aedist.evaluation.pictures import latentmap
from aedist.evaluation.pictures.latentmap import Map, latent_map, principal_components


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What is drawn, kept instead of drawn."""
    seen = SimpleNamespace()

    def keep(
        maps: list[Map], labels: NDArray[np.int64], classes: tuple[str, ...], shown: list[int], title: str
    ) -> Image.Image:
        seen.maps, seen.labels, seen.shown, seen.title = maps, labels, shown, title
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(latentmap, "_drawn", keep)
    monkeypatch.setitem(sys.modules, "umap", None)  # as where it is not installed
    return seen


def clusters(n: int, d: int = 6, classes: int = 3) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(classes, d))[labels] * 20 + rng.normal(size=(n, d)), labels


@pytest.mark.parametrize(("n", "d"), [(80, 7), (7, 80)])
def test_axes_are_the_principal_components_of_scikit_learn(n: int, d: int) -> None:
    z_nd, _ = clusters(n, d)
    scores, shares = principal_components(z_nd)
    other = PCA(6).fit(z_nd)
    expected = other.transform(z_nd)
    assert np.abs(scores[:, :6]) == pytest.approx(np.abs(expected), abs=1e-8)
    assert shares[:6] == pytest.approx(other.explained_variance_ratio_)
    furthest = np.abs(scores[:, :6]).argmax(axis=0)
    assert (scores[furthest, np.arange(6)] > 0).all(), "the sign is the data's, not the solver's"


def test_the_picture_is_wide_enough_to_read_and_the_same_twice() -> None:
    z_nd, labels = clusters(60)
    labels[:5] = -1
    one, other = (latent_map(z_nd, labels, ("a", "b", "c"), 0, "made/test") for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.picture.width == 1440
    assert one == other


def test_images_are_chosen_evenly_and_the_title_says_how_many(
    told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latentmap, "MOST_IMAGES", 40)
    z_nd, labels = clusters(100)
    latent_map(z_nd, labels, ("a", "b", "c"), 0, "made/test")
    assert told.title == "made/test: 40 of 100 encodings of 6 numbers, coloured by class"
    assert told.labels.tolist() == labels[[5 * i // 2 for i in range(40)]].tolist()
    assert [one.title for one in told.maps] == ["PCA", "t-SNE, perplexity 13"]
    assert told.maps[0].axes[0].endswith(" % of the variance")
    z_nd[3], z_nd[4, 0] = np.nan, np.inf
    latent_map(z_nd[:30], labels[:30], ("a", "b", "c"), 0)
    assert told.title.startswith("28 of 30 encodings of 6 numbers, without 2 that are not finite")


def test_colours_are_left_out_where_classes_are_many_or_unknown(told: SimpleNamespace) -> None:
    z_nd, _ = clusters(63)
    labels = np.arange(63) % 21
    latent_map(z_nd, labels, [str(i) for i in range(21)], 0)
    assert told.shown == []
    assert told.title.endswith("; 21 classes, too many for colours")
    latent_map(z_nd, np.full(63, -1), (), 0)
    assert told.title.endswith("; no classes are known")
    latent_map(z_nd, labels.clip(0, 19), [str(i) for i in range(300)], 0)
    assert told.shown == list(range(20)), "classes that are there, not those that could be"


def test_umap_is_taken_where_it_is_installed(told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Reducer:
        def __init__(self, **settings: Any) -> None:
            asked.update(settings)

        def fit_transform(self, z_nd: NDArray[np.float64]) -> NDArray[np.float32]:
            return z_nd[:, :2].astype(np.float32)

    module = ModuleType("umap")
    monkeypatch.setitem(sys.modules, "umap", module)
    latent_map(*clusters(60), ("a", "b", "c"), 0)
    assert told.maps[1].title == "t-SNE, perplexity 19.7", "a package of this name that is another"
    module.UMAP = Reducer
    latent_map(*clusters(60), ("a", "b", "c"), 0)
    assert told.maps[1].title == "UMAP, 15 neighbours"
    assert asked["n_neighbors"] == 15
    assert isinstance(asked["random_state"], int)


def test_encodings_that_have_no_map_have_none() -> None:
    z_nd, labels = clusters(30)
    assert latent_map(z_nd[:4], labels[:4], ("a", "b", "c"), 0) is None
    assert latent_map(z_nd[:0], labels[:0], ("a", "b", "c"), 0) is None
    assert latent_map(np.full((30, 6), np.nan), labels, ("a", "b", "c"), 0) is None
    assert latent_map(np.full((30, 6), 0.1), labels, ("a", "b", "c"), 0) is None


def test_few_images_and_encodings_of_one_number_are_drawn() -> None:
    z_nd, labels = clusters(5)
    assert latent_map(z_nd, labels, ("a", "b", "c"), 0) is not None
    assert latent_map(clusters(40, 1)[0], np.full(40, -1), (), 0) is not None
