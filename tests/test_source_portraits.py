"""Portraits: what a picture's attributes say is what it shows, and a pair differs in the glasses alone."""

import importlib.metadata
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aedist.errors import UserError
from aedist.shards.attributes import parse_attributes
from aedist.shards.build import build
from aedist.shards.index import read_index
from aedist.shards.png import encode_png
from aedist.shards.recipe import Recipe, read_recipe
from aedist.shards.sources import portraits, read_options
from aedist.shards.sources.portrait_features import FEATURES, draw

RECIPE = Path(__file__).parent.parent / "shards" / "portraits.yaml"
PLAIN = {name: next(iter(feature.drawn)) for name, feature in FEATURES.items()}  # the first value of every feature
TEST = {"test": {"first": 0, "number": 6}}
# Where a head always is, (rows, columns): brow and lenses, the lower half of the face, beside the neck, the crown
EYES, JAW, SHOULDERS, CROWN = np.s_[84:148, 54:204], np.s_[130:200, 70:186], np.s_[170:195], np.s_[30:70, 110:146]


def opened(split: str = "test", **people: dict[str, int]) -> portraits.Portraits:
    options = portraits.Options.model_validate({"people": people or TEST})
    return portraits.samples({}, split, options, read_recipe(RECIPE).image)


def shown(has_glasses: bool = False, **changes: str) -> np.ndarray:
    return draw({**PLAIN, **changes}, has_glasses)


def rgb(feature: str, value: str) -> np.ndarray:
    return np.array([int(FEATURES[feature].drawn[value][i : i + 2], 16) for i in (1, 3, 5)])


def count_of(colour: np.ndarray, pixels: np.ndarray) -> int:
    return int((pixels == colour).all(axis=-1).sum())


def fields(samples: portraits.Portraits, number: int) -> tuple[np.ndarray, dict[str, Any]]:
    sample = samples[number]
    return np.asarray(Image.open(io.BytesIO(sample["png"]))), json.loads(sample["json"])


def test_a_pair_is_one_person_and_differs_at_the_eyes_alone() -> None:
    samples = opened()
    for person in range(6):
        (without, plain), (with_glasses, worn) = fields(samples, 2 * person), fields(samples, 2 * person + 1)
        assert without.shape == (256, 256, 3)
        assert {name for name in plain if plain[name] != worn[name]} == {"glasses", "glasses_kind"}
        assert (plain["glasses"], worn["glasses"], plain["glasses_kind"]) == (False, True, "none")
        assert plain["pair"] == worn["pair"] == person
        assert (samples[2 * person]["cls"], samples[2 * person + 1]["cls"]) == (b"0", b"1")
        differs = (without != with_glasses).any(axis=2)
        assert differs[EYES].sum() > 800
        differs[EYES] = False
        assert not differs.any()


def test_clear_glasses_leave_the_eyes_to_be_seen() -> None:
    """Between the frames of any glasses the face is as it is without them."""
    for kind in FEATURES["glasses_kind"].drawn:
        same = (shown() == shown(True, glasses_kind=kind)).all(axis=2)[EYES]
        assert 0.6 < same.mean() < 0.95, kind


@pytest.mark.parametrize("name", FEATURES)
def test_every_value_of_a_feature_is_another_picture(name: str) -> None:
    seen = {shown(True, **{name: value}).tobytes() for value in FEATURES[name].drawn}
    assert len(seen) == len(FEATURES[name].drawn)


def test_colours_are_where_they_should_be() -> None:
    for value in FEATURES["skin"].drawn:
        assert count_of(rgb("skin", value), shown(skin=value)[JAW]) > 2000
    for value in FEATURES["background"].drawn:
        assert (shown(background=value)[:20, :20] == rgb("background", value)).all()
    for value in FEATURES["hair_colour"].drawn:
        assert count_of(rgb("hair_colour", value), shown(hair="flat", hair_colour=value)[:100]) > 1000
    for value in FEATURES["clothes_colour"].drawn:
        assert count_of(rgb("clothes_colour", value), shown(clothes_colour=value)[220:]) > 2000


def test_long_hair_is_hair_beside_the_neck_and_bald_is_skin_on_the_crown() -> None:
    red = rgb("hair_colour", "red")
    for value in FEATURES["hair"].drawn:
        pixels = shown(hair=value, hair_colour="red", clothes_colour="black")
        told = portraits.attributes_of({**PLAIN, "hair": value}, False)
        # some long hair is shaded, so that its colour is not exactly red: none of it is background or clothes
        is_red = (pixels[..., 0] > 80) & (pixels[..., 1] < 70) & (pixels[..., 2] < 30)
        assert told["long_hair"] == (is_red[SHOULDERS].sum() > 200), value
        assert told["bald"] == (count_of(red, pixels[CROWN]) == 0 and not is_red[CROWN].any()), value


def test_facial_hair_is_hair_on_the_lower_face_and_a_beard_covers_the_chin() -> None:
    red = rgb("hair_colour", "red")
    chin = np.s_[185:196, 120:136]
    for value in FEATURES["facial_hair_kind"].drawn:
        pixels = shown(facial_hair_kind=value, hair_colour="red", hair="bald")
        told = portraits.attributes_of({**PLAIN, "facial_hair_kind": value}, False)
        assert told["facial_hair"] == (count_of(red, pixels[JAW]) > 150), value
        assert told["beard"] == (count_of(red, pixels[chin]) > 50), value


def test_people_are_all_different_and_do_not_depend_on_how_many_there_are() -> None:
    many = portraits.looks(0, 4500)
    visible = np.delete(many, list(FEATURES).index("glasses_kind"), axis=1)
    assert len(np.unique(visible, axis=0)) == 4500
    assert (portraits.looks(0, 37) == many[:37]).all()
    assert (portraits.looks(1, 37) != many[:37]).any()


def test_features_come_as_often_as_they_should_and_are_independent() -> None:
    many = portraits.looks(3, 20_000)
    for column, feature in enumerate(FEATURES.values()):
        weights = np.array([feature.weights.get(value, 1) for value in feature.drawn])
        found = np.bincount(many[:, column], minlength=len(weights)) / len(many)
        assert found == pytest.approx(weights / weights.sum(), abs=0.015)
    correlations = np.corrcoef(many.astype(float), rowvar=False) - np.eye(len(FEATURES))
    assert abs(correlations).max() < 0.03  # four standard errors


def test_a_person_is_the_same_in_any_split_and_process() -> None:
    alone = opened(test={"first": 4, "number": 1})
    assert alone[1] == opened()[9]
    assert pickle.loads(pickle.dumps(opened()))[3] == opened()[3]


def test_attributes_are_what_a_sample_may_hold() -> None:
    told = parse_attributes(opened()[5]["json"])
    assert all(name.replace("_", "").isalpha() and name.islower() for name in told)
    assert {name for name, value in told.items() if type(value) is bool} == {
        *("glasses", "facial_hair", "beard", "long_hair", "bald", "smiling")
    }


def test_builds_from_a_recipe(tmp_path: Path) -> None:
    values = read_recipe(RECIPE).model_dump()
    values["options"]["people"] = {"train": {"first": 2, "number": 3}, "test": {"first": 0, "number": 2}}
    values["splits"] = {"train": {"samples": 6}, "test": {"samples": 4}}
    train, _ = build(Recipe.model_validate(values), tmp_path / "out", tmp_path / "cache", lambda _: None)
    index = read_index(train.parent)
    assert (index.num_samples, index.image_shape, index.classes) == (6, (256, 256, 3), ("no_glasses", "glasses"))


def test_the_recipe_shows_nobody_in_both_splits() -> None:
    recipe = read_recipe(RECIPE)
    options = read_options(recipe)
    assert {split: 2 * part.number for split, part in options.people.items()} == {
        split: part.samples for split, part in recipe.splits.items()
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"people": {"a": {"first": 0, "number": 5}, "b": {"first": 4, "number": 1}}}, "person 4 must not be in both"),
        ({"people": {}}, "options.people"),
        ({"people": {"a": {"number": 0}}}, "options.people.a.number"),
        ({"people": {"a": {"number": 10**7}}}, "options.people.a.number"),
        ({"peopel": {}}, "did you mean options.people"),
        ({"people": TEST, "seed": -1}, "options.seed"),
        ({"people": TEST, "packages": {}}, "it should give the versions of dicebear-core"),
    ],
)
def test_mistakes_in_the_options_are_told(options: dict[str, Any], said: str) -> None:
    recipe = Recipe.model_validate({**read_recipe(RECIPE).model_dump(), "options": options})
    with pytest.raises(UserError, match=said):
        read_options(recipe)


def test_a_split_without_people_is_told() -> None:
    with pytest.raises(UserError, match=r"options\.people: names no people for split train; add train"):
        opened("train")


def test_missing_and_other_packages_are_told_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(name: str) -> str:
        return "0.6.0" if name == "resvg-py" else portraits.PACKAGES[name]

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", other)
    with pytest.raises(UserError, match=r"resvg-py: the recipe says 0\.5\.0, 0\.6\.0 is installed.*; pip install"):
        opened()
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match=r"dicebear-core is not installed.*; pip install dicebear-core==10\.7\.0 "):
        opened()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("compression", [0, 1, 6, 9])
def test_a_compressed_png_holds_the_same_pixels(channels: int, compression: int) -> None:
    pixels = np.repeat(np.arange(40 * 30).reshape(40, 30, 1) // 7 % 256, channels, axis=2).astype(np.uint8)
    png = encode_png(pixels, compression)
    assert (np.asarray(Image.open(io.BytesIO(png))).reshape(pixels.shape) == pixels).all()
    assert (len(png) < pixels.size) == (compression > 0)
