"""Arithmetic measured on pairs: the numbers are what their definitions say, and the verdict says no more than they do.

The faces come in pairs of which one wears a bright bar for glasses, so that what arithmetic should give is known.
"""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exploring import VARIATIONAL, same, train

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.explore import measure_attribute
from aedist.explore.compare import Errors
from aedist.explore.controls import between_images, isotropic
from aedist.explore.encodings import decode_images, encode_first, encode_ids
from aedist.explore.pairs import find_pairs
from aedist.explore.verdict import judge, verdict
from aedist.trained import Trained, open_trained
from processes import run
from samples import write_config


@pytest.fixture(scope="module")
def variational(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Trained:
    return open_trained(train(tmp_path_factory.mktemp("vae"), faces, VARIATIONAL, 1))


def test_the_vector_of_glasses_beats_doing_nothing_and_random_vectors(trained: Trained) -> None:
    told = list[str]()
    picture, numbers = measure_attribute(trained, say=told.append)
    assert list(numbers["beats"].values()) == [True, True, True]
    won = "it beats doing nothing, beats random vectors, beats random differences between images"
    assert numbers["verdict"].endswith(won)
    assert told[-1] == numbers["verdict"]
    assert told[-2].startswith("outside the region where the pairs differ: ")
    assert {"random_isotropic", "random_between_images", "way", "gain"} < set(numbers["definitions"])
    assert [len(draws) for draws in numbers["means_of_draws"].values()] == [5, 5]
    assert numbers["pairs"] == {"measured": 30, "samples_without_partner": 0}
    assert (numbers["vector"]["having"], numbers["vector"]["without"]) == (80, 80)
    whole, region = numbers["whole"], numbers["region"]
    means = {name: whole[name]["mean"] for name in ("best", "plus_vector", "nothing", "random_isotropic")}
    assert list(means.values()) == sorted(means.values())
    assert means["plus_vector"] < whole["random_between_images"]["mean"]
    for kind, draws in numbers["means_of_draws"].items():
        assert whole[kind]["mean"] == pytest.approx(np.mean(draws))
    assert region["plus_vector"]["mean"] < region["nothing"]["mean"] / 4
    assert numbers["gain"]["mean"] == pytest.approx(means["nothing"] - means["plus_vector"])
    assert numbers["way"]["ratio"] == pytest.approx(
        1 - (means["plus_vector"] - means["best"]) / (means["nothing"] - means["best"])
    )
    assert 0.5 < numbers["way"]["interval"][0] < numbers["way"]["ratio"] < numbers["way"]["interval"][1] <= 1
    assert numbers["pixels_in_region"] == pytest.approx(4 * 12 / 256), "the bar of 2 x 10, and a pixel around it"
    assert same((picture, numbers), measure_attribute(trained))


def test_what_is_measured_is_what_is_said(trained: Trained) -> None:
    """The three errors of the vector, computed here again from their definitions."""
    split = trained.split
    _, numbers = measure_attribute(trained, num_pairs=7)
    train = open_trained(trained.run.path, split_name="train")
    store, train_store = (ShardStore(one.folder, one.index) for one in (split, train.split))
    pairs = find_pairs(store, "glasses", 7)
    z_nd = encode_first(train, train.split, 160).z_nd
    every = find_pairs(train_store, "glasses", 80)
    vector_d = z_nd[list(every.having)].mean(0) - z_nd[list(every.without)].mean(0)
    changed = decode_images(trained, encode_ids(trained, store, pairs.without).z_nd + vector_d) / 255
    having = store.read_images(pairs.having).numpy() / 255
    squared = (changed - having) ** 2
    assert numbers["whole"]["plus_vector"]["mean"] == pytest.approx(squared.mean())
    assert numbers["region"]["plus_vector"]["mean"] == pytest.approx(squared[:, 5:9, 2:14].mean())
    outside = np.ones(squared.shape[:3], dtype=bool)
    outside[:, 5:9, 2:14] = False
    assert numbers["outside"]["plus_vector"]["mean"] == pytest.approx(squared[outside].mean())


def test_a_vector_that_changes_nothing_does_not_win(variational: Trained) -> None:
    """A decoder without weights decodes all encodings alike."""
    model = copy.deepcopy(variational.model)
    for parameter in model.get_submodule("decoder").parameters():
        torch.nn.init.zeros_(parameter)
    numbers = measure_attribute(replace(variational, model=model), draws=2)[1]
    assert list(numbers["beats"].values()) == [False, False, False]
    assert numbers["way"] is None, "there is no way to go"
    assert "does not beat doing nothing, does not beat random vectors" in numbers["verdict"]


def test_of_few_pairs_nothing_is_said(trained: Trained) -> None:
    numbers = measure_attribute(trained, num_pairs=19, draws=1)[1]
    assert list(numbers["beats"].values()) == [None, None, None]
    assert "cannot be judged from 19 pairs" in numbers["verdict"]


def test_pairs_are_measured_a_batch_at_a_time(trained: Trained) -> None:
    """Batches of 7 pairs give what one of all 30 gives, but for the rounding of a batch."""
    evaluation = trained.config.evaluate.model_copy(update={"batch": 7})
    small = replace(trained, config=trained.config.model_copy(update={"evaluate": evaluation}))
    picture, numbers = measure_attribute(small, draws=1)
    whole_picture, whole = measure_attribute(trained, draws=1)
    assert picture.size == whole_picture.size
    for part in ("whole", "region", "outside"):
        for name, found in whole[part].items():
            assert numbers[part][name]["mean"] == pytest.approx(found["mean"], rel=1e-3, abs=1e-6)
    assert numbers["pixels_in_region"] == pytest.approx(whole["pixels_in_region"])


def test_a_control_is_beaten_only_where_the_interval_of_the_difference_excludes_zero() -> None:
    rng = np.random.default_rng(0)
    base = 1 + rng.random(100)
    noisy = rng.normal(0, 1, 100)
    shifts = {"plus_vector": 0 * base, "best": -1 + 0 * base, "nothing": 0.1 + 0 * base}
    shifts |= {"random_isotropic": noisy - noisy.mean() + 0.01, "random_between_images": -0.1 + 0 * base}
    errors = {name: Errors(*(base + shift for _ in range(3))) for name, shift in shifts.items()}
    results = judge(errors, seed=0)
    assert results["beats"] == {"nothing": True, "random_isotropic": False, "random_between_images": False}
    assert results["gain"]["mean"] == pytest.approx(0.1)
    assert results["way"]["ratio"] == pytest.approx(0.1 / 1.1)
    said = verdict("glasses", 100, results)
    assert said.endswith(
        "it beats doing nothing, does not beat random vectors, is beaten by random differences between images"
    )


def test_random_steps_have_the_vectors_length_and_those_between_images_lie_where_encodings_differ() -> None:
    z_nd = torch.zeros(20, 50, dtype=torch.float64)
    z_nd[:, :3] = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 3)))
    between, anywhere = between_images(2.5, z_nd, 4, seed=1), isotropic(2.5, 50, 4, seed=1)
    for step_d in (*between, *anywhere):
        assert float(step_d.norm()) == pytest.approx(2.5)
    assert all(not step_d[3:].any() for step_d in between)
    assert all(float(step_d[:3].norm()) < 1.25 for step_d in anywhere), "most of their length goes elsewhere"
    assert len({tuple(step_d.tolist()) for step_d in between}) == 4
    assert all(torch.equal(a, b) for a, b in zip(between, between_images(2.5, z_nd, 4, seed=1), strict=True))


def test_data_without_pairs_is_refused_with_what_pairs_are(tmp_path: Path, shards: Path) -> None:
    run(tmp_path, 1, "train", write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": 1}))
    with pytest.raises(UserError, match="two images with the same whole number in the attribute pair"):
        measure_attribute(open_trained(tmp_path / "run"))
