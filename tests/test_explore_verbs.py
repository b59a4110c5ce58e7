"""The verbs that use encodings, on small trained runs: what they leave, twice the same; what they refuse.

The faces come in pairs of which one wears a bright bar for glasses, so that what arithmetic should give is known.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from aedist.cli import main
from aedist.data.loader import Split
from aedist.data.store import ShardStore
from aedist.errors import EXIT_USER_ERROR, UserError
from aedist.evaluation.showcase import prior_samples
from aedist.explore import arithmetic, interpolate, measure_attribute, reconstruct, sample, traverse
from aedist.explore.encodings import decode_images, encode_first, encode_ids, read_originals
from aedist.explore.expression import parse
from aedist.explore.groups import find_groups
from aedist.explore.interpolate import unlike_pairs
from aedist.explore.pairs import find_pairs
from aedist.noise import keyed_normal
from aedist.shards.describe import index_folder
from aedist.shards.index import read_index
from aedist.trained import Trained, open_trained
from paired import write_pairs
from processes import launch, run
from samples import image, png, write_config, write_tar

MLP = {"kind": "mlp", "hidden_dim": 48, "latent_dim": 12}
SMALL = {"kind": "residual", "latent_dim": 3, "patch": 2, "channels": [8, 16]}
VARIATIONAL = {**SMALL, "latent": "vector", "posterior": "gaussian"}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 training images and 60 test images, in pairs."""
    folder = tmp_path_factory.mktemp("data") / "faces"
    write_pairs(folder / "train", 80, seed=1)
    write_pairs(folder / "test", 30, seed=2)
    return folder


def train(folder: Path, shards: Path, model: dict[str, Any], steps: int) -> Path:
    never = 10**9
    lengths = {"epochs": None, "steps": steps, "evaluate_every": never, "checkpoint_every": never, "log_every": never}
    config = write_config(
        folder / "c.yaml",
        shards,
        folder / "run",
        batch={"micro": 20, "num_micro": 1},
        optim={"lr": 4e-3},
        train={**lengths, "threads": 1},
    )
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "model": model}))
    run(folder, 1, "train", config)
    return folder / "run"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Trained:
    """A deterministic model that reconstructs the faces well."""
    return open_trained(train(tmp_path_factory.mktemp("mlp"), faces, MLP, 300))


@pytest.fixture(scope="module")
def variational(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Trained:
    return open_trained(train(tmp_path_factory.mktemp("vae"), faces, VARIATIONAL, 4))


@pytest.fixture(scope="module")
def spatial(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Trained:
    return open_trained(train(tmp_path_factory.mktemp("spatial"), faces, SMALL, 4))


def same(one: tuple[Image.Image, dict[str, Any]], other: tuple[Image.Image, dict[str, Any]]) -> bool:
    return json.dumps(one[1]) == json.dumps(other[1]) and np.array_equal(np.asarray(one[0]), np.asarray(other[0]))


def test_the_vector_of_glasses_beats_doing_nothing_and_random_vectors(trained: Trained) -> None:
    told = list[str]()
    picture, numbers = measure_attribute(trained, say=told.append)
    assert numbers["beats"] == {"nothing": True, "random": True}
    assert "beats both controls" in numbers["verdict"] == told[-1]
    assert told[-2].startswith("outside the region where the pairs differ: ")
    assert numbers["pairs"] == {"measured": 30, "samples_without_partner": 0}
    assert (numbers["vector"]["having"], numbers["vector"]["without"]) == (80, 80)
    whole, region = numbers["whole"], numbers["region"]
    assert whole["best"]["mean"] < whole["plus_vector"]["mean"] < whole["nothing"]["mean"] < whole["random"]["mean"]
    assert region["plus_vector"]["mean"] < region["nothing"]["mean"] / 4
    assert 0.5 < numbers["gain"] <= 1
    assert numbers["pixels_in_region"] == pytest.approx(4 * 12 / 256), "the bar of 2 x 10, and a pixel around it"
    assert same((picture, numbers), measure_attribute(trained))


def test_what_is_measured_is_what_is_said(trained: Trained) -> None:
    """The three errors of the vector, computed here again from their definitions."""
    split = trained.split
    _, numbers = measure_attribute(trained, num_pairs=7)
    pairs = find_pairs(split, "glasses", 7)
    train = open_trained(trained.run.path, split_name="train")
    z_nd = encode_first(train, train.split, 160).z_nd
    every = find_pairs(train.split, "glasses", 80)
    vector_d = z_nd[list(every.having)].mean(0) - z_nd[list(every.without)].mean(0)
    changed = decode_images(trained, encode_ids(trained, split, pairs.without).z_nd + vector_d) / 255
    having = read_originals(split, pairs.having) / 255
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
    assert numbers["beats"] == {"nothing": False, "random": False}
    assert numbers["gain"] is None, "there is nothing to gain"
    assert "does not beat doing nothing, does not beat random vectors" in numbers["verdict"]


def test_arithmetic_adds_the_means_of_groups(trained: Trained) -> None:
    told = list[str]()
    picture, numbers = arithmetic(trained, "glasses & man - man + woman", 5, apply_to=[0, 3], say=told.append)
    assert [(term["sign"], term["group"]) for term in numbers["terms"]] == [
        (1, "glasses & man"),
        (-1, "man"),
        (1, "woman"),
    ]
    assert [term["num_images"] for term in numbers["terms"]] == [5, 5, 5]
    assert told[0].startswith("+ glasses & man: 5 images")
    z_nd = encode_first(trained, trained.split, 60).z_nd
    store = {"man": [], "woman": [], "glasses & man": []}
    samples = ShardStore(trained.split.folder, trained.split.index)
    for sample_id in range(60):
        kind = ("man", "woman")[samples.label(sample_id) or 0]
        store[kind].append(sample_id)
        if kind == "man" and samples.attributes(sample_id)["glasses"]:
            store["glasses & man"].append(sample_id)
    means = {name: z_nd[ids[:5]].mean(0) for name, ids in store.items()}
    result = means["glasses & man"] - means["man"] + means["woman"]
    assert numbers["result"]["norm"] == pytest.approx(float(result.norm()))
    distances = (z_nd - result).norm(dim=1)
    assert numbers["nearest"]["sample_id"] == int(distances.argmin())
    assert numbers["nearest"]["distance"] == pytest.approx(float(distances.min()))
    assert picture.height > arithmetic(trained, "man")[0].height, "what it was applied to has rows of its own"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("glases", "did you mean glasses"),
        ("man & !man", "no image is man & !man, of 60 looked at in faces/test"),
        ("glasses +", "it ends where"),
    ],
)
def test_groups_that_cannot_be_are_refused(trained: Trained, expression: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        arithmetic(trained, expression)


def test_groups_of_classes_need_no_attributes(tmp_path: Path) -> None:
    """Shards of others may have anything in their ``.json``."""
    members = list[tuple[str, bytes]]()
    for number in range(4):
        members += [(f"{number}.cls", b"%d" % (number % 2)), (f"{number}.json", b'["a caption"]')]
        members.append((f"{number}.png", png(image(0, number))))
    write_tar(tmp_path / "a.tar", members)
    index_folder(tmp_path, lambda _: None)
    index = replace(read_index(tmp_path), classes=("cat", "dog"))
    (cats,) = find_groups(Split(tmp_path, index), parse("cat"), "cat", 9)
    assert cats.sample_ids == (0, 2)


@pytest.mark.parametrize(
    ("expression", "apply_to", "words"),
    [
        ("man", (), None),
        ("glasses - !glasses", (0,), None),
        ("glasses - !glasses", (), "the signs add up to +0, not +1"),
        ("man", (0,), "the signs add up to +1, not 0"),
    ],
)
def test_a_sum_of_another_kind_than_its_use_is_told(
    trained: Trained, expression: str, apply_to: tuple[int, ...], words: str | None
) -> None:
    told = list[str]()
    arithmetic(trained, expression, num_images=3, num_searched=5, apply_to=apply_to, say=told.append)
    assert [str(words) in line for line in told if "add up" in line] == ([True] if words else [])


def test_samples_come_from_what_was_asked(trained: Trained, variational: Trained, spatial: Trained) -> None:
    assert sample(trained, number=3)[1]["from"] == "gaussian"
    assert sample(variational, number=3)[1]["from"] == "prior"
    for model in (trained, variational, spatial):
        assert same(sample(model, "gaussian", 3, seed=1), sample(model, "gaussian", 3, seed=1))
        assert not same(sample(model, "gaussian", 3, seed=1), sample(model, "gaussian", 3, seed=2))
    numbers = sample(trained, "mixture", 3, components=2, num_encodings=50)[1]
    assert (numbers["components"], numbers["num_encodings"], numbers["fitted_to"]["split"]) == (2, 50, "train")
    with pytest.raises(UserError, match=r"mlp is not variational .* --from gaussian or --from mixture"):
        sample(trained, "prior")


def test_a_traversal_sorts_by_what_the_model_has(trained: Trained, variational: Trained, spatial: Trained) -> None:
    for model, measure, count in ((trained, "variance", 8), (variational, "KL", 3), (spatial, "share", 8)):
        picture, numbers = traverse(model)
        values = [direction[measure] for direction in numbers["directions"]]
        assert values == sorted(values, reverse=True)
        assert len(values) == count
        assert same((picture, numbers), traverse(model))
    around = traverse(trained, "pca", most=2, steps=3, sample_id=4)[1]
    assert (around["basis"], around["centre"], around["steps_in_std"]) == ("pca", "image 4", [-3, 0, 3])


def test_interpolation_pairs_different_classes(trained: Trained, spatial: Trained) -> None:
    store = ShardStore(trained.split.folder, trained.split.index)
    pairs = unlike_pairs(trained.split, 4)
    assert len(pairs) == 4
    assert len({sample_id for pair in pairs for sample_id in pair}) == 8
    assert all(store.label(one) != store.label(other) for one, other in pairs)
    for model in (trained, spatial):
        assert [tuple(pair["sample_ids"]) for pair in interpolate(model)[1]["pairs"]] == pairs
    assert interpolate(trained, [0, 5, 5, 9], steps=3)[1]["pairs"][1]["sample_ids"] == [5, 9]


def test_reconstruction_finds_the_best_and_the_worst(trained: Trained) -> None:
    _, numbers = reconstruct(trained)
    originals = read_originals(trained.split, range(60))
    again = decode_images(trained, encode_first(trained, trained.split, 60).z_nd)
    errors = ((originals / 255 - again / 255) ** 2).mean((1, 2, 3))
    assert numbers["mse"]["mean"] == pytest.approx(errors.mean())
    assert numbers["shown"]["best"]["sample_ids"] == np.argsort(errors, kind="stable")[:10].tolist()
    assert numbers["shown"]["worst"]["sample_ids"][0] == int(errors.argmax())
    assert numbers["shown"]["worst"]["mse"][0] == pytest.approx(errors.max())
    assert list(reconstruct(trained, [3, 1])[1]["shown"]) == ["chosen"]


def test_prior_samples_are_the_decoded_noise(variational: Trained) -> None:
    noise = keyed_normal((18, 3), 5)
    picture = prior_samples(variational.model, noise, "a title")
    assert picture.width > 6 * 72
    assert np.array_equal(np.asarray(picture), np.asarray(prior_samples(variational.model, noise, "a title")))
    assert not variational.model.training


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["reconstruct", "--ids", "60"], "--ids: 60 is no sample of faces/test; take 0 to 59"),
        (["reconstruct", "--ids", "6", "--images", "3"], "--images: 3 is refused"),
        (["interpolate", "--ids", "1"], "--ids: 1 samples are no pairs"),
        (["interpolate", "--steps", "1"], "--steps: 1 is refused"),
        (["sample", "--from", "prior"], "--from prior: mlp is not variational"),
        (["sample", "--number", "0"], "--number: 0 is refused"),
        (["sample", "--temperature", "nan"], "--temperature: nan is refused"),
        (["sample", "--components", "3"], "--components: goes with --from mixture alone"),
        (["sample", "--seed", "-1"], "--seed: -1 is refused"),
        (["sample", "--encodings", "0"], "--encodings: 0 is refused"),
        (["sample", "--name", "../x"], "--name: '../x' is refused"),
        (["traverse", "--dimensions", "0"], "--dimensions: 0 is refused"),
        (["traverse", "--image", "-1"], "--image: -1 is no sample"),
        (["arithmetic"], "give an expression"),
        (["arithmetic", "man", "--measure"], "one of the two"),
        (
            ["arithmetic", "man", "--draws", "3"],
            "--draws: goes with --measure, and an expression is given; leave it out",
        ),
        (["arithmetic", "--measure", "--apply", "1"], "--apply: goes with an expression, and --measure is given"),
        (["arithmetic", "t-shirt"], "knows no class or attribute t"),
        (["arithmetic", "--measure", "beard"], "no true or false attribute 'beard'; take one of glasses"),
    ],
)
def test_a_mistake_is_one_line(
    trained: Trained, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([words[0], str(trained.run.path), *words[1:]])
    assert caught.value.code == EXIT_USER_ERROR
    line = capsys.readouterr().err.strip()
    assert problem in line
    assert "\n" not in line


def test_data_without_pairs_is_refused_with_what_pairs_are(tmp_path: Path, shards: Path) -> None:
    run(tmp_path, 1, "train", write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": 1}))
    with pytest.raises(UserError, match="two images with the same whole number in the attribute pair"):
        measure_attribute(open_trained(tmp_path / "run"))


def test_the_command_line_writes_a_picture_and_its_numbers(trained: Trained, tmp_path: Path) -> None:
    """As a process of its own, twice the same bytes; several processes are refused."""
    folder = trained.run.path / "explore"
    words = ("arithmetic", trained.run.path, "glasses - !glasses", "--name", "wears")
    said = run(tmp_path, 1, *words).text()
    assert f"wrote {folder / 'wears.png'}" in said
    first = (folder / "wears.png").read_bytes(), (folder / "wears.json").read_bytes()
    run(tmp_path, 1, *words)
    assert first == ((folder / "wears.png").read_bytes(), (folder / "wears.json").read_bytes())
    assert json.loads(first[1])["expression"] == "glasses - !glasses"
    several = launch(tmp_path, 2, *words)
    assert several.wait() == [EXIT_USER_ERROR] * 2
    assert "aedist arithmetic: is done by one process, not 2" in several.text()
