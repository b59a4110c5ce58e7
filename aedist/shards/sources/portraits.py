"""Portraits: drawn faces whose every feature is chosen here, so that what a picture shows is known and not guessed.

A person is a row of features (skin, hair, facial hair, glasses, ...), each drawn from a keyed number; no two people of
a seed look alike. Each person is shown twice, without and with glasses, and nothing else differs: the two share the
attribute ``pair``, and are the ground truth for arithmetic on encodings. Features are independent of one another, so
that the mean over a group is not the mean over something else too. The parts are drawn by Pablo Stanley (Avataaars),
put together by DiceBear, and made pixels by resvg; the versions of all three decide the pixels, so they are checked.
"""

import importlib.metadata
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from aedist import keys
from aedist.assets import Collection
from aedist.errors import UserError
from aedist.section import Section, key
from aedist.shards.attributes import write_attributes
from aedist.shards.png import encode_png
from aedist.shards.recipe import ImageRecipe
from aedist.shards.sources.portrait_features import BEARDS, FEATURES, LONG_HAIR, SMILES, draw

ORIGINALS = Collection("portraits", (), ())  # nothing to fetch
PACKAGES = {"dicebear-core": "10.7.0", "dicebear-styles": "10.6.0", "resvg-py": "0.5.0"}

_COMPRESSION = 6  # about 7 kB an image; stored, it would be 197 kB
_MOST_PEOPLE = 1_000_000  # there are 39 million different ones, so enough are left to draw from


class People(Section):
    """The people of one split: consecutive numbers."""

    first: int = key(0, "The number of the first person.", ge=0, le=_MOST_PEOPLE)
    number: int = key(..., "How many people; each gives two samples.", ge=1, le=_MOST_PEOPLE)


class Options(Section):
    """What the recipe says about portraits."""

    seed: int = key(0, "Names the people: person n of a seed always looks the same.", ge=0, lt=2**63)
    people: dict[str, People] = key(..., "Which people each split shows.", min_length=1)
    packages: dict[str, str] = key(PACKAGES, "The versions that draw the portraits.")

    @field_validator("people")
    @classmethod
    def _each_person_in_one_split(cls, people: dict[str, People]) -> dict[str, People]:
        ranges = sorted((part.first, part.first + part.number, split) for split, part in people.items())
        for (_, end, split), (first, _, other) in itertools.pairwise(ranges):
            if first < end:
                raise ValueError(f"person {first} must not be in both {split} and {other}")
        return people

    @field_validator("packages")
    @classmethod
    def _all_packages(cls, packages: dict[str, str]) -> dict[str, str]:
        if packages.keys() != PACKAGES.keys():
            raise ValueError(f"it should give the versions of {', '.join(PACKAGES)}")
        return packages


@dataclass(frozen=True)
class Portraits:
    """The samples of a split: person i without glasses is number 2 i, with glasses 2 i + 1."""

    first: int
    looks_nf: NDArray[np.uint8]  # the number of each person's value of each feature

    def __len__(self) -> int:
        return 2 * len(self.looks_nf)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        row, has_glasses = divmod(number, 2)
        look = _look(self.looks_nf[row])
        attributes = {"pair": self.first + row, **attributes_of(look, bool(has_glasses))}
        return {
            "png": encode_png(draw(look, bool(has_glasses)), _COMPRESSION),
            "cls": b"%d" % has_glasses,
            "json": write_attributes(attributes),
        }


def samples(originals: Mapping[str, Path], split: str, options: Options, image: ImageRecipe) -> Portraits:
    """The portraits of a split; there are no originals, and the image is 256 x 256 x 3 always.

    Raises:
        UserError: if the recipe names no people for the split, or the packages that draw them are missing or of
            other versions.
    """
    del originals, image
    if split not in options.people:
        raise UserError(f"options.people: names no people for split {split}; add {split}: {{first: ..., number: ...}}")
    _check_packages(options.packages)
    people = options.people[split]
    return Portraits(people.first, looks(options.seed, people.first + people.number)[people.first :])


def looks(seed: int, count: int) -> NDArray[np.uint8]:
    """The first ``count`` people of a seed, (count, features): the number of each one's value of each feature.

    Candidates are drawn independently, and one who looks as an earlier one is passed over, so the people are all
    different and person n does not depend on how many are asked for.
    """
    drawn = count
    while True:
        drawn += drawn // 8 + 8
        candidates = np.arange(drawn, dtype=np.uint64)
        looks_nf = np.stack(
            [
                feature.choose(keys.mix(keys.mix(candidates) ^ np.uint64(keys.key(seed, column))))
                for column, feature in enumerate(FEATURES.values())
            ],
            axis=1,
        )
        visible = np.delete(looks_nf, list(FEATURES).index("glasses_kind"), axis=1)
        _, first_seen = np.unique(visible, axis=0, return_index=True)
        if len(first_seen) >= count:
            return looks_nf[np.sort(first_seen)[:count]]


def _look(look_f: NDArray[np.uint8]) -> dict[str, str]:
    """A person's value of each feature, in words."""
    return {name: list(feature.drawn)[value] for (name, feature), value in zip(FEATURES.items(), look_f, strict=True)}


def attributes_of(look: Mapping[str, str], has_glasses: bool) -> dict[str, str | bool]:
    """All that is known of a picture: the features in words, and what expressions name as true or false."""
    return {
        **look,
        "glasses": has_glasses,
        "glasses_kind": look["glasses_kind"] if has_glasses else "none",
        "facial_hair": look["facial_hair_kind"] != "none",
        "beard": look["facial_hair_kind"] in BEARDS,
        "long_hair": look["hair"] in LONG_HAIR,
        "bald": look["hair"] == "bald",
        "smiling": look["mouth"] in SMILES,
    }


def _check_packages(wanted: Mapping[str, str]) -> None:
    """Refuse to draw with other versions than the recipe's."""
    all_of_them = " ".join(f"{name}=={version}" for name, version in wanted.items())
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise UserError(
                f"portraits: the package {name} is not installed, which draws them; pip install {all_of_them}"
            ) from None
        if found != version:
            raise UserError(
                f"options.packages.{name}: the recipe says {version}, {found} is installed, which may draw other "
                f"pixels; pip install '{name}=={version}'"
            )
