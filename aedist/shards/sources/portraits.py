"""Portraits: drawn faces whose every feature is chosen here, so that what a picture shows is known and not guessed.

A person is a row of features (skin, hair, facial hair, glasses, ...), each drawn from a keyed number; no two people of
a seed look alike. Each person is shown twice, without and with glasses, and nothing else differs: the two share the
attribute ``pair``, and are the ground truth for arithmetic on encodings. Features are independent of one another, so
that the mean over a group is not the mean over something else too. The parts are drawn by Pablo Stanley (Avataaars),
put together by DiceBear, and made pixels by resvg; the versions of all three decide the pixels, so they are checked.
"""

import functools
import importlib.metadata
import importlib.resources
import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import field_validator

from aedist import keys
from aedist.assets import Collection
from aedist.config import Section, key
from aedist.errors import UserError
from aedist.shards.png import encode_png
from aedist.shards.recipe import ImageRecipe

ORIGINALS = Collection("portraits", (), ())  # nothing to fetch
PACKAGES = {"dicebear-core": "10.7.0", "dicebear-styles": "10.6.0", "resvg-py": "0.5.0"}

_SIDE = 256
_COMPRESSION = 6  # about 9 kB an image; stored, it would be 197 kB
_CROP = {"scale": 1.2, "translateY": 7}  # the head large and in the middle, as in a photograph


@dataclass(frozen=True)
class _Feature:
    """What is chosen for a person: ``drawn`` gives the renderer's word for each of ours, in the option ``option``."""

    option: str
    drawn: Mapping[str, str]
    weights: Mapping[str, int]  # of the values that are not as likely as one share

    def choose(self, hashes_n: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The number of the value that each 64-bit hash stands for, in proportion to the weights."""
        ends = np.cumsum([self.weights.get(value, 1) for value in self.drawn]).astype(np.uint64)
        return np.searchsorted(ends, hashes_n % ends[-1], side="right").astype(np.uint8)


_LONG_HAIR = {
    "bob": "bob",
    "fringe": "miaWallace",
    "shoulder_length": "longButNotTooLong",
    "long_curly": "curly",
    "long_wavy": "curvy",
    "long_locks": "dreads",
    "long_swept": "straight01",
    "long_straight": "straight02",
    "long_parted": "straightAndStrand",
}
_SHORT_HAIR = {
    "bald": "sides",
    "cropped": "theCaesar",
    "side_part": "theCaesarAndSidePart",
    "flat": "shortFlat",
    "round": "shortRound",
    "waved": "shortWaved",
    "curly": "shortCurly",
    "quiff": "frizzle",
    "locks": "dreads01",
    "shaggy": "shaggy",
}
_BEARDS = {"light_beard": "beardLight", "beard": "beardMedium", "long_beard": "beardMajestic"}
_MOUSTACHES = {"thin_moustache": "moustacheFancy", "moustache": "moustacheMagnum"}
_SMILES = {"open_smile": "smile", "smile": "twinkle"}

# The order is part of what a seed means: a new feature goes to the end.
_FEATURES: Mapping[str, _Feature] = {
    "skin": _Feature(
        "skinColor",
        {"pale": "#ffdbb4", "light": "#edb98a", "tan": "#d08b5b", "brown": "#ae5d29", "dark": "#614335"},
        {},
    ),
    "hair": _Feature("topVariant", {**_SHORT_HAIR, **_LONG_HAIR}, {}),
    "hair_colour": _Feature(
        "hairColor",
        {
            "black": "#2c1b18",
            "brown": "#724133",
            "auburn": "#a55728",
            "blond": "#d6b370",
            "red": "#c93305",
            "silver": "#e8e1e1",
        },
        {},
    ),
    "facial_hair_kind": _Feature("facialHairVariant", {"none": "", **_BEARDS, **_MOUSTACHES}, {"none": 9}),
    "glasses_kind": _Feature(
        "accessoriesVariant", {"square": "prescription01", "browline": "prescription02", "round": "round"}, {}
    ),
    "eyes": _Feature("eyesVariant", {"open": "default", "aside": "side", "wide": "squint", "closed": "happy"}, {}),
    "eyebrows": _Feature(
        "eyebrowsVariant",
        {"thin": "default", "natural": "defaultNatural", "flat": "flatNatural", "raised": "raisedExcitedNatural"},
        {},
    ),
    "mouth": _Feature("mouthVariant", {**_SMILES, "straight": "serious", "sad": "sad"}, {}),
    "clothes": _Feature(
        "clothesVariant",
        {
            "crew_neck": "shirtCrewNeck",
            "scoop_neck": "shirtScoopNeck",
            "v_neck": "shirtVNeck",
            "collar": "collarAndSweater",
            "blazer": "blazerAndShirt",
            "hoodie": "hoodie",
        },
        {},
    ),
    "clothes_colour": _Feature(
        "clothesColor",
        {
            "black": "#262e33",
            "blue": "#5199e4",
            "navy": "#25557c",
            "grey": "#929598",
            "red": "#ff5c5c",
            "mint": "#a7ffc4",
        },
        {},
    ),
    "background": _Feature(
        "backgroundColor",
        {"white": "#ffffff", "grey": "#dcdfe2", "blue": "#cfdfee", "sand": "#ece3d0", "green": "#d6e6d8"},
        {},
    ),
}


class People(Section):
    """The people of one split: consecutive numbers."""

    first: int = key(0, "The number of the first person.", ge=0)
    number: int = key(..., "How many people; each gives two samples.", ge=1, le=1_000_000)


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
        attributes = {"pair": self.first + row, **_attributes(look, bool(has_glasses))}
        return {
            "png": encode_png(draw(look, bool(has_glasses)), _COMPRESSION),
            "cls": b"%d" % has_glasses,
            "json": json.dumps(attributes, sort_keys=True).encode("utf-8"),
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
                for column, feature in enumerate(_FEATURES.values())
            ],
            axis=1,
        )
        visible = np.delete(looks_nf, list(_FEATURES).index("glasses_kind"), axis=1)
        _, first_seen = np.unique(visible, axis=0, return_index=True)
        if len(first_seen) >= count:
            return looks_nf[np.sort(first_seen)[:count]]


def draw(look: Mapping[str, str], has_glasses: bool) -> NDArray[np.uint8]:
    """The picture of a person, uint8 (256, 256, 3), from the value of each feature."""
    import resvg_py  # noqa: PLC0415 (the optional extra, as below)
    from dicebear import Avatar  # noqa: PLC0415

    options: dict[str, Any] = {
        feature.option: feature.drawn[look[name]] for name, feature in _FEATURES.items() if feature.drawn[look[name]]
    }
    options |= {
        **_CROP,
        "size": _SIDE,
        "topProbability": 100,
        "facialHairProbability": 0 if look["facial_hair_kind"] == "none" else 100,
        "facialHairColor": options["hairColor"],
        "accessoriesProbability": 100 if has_glasses else 0,
        "accessoriesColor": "#262e33",
    }
    svg = Avatar(_style(), options).to_string()
    png = resvg_py.svg_to_bytes(svg_string=svg, width=_SIDE, height=_SIDE, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


@functools.cache
def _style() -> Any:
    """The drawn parts, parsed once a process."""
    from dicebear import Style  # noqa: PLC0415

    text = importlib.resources.files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8")
    return Style(json.loads(text))


def _look(look_f: NDArray[np.uint8]) -> dict[str, str]:
    """A person's value of each feature, in words."""
    return {name: list(feature.drawn)[value] for (name, feature), value in zip(_FEATURES.items(), look_f, strict=True)}


def _attributes(look: Mapping[str, str], has_glasses: bool) -> dict[str, str | bool]:
    """All that is known of a picture: the features in words, and what expressions name as true or false."""
    return {
        **look,
        "glasses": has_glasses,
        "glasses_kind": look["glasses_kind"] if has_glasses else "none",
        "facial_hair": look["facial_hair_kind"] != "none",
        "beard": look["facial_hair_kind"] in _BEARDS,
        "long_hair": look["hair"] in _LONG_HAIR,
        "bald": look["hair"] == "bald",
        "smiling": look["mouth"] in _SMILES,
    }


def _check_packages(wanted: Mapping[str, str]) -> None:
    """Refuse to draw with other versions than the recipe's."""
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise UserError(
                f"portraits: the package {name} is not installed, which draws them; pip install 'aedist[portraits]'"
            ) from None
        if found != version:
            raise UserError(
                f"options.packages.{name}: the recipe says {version}, {found} is installed, which may draw other "
                f"pixels; pip install '{name}=={version}'"
            )
