"""What a drawn person is made of: the features, their values in our words and in the renderer's, and the drawing.

Every feature is passed to the renderer explicitly, which is left nothing to choose. Of its values those are taken that
look like a face in a photograph and can be named truly: no sunglasses, hats that hide the hair, or hearts for eyes.
"""

import functools
import importlib.resources
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256
_CROP = {"scale": 1.2, "translateY": 7}  # the head large and in the middle, as in a photograph
_FRAME_COLOUR = "#262e33"  # of all glasses, so that having them is one change and not several


@dataclass(frozen=True)
class Feature:
    """What is chosen for a person: ``drawn`` gives the renderer's word for each of ours, in the option ``option``."""

    option: str
    drawn: Mapping[str, str]
    weights: Mapping[str, int]  # of the values that are not as likely as one share

    def choose(self, hashes_n: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The number of the value that each 64-bit hash stands for, in proportion to the weights."""
        ends = np.cumsum([self.weights.get(value, 1) for value in self.drawn]).astype(np.uint64)
        return np.searchsorted(ends, hashes_n % ends[-1], side="right").astype(np.uint8)


LONG_HAIR = {
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
BEARDS = {"light_beard": "beardLight", "beard": "beardMedium", "long_beard": "beardMajestic"}
_MOUSTACHES = {"thin_moustache": "moustacheFancy", "moustache": "moustacheMagnum"}
SMILES = {"open_smile": "smile", "smile": "twinkle"}

# The order is part of what a seed means: a new feature goes to the end.
FEATURES: Mapping[str, Feature] = {
    "skin": Feature(
        "skinColor",
        {"pale": "#ffdbb4", "light": "#edb98a", "tan": "#d08b5b", "brown": "#ae5d29", "dark": "#614335"},
        {},
    ),
    "hair": Feature("topVariant", {**_SHORT_HAIR, **LONG_HAIR}, {}),
    "hair_colour": Feature(
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
    "facial_hair_kind": Feature("facialHairVariant", {"none": "", **BEARDS, **_MOUSTACHES}, {"none": 9}),
    "glasses_kind": Feature(
        "accessoriesVariant", {"square": "prescription01", "browline": "prescription02", "round": "round"}, {}
    ),
    "eyes": Feature("eyesVariant", {"open": "default", "aside": "side", "wide": "squint", "closed": "happy"}, {}),
    "eyebrows": Feature(
        "eyebrowsVariant",
        {"thin": "default", "natural": "defaultNatural", "flat": "flatNatural", "raised": "raisedExcitedNatural"},
        {},
    ),
    "mouth": Feature("mouthVariant", {**SMILES, "straight": "serious", "sad": "sad"}, {}),
    "clothes": Feature(
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
    "clothes_colour": Feature(
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
    "background": Feature(
        "backgroundColor",
        {"white": "#ffffff", "grey": "#dcdfe2", "blue": "#cfdfee", "sand": "#ece3d0", "green": "#d6e6d8"},
        {},
    ),
}


def draw(look: Mapping[str, str], has_glasses: bool) -> NDArray[np.uint8]:
    """The picture of a person, uint8 (256, 256, 3), from the value of each feature."""
    import resvg_py  # noqa: PLC0415 (the optional extra, as below)
    from dicebear import Avatar  # noqa: PLC0415

    options: dict[str, Any] = {
        feature.option: feature.drawn[look[name]] for name, feature in FEATURES.items() if feature.drawn[look[name]]
    }
    options |= {
        **_CROP,
        "size": SIDE,
        "topProbability": 100,
        "facialHairProbability": 0 if look["facial_hair_kind"] == "none" else 100,
        "facialHairColor": options["hairColor"],
        "accessoriesProbability": 100 if has_glasses else 0,
        "accessoriesColor": _FRAME_COLOUR,
    }
    svg = Avatar(_style(), options).to_string()
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


@functools.cache
def _style() -> Any:
    """The drawn parts, parsed once a process."""
    from dicebear import Style  # noqa: PLC0415

    text = importlib.resources.files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8")
    return Style(json.loads(text))
