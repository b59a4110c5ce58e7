"""The verbs that use encodings, on small trained runs: what they leave, twice the same; what they refuse.

The faces come in pairs of which one wears a bright bar for glasses, so that what arithmetic should give is known.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exploring import MLP, SMALL, VARIATIONAL, same, train

from aedist.cli import main
from aedist.data.store import ShardStore
from aedist.errors import EXIT_USER_ERROR, UserError
from aedist.evaluation.pictures.showcase import prior_samples
from aedist.explore import arithmetic, interpolate, reconstruct, sample, traverse
from aedist.explore.encodings import decode_images, encode_first
from aedist.explore.expression import parse
from aedist.explore.groups import find_groups
from aedist.explore.interpolate import unlike_pairs
from aedist.noise import keyed_normal
from aedist.shards.describe import index_folder
from aedist.shards.index import read_index
from aedist.trained import Trained, open_trained
from processes import launch, run
from samples import image, png, write_tar


@pytest.fixture(scope="module")
def variational(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Trained:
    return open_trained(train(tmp_path_factory.mktemp("vae"), faces, VARIATIONAL, 4))


@pytest.fixture(scope="module")
def spatial(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Trained:
    return open_trained(train(tmp_path_factory.mktemp("spatial"), faces, SMALL, 4))


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
    (cats,) = find_groups(ShardStore(tmp_path, index), parse("cat"), "cat", 9)
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
    pairs = unlike_pairs(store, 4)
    assert len(pairs) == 4
    assert len({sample_id for pair in pairs for sample_id in pair}) == 8
    assert all(store.label(one) != store.label(other) for one, other in pairs)
    for model in (trained, spatial):
        assert [tuple(pair["sample_ids"]) for pair in interpolate(model)[1]["pairs"]] == pairs
    assert interpolate(trained, [0, 5, 5, 9], steps=3)[1]["pairs"][1]["sample_ids"] == [5, 9]


def test_between_opposite_encodings_the_line_is_alone(tmp_path: Path, faces: Path) -> None:
    """A single number has two directions, and the arc between them is none."""
    told = list[str]()
    trained = open_trained(train(tmp_path, faces, {**MLP, "latent_dim": 1}, 2))
    z_n = encode_first(trained, trained.split, 60).z_nd[:, 0]
    shift = float(z_n.median())
    with torch.no_grad():
        for module in trained.model.modules():
            if isinstance(module, torch.nn.Linear) and module.out_features == 1:
                module.bias -= shift  # so that some encodings lie on each side of zero
    z_n = encode_first(trained, trained.split, 60).z_nd[:, 0]
    low, high, higher = int(z_n.argmin()), int(z_n.argmax()), int(z_n.topk(2).indices[1])
    picture, numbers = interpolate(trained, [low, high, higher, high], steps=3, say=told.append)
    assert [pair["paths"] for pair in numbers["pairs"]] == [["linear, no arc"], ["linear", "spherical"]]
    assert "opposite directions, so no arc joins them" in told[-1]
    assert picture.height < interpolate(trained, [high, higher, higher, high], steps=3)[0].height


def test_chosen_images_are_shown_in_rows(trained: Trained) -> None:
    few, many = (reconstruct(trained, list(range(count)))[0] for count in (10, 25))
    assert many.width == few.width
    assert many.height > 2.5 * few.height


def test_the_prior_is_fitted_to_nothing(variational: Trained) -> None:
    with pytest.raises(UserError, match="--encodings: goes with --from gaussian and --from mixture"):
        sample(variational, number=1, num_encodings=50)


def test_reconstruction_finds_the_best_and_the_worst(trained: Trained) -> None:
    _, numbers = reconstruct(trained)
    originals = ShardStore(trained.split.folder, trained.split.index).read_images(range(60)).numpy()
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
        (["reconstruct", "--ids", "6", "--images", "3"], "--images: goes without --ids"),
        (["interpolate", "--ids", "1"], "--ids: 1 samples are no pairs"),
        (["interpolate", "--steps", "1"], "--steps: 1 is refused"),
        (["sample", "--from", "prior"], "--from prior: mlp is not variational"),
        (["sample", "--number", "0"], "--number: 0 is refused"),
        (["sample", "--number", "100000"], "--number: 100000 is refused: it must be from 1 to 400"),
        (["reconstruct", "--ids", *["1"] * 101], "--ids: 101 are refused: a picture shows 100 at most"),
        (["traverse", "--steps", "21"], "--steps: 21 is refused: it must be from 2 to 20"),
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
