"""The linear probe: right where classes lie apart, chance where they do not, and nothing where nothing can be said."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from aedist.evaluation.measures import probe

CLASSES = ("a", "b", "c")
Encoded = tuple[NDArray[np.float64], NDArray[np.int64]]


def clusters(n: int, apart: float, seed: int) -> Encoded:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return np.eye(3, 5)[labels] * apart * [1, 10, 100, 1, 1] + rng.normal(size=(n, 5)) * [1, 10, 100, 1, 1], labels


def measured(fit: Encoded, test: Encoded, classes: tuple[str, ...] = CLASSES) -> dict[str, Any]:
    found = probe.accuracy(*fit, *test, classes, 0)
    json.dumps(found, allow_nan=False)
    return found


def test_it_is_the_regression_of_scikit_learn_on_standardised_encodings() -> None:
    fit, test = clusters(600, 1.5, 0), clusters(300, 1.5, 1)
    found = measured(fit, test)
    expected = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(*fit).score(*test)
    assert found["accuracy"] == pytest.approx(expected)
    assert 0.6 < expected < 0.95
    low, high = found["interval"]
    assert low < expected < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(expected * (1 - expected) / 300), rel=0.1)
    assert found["has_converged"]
    assert found["reason"] is None
    assert (found["num_fitted"], found["num_tested"], found["classes"]) == (600, 300, 3)


def test_classes_far_apart_are_told_and_classes_that_are_not_are_guessed() -> None:
    assert measured(clusters(100, 100, 0), clusters(100, 100, 1))["accuracy"] == 1
    encodings, labels = clusters(900, 0, 2)
    found = measured((encodings[:600], labels[:600]), (encodings[600:], labels[600:]))
    assert found["chance"] == np.bincount(labels[600:]).max() / 300
    assert found["accuracy"] == pytest.approx(1 / 3, abs=0.1)


def test_it_is_the_same_whatever_threads_the_environment_allows() -> None:
    fit, test = clusters(400, 1, 0), clusters(200, 1, 1)
    with threadpool_limits(2):
        two = measured(fit, test)
    with threadpool_limits(1):
        assert measured(fit, test) == two


def test_the_scale_of_numbers_and_constant_ones_do_not_matter() -> None:
    (x, labels), (y, truth) = clusters(400, 1, 0), clusters(200, 1, 1)
    scale = np.array([1e-3, 1, 1e3, 7, 1e-4])
    wide = [np.c_[z * scale + 1, np.full(len(z), 5e-9), np.full(len(z), 1e9)] for z in (x, y)]
    assert measured((wide[0], labels), (wide[1], truth))["accuracy"] == measured((x, labels), (y, truth))["accuracy"]


def test_rounding_of_a_constant_number_is_not_blown_up() -> None:
    (x, labels), (y, truth) = clusters(400, 1, 0), clusters(200, 1, 1)
    leak_x, leak_y = (1 + 1e-8 * of[:, None] for of in (labels, truth))
    found = measured((np.c_[x, leak_x], labels), (np.c_[y, leak_y], truth))
    assert found["accuracy"] == measured((x, labels), (y, truth))["accuracy"], "1e-8 would tell the class"


def test_images_without_a_class_are_left_out_and_encodings_that_are_not_finite_are_wrong() -> None:
    (x, labels), (y, truth) = clusters(60, 100, 0), clusters(40, 100, 1)
    x[:5], x[10, 2] = np.nan, np.inf
    labels[50:] = -1
    y[:10, 0] = np.nan
    truth[30:] = -1
    found = measured((x, labels), (y, truth))
    assert (found["num_fitted"], found["num_tested"]) == (44, 30)
    assert found["accuracy"] == pytest.approx(20 / 30)


def test_a_class_that_was_not_fitted_is_wrong() -> None:
    (x, labels), (y, truth) = clusters(90, 100, 0), clusters(60, 100, 1)
    found = measured((x[labels < 2], labels[labels < 2]), (y, truth))
    assert found["classes"] == 2
    assert found["accuracy"] == (truth < 2).mean()


def test_one_image_has_an_accuracy_without_interval() -> None:
    found = measured(clusters(60, 100, 0), tuple(part[:1] for part in clusters(5, 100, 1)))
    assert (found["accuracy"], found["interval"], found["chance"]) == (1, None, 1)


def test_rounds_are_fewer_where_they_are_long_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_WORK", 0)
    monkeypatch.setattr(probe, "_FEWEST_ROUNDS", 2)
    found = measured(clusters(400, 1, 0), clusters(200, 1, 1))
    assert (found["rounds"], found["has_converged"]) == (2, False)
    assert found["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("fit", "test", "classes", "reason"),
    [
        (20, 20, (), "the data has no classes"),
        (20, 0, CLASSES, "no evaluated image has a class"),
        (1, 20, CLASSES, "it takes training images of two classes, and the 1 are of 1"),
        (0, 20, CLASSES, "and the 0 are of 0"),
    ],
)
def test_no_probe_has_a_reason(fit: int, test: int, classes: tuple[str, ...], reason: str) -> None:
    found = measured(clusters(fit, 1, 0), clusters(test, 1, 1), classes)
    assert found["accuracy"] is found["interval"] is None
    assert reason in found["reason"]


def test_one_image_of_each_class_is_too_few() -> None:
    found = measured((np.eye(3, 5), np.arange(3)), clusters(20, 1, 1))
    assert found["reason"] == "no class has 2 of the 3 training images"
